"""Take files out of archives, and nothing else: no links, devices or paths that lead out, and no more than was allowed.

Tar archives may be compressed by gzip, bzip2, xz or zstd. The layers of an image are tar archives too.
"""

from __future__ import annotations

import contextlib
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from proa.ml.serving.storage.pieces import StorageError

MAX_MEMBERS = 100_000
MAX_PATH = 1024
_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class Member(NamedTuple):
    """A file of an archive: its path, and its bytes while the archive is open."""

    path: str
    file: IO[bytes]


class Whiteout(NamedTuple):
    """A layer says that what layers before it have at a path is gone; `is_opaque`: only what is below."""

    path: str
    is_opaque: bool


def kind_of(name: str) -> str:
    """Return "tar" or "zip" as an archive's name says, "" of another file."""
    lower = name.lower()
    return "tar" if lower.endswith(_TAR) else "zip" if lower.endswith(".zip") else ""


def members(path: Path, kind: str, below: str = "", *, layers: bool = False) -> Iterator[Member | Whiteout]:
    """Yield the files of an archive; of a layer its whiteouts too. Raise StorageError on what may not be in one."""
    found = _tar(path, layers=layers) if kind == "tar" else _zip(path)
    try:
        for count, (name, file) in enumerate(found, 1):
            if count > MAX_MEMBERS:
                raise StorageError(f"an archive of more than {MAX_MEMBERS} files")
            clean = _clean(name)
            if below and not clean.startswith(f"{below}/"):
                continue
            clean = clean[len(below) + 1 :] if below else clean
            folder, _, last = clean.rpartition("/")
            if layers and last.startswith(".wh."):
                is_opaque = last == ".wh..wh..opq"
                hidden = folder if is_opaque else f"{folder}/{last[4:]}".lstrip("/")
                yield Whiteout(hidden, is_opaque)
            elif clean and file is not None:
                yield Member(clean, file)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError) as error:
        raise StorageError(f"the archive cannot be unpacked: {error}") from None
    except Exception as error:
        if type(error).__name__ in ("ZstdError", "error", "LZMAError"):  # decompressors' own
            raise StorageError(f"the archive cannot be unpacked: {error}") from None
        raise


def _tar(path: Path, *, layers: bool) -> Iterator[tuple[str, IO[bytes] | None]]:
    with path.open("rb") as raw, _decompressed(raw) as stream, _opened(stream) as archive:
        for member in archive:
            if member.isfile():
                yield member.name, archive.extractfile(member)
            elif not member.isdir() and (not layers or _clean(member.name).startswith("models/")):
                what = f"{member.name!r}, which is a link or a device"
                raise StorageError(f"the archive has {what}: only files and folders are unpacked")


def _opened(stream: Any) -> tarfile.TarFile:
    return tarfile.open(fileobj=stream, mode="r|")


@contextlib.contextmanager
def _decompressed(raw: IO[bytes]) -> Iterator[Any]:
    """Open by what the first bytes say."""
    start = raw.read(6)
    raw.seek(0)
    if start[:2] == b"\x1f\x8b":
        import gzip

        with gzip.GzipFile(fileobj=raw) as stream:
            yield stream
    elif start[:3] == b"BZh":
        import bz2

        with bz2.BZ2File(raw) as stream:
            yield stream
    elif start == b"\xfd7zXZ\x00":
        import lzma

        with lzma.LZMAFile(raw) as stream:
            yield stream
    elif start[:4] == b"\x28\xb5\x2f\xfd":
        try:
            from backports import zstd
        except ImportError:
            from compression import zstd  # type: ignore[import-not-found, no-redef]
        with zstd.ZstdFile(raw) as stream:
            yield stream
    else:
        yield raw


def _zip(path: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if len(infos) > MAX_MEMBERS:
            raise StorageError(f"an archive of more than {MAX_MEMBERS} files")
        for info in infos:
            if info.is_dir():
                continue
            if (info.external_attr >> 16) & 0o170000 == 0o120000:
                raise StorageError(
                    f"the archive has {info.filename!r}, which is a link: only files are unpacked"
                )
            with archive.open(info) as file:
                yield info.filename, file


def _clean(name: str) -> str:
    """Return a member's path without what is redundant; raise StorageError where it leads out."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\\" in name or "\0" in name or len(name) > MAX_PATH:
        raise StorageError(f"the archive has {name[:200]!r}, which leads out of the model's folder")
    return "/".join(parts)
