"""Artifacts in a folder of this machine: `<folder>/<bucket>/<key>` of one namespace, for `minio://`.

Containers write there, by way of the namespace's claim (claims.py), so nothing here trusts what it finds (beneath.py).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from proa.ml.pipelines.artifacts import beneath
from proa.ml.pipelines.artifacts.archives import CHUNK_BYTES, Entry
from proa.ml.pipelines.artifacts.protocol import ArtifactError, Stat
from proa.ml.pipelines.artifacts.uris import KFP, OWN, PIP_CACHE, Uri


class Folder:
    """One namespace's; made, for its owner alone, when something is first written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def stat(self, uri: Uri) -> Stat | None:
        with _explained(uri), contextlib.suppress(FileNotFoundError):
            return beneath.measure(self._path, _parts(uri))
        return None

    def read(self, uri: Uri, limit: int) -> bytes | None:
        missing = contextlib.suppress(FileNotFoundError, NotADirectoryError)
        with _explained(uri), missing, beneath.open_file(self._path, _parts(uri)) as descriptor:
            return _read(descriptor, limit)
        return None

    def entries(self, uri: Uri) -> Iterator[Entry]:
        parts = _parts(uri)
        with _explained(uri):
            info = beneath.find(self._path, parts)
            if info is None:
                return
            if stat.S_ISREG(info.st_mode):
                yield Entry("", info.st_size, lambda: self._chunks(uri), info.st_mtime)
                return
            with beneath.open_folder(self._path, parts) as folder:
                for found in beneath.walk(folder):
                    kind = stat.S_IFMT(found.info.st_mode)
                    if found.path.split("/")[0] != OWN and kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                        yield _entry(found)

    def _chunks(self, uri: Uri) -> Iterator[bytes]:
        with _explained(uri), beneath.open_file(self._path, _parts(uri)) as descriptor:
            yield from _chunks_of(descriptor)

    def write(self, uri: Uri, data: bytes) -> None:
        with _explained(uri):
            self.make()
            beneath.write(self._path, _parts(uri), data)

    def remove(self, uri: Uri) -> None:
        with _explained(uri):
            if self._path.is_dir():
                beneath.remove(self._path, _parts(uri))

    def has(self, uri: Uri) -> bool:
        """Tell whether a file or folder is there."""
        with _explained(uri), contextlib.suppress(FileNotFoundError):
            info = beneath.find(self._path, _parts(uri))
            return info is not None and (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode))
        return False

    def make(self) -> None:
        """Make the namespace's folder, closed to other users of the machine."""
        for path in (*reversed(self._path.parents), self._path):
            if not path.exists():
                path.mkdir(mode=0o700, exist_ok=True)

    def make_room(self, task_root: Uri) -> None:
        """Make an attempt's folders, for whatever user its container runs as."""
        parts = _parts(task_root)
        with _explained(task_root):
            self.make()
            beneath.make_folder(self._path, (PIP_CACHE,), 0o777)
            beneath.make_folder(self._path, parts, 0o777)
            beneath.make_folder(self._path, (*parts, *KFP), 0o777)
            beneath.make_folder(self._path, (*parts, *KFP, "outputs"), 0o777)

    def seal(self, task_root: Uri) -> None:
        """Bring what an attempt left to the disk."""
        with _explained(task_root):
            try:
                beneath.sync(self._path, _parts(task_root))
            except (FileNotFoundError, NotADirectoryError):
                raise ArtifactError("the attempt's folder is gone, so its outputs are lost") from None


def _parts(uri: Uri) -> tuple[str, ...]:
    return (uri.bucket, *uri.parts)


def _entry(found: beneath.Found) -> Entry:
    info = found.info
    if stat.S_ISDIR(info.st_mode):
        return Entry(found.path, changed_at=info.st_mtime)
    if stat.S_ISLNK(info.st_mode):
        return Entry(found.path, link=os.readlink(found.name, dir_fd=found.folder))
    return Entry(found.path, info.st_size, lambda: _chunks_in(found), info.st_mtime)


def _chunks_in(found: beneath.Found) -> Iterator[bytes]:
    descriptor = beneath.open_in(found.folder, found.name)
    try:
        yield from _chunks_of(descriptor)
    finally:
        os.close(descriptor)


def _chunks_of(descriptor: int) -> Iterator[bytes]:
    while chunk := os.read(descriptor, CHUNK_BYTES):
        yield chunk


def _read(descriptor: int, limit: int) -> bytes:
    read = bytearray()
    while len(read) < limit and (chunk := os.read(descriptor, min(CHUNK_BYTES, limit - len(read)))):
        read += chunk
    return bytes(read)


@contextlib.contextmanager
def _explained(uri: Uri) -> Iterator[None]:
    """Say which artifact it was, and whose files they are."""
    try:
        yield
    except ArtifactError as error:
        if str(uri) in str(error):
            raise
        raise ArtifactError(f"artifact {uri}: {error}") from None
    except FileNotFoundError:
        raise
    except PermissionError as error:
        hint = "it belongs to another user; let the step write files that all may read (umask 022)"
        raise ArtifactError(f"artifact {uri}: {error.strerror}: {hint}") from error
    except OSError as error:
        raise ArtifactError(f"artifact {uri}: {error.strerror}") from error
