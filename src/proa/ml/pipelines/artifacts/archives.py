"""Make a .tar.gz of an artifact's files as it is read, in memory of one chunk.

The headers are the standard library's (tarfile); nothing is kept on disk.
"""

from __future__ import annotations

import posixpath
import zlib
from collections.abc import Callable, Iterable, Iterator

from proa.ml.pipelines.artifacts.protocol import ArtifactError
from proa.objects.quick_dataclass import dataclass

CHUNK_BYTES = 1 << 20
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an artifact, by its path below it: "" where the artifact is a file itself.

    Folders and links have no chunks.
    """

    path: str
    size: int = 0
    chunks: Callable[[], Iterator[bytes]] | None = None
    changed_at: float = 0.0
    link: str = ""


def tar_gz(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the archive in chunks. Links that lead out of the artifact are left out."""
    packer = zlib.compressobj(level=1, wbits=31)
    for piece in _tar(entries):
        packed = packer.compress(piece)
        if packed:
            yield packed
    yield packer.flush()


def _tar(entries: Iterable[Entry]) -> Iterator[bytes]:
    import tarfile  # dear: programs in pods read this module and make no archives

    for entry in entries:
        if entry.link and _leads_out(entry.path, entry.link):
            continue
        info = tarfile.TarInfo(entry.path)
        info.size, info.mtime = entry.size, int(entry.changed_at)
        if entry.link:
            info.type, info.linkname = tarfile.SYMTYPE, entry.link
        elif entry.chunks is None:
            info.type, info.mode = tarfile.DIRTYPE, 0o755
        yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if entry.chunks is not None:
            yield from _pad(entry)
    yield bytes(2 * _BLOCK)


def _pad(entry: Entry) -> Iterator[bytes]:
    assert entry.chunks is not None
    done = 0
    for chunk in entry.chunks():
        done += len(chunk)
        if done > entry.size:
            break
        yield chunk
    if done != entry.size:
        raise ArtifactError(f"{entry.path!r} changed while it was read")
    yield bytes(-done % _BLOCK)


def _leads_out(path: str, link: str) -> bool:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return link.startswith("/") or target == ".." or target.startswith("../")
