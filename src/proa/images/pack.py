"""Pack a folder, as an overlay's upper layer or an unpacked layer is, into a layer's archive and its digests.

The same folder gives the same archive: entries are sorted, and nothing of this machine (user names, inodes, times of
access) is in it. What overlayfs hides becomes whiteouts again (image-spec, layer.md). Sockets are left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from proa.images.errors import InvalidImage

_KEPT_XATTRS = ("security.capability",)
_OVERLAY = ("trusted.overlay.", "user.overlay.")
GZIP_LEVEL = 3


class Packed(NamedTuple):
    """What was packed: the digest of the archive and of the blob, the blob's size, the bytes and number of files."""

    diff_id: str
    digest: str
    blob_size: int
    size: int
    entries: int


class LayerWriter:
    """Compress what is written (or not) into a file, with the digests of both."""

    def __init__(self, file: BinaryIO, *, gzip: bool) -> None:
        self._file = file
        self._encoder = zlib.compressobj(GZIP_LEVEL, wbits=31) if gzip else None
        self._plain, self._packed = hashlib.sha256(), hashlib.sha256()
        self._written = 0
        self.blob_size = 0

    def tell(self) -> int:
        """Return how many bytes of the archive have been written."""
        return self._written

    def write(self, data: bytes) -> int:
        """Add bytes of the archive."""
        self._plain.update(data)
        self._written += len(data)
        self._put(self._encoder.compress(data) if self._encoder else data)
        return len(data)

    def finish(self) -> tuple[str, str]:
        """Return (diff_id, digest) of all that was written."""
        if self._encoder:
            self._put(self._encoder.flush())
        return f"sha256:{self._plain.hexdigest()}", f"sha256:{self._packed.hexdigest()}"

    def _put(self, data: bytes) -> None:
        self._packed.update(data)
        self._file.write(data)
        self.blob_size += len(data)


def pack(directory: str, file: BinaryIO, *, gzip: bool) -> Packed:
    """Write a folder's archive into a file."""
    writer = LayerWriter(file, gzip=gzip)
    packer = _Packer(directory)
    with tarfile.open(fileobj=writer, mode="w:", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        packer.add_all(archive)
    diff_id, digest = writer.finish()
    return Packed(diff_id, digest, writer.blob_size, packer.size, packer.entries)


class _Packer:
    def __init__(self, directory: str) -> None:
        self._top = directory
        self._seen: dict[tuple[int, int], str] = {}
        self.size = 0
        self.entries = 0

    def add_all(self, archive: tarfile.TarFile) -> None:
        for path, found in _walk(self._top, ""):
            self.entries += 1
            if not path:
                self._add_opaque(archive, "")
                continue
            if self._is_whiteout(path, found):
                above, _, name = path.rpartition("/")
                archive.addfile(_empty(f"{above}/.wh.{name}" if above else f".wh.{name}"))
            elif not stat.S_ISSOCK(found.st_mode):
                self._add(archive, path, found)

    def _add(self, archive: tarfile.TarFile, path: str, found: os.stat_result) -> None:
        info = tarfile.TarInfo(path)
        info.mode, info.uid, info.gid = stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
        info.mtime = int(found.st_mtime)
        info.pax_headers = self._attributes(path)
        kind = stat.S_IFMT(found.st_mode)
        first = self._seen.get((found.st_dev, found.st_ino)) if found.st_nlink > 1 else None
        if kind != stat.S_IFDIR and first is not None:
            info.type, info.linkname = tarfile.LNKTYPE, first
            archive.addfile(info)
            return
        if found.st_nlink > 1 and kind != stat.S_IFDIR:
            self._seen[found.st_dev, found.st_ino] = path
        if kind == stat.S_IFREG:
            info.size = found.st_size
            self.size += found.st_size
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(f"{self._top}/{path}", flags), "rb") as file:
                archive.addfile(info, file)
            return
        if kind == stat.S_IFLNK:
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(f"{self._top}/{path}")
        elif kind == stat.S_IFDIR:
            info.type = tarfile.DIRTYPE
        elif kind == stat.S_IFIFO:
            info.type = tarfile.FIFOTYPE
        else:
            info.type = tarfile.CHRTYPE if kind == stat.S_IFCHR else tarfile.BLKTYPE
            info.devmajor, info.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
        archive.addfile(info)
        if kind == stat.S_IFDIR:
            self._add_opaque(archive, path)

    def _is_whiteout(self, path: str, found: os.stat_result) -> bool:
        if stat.S_ISCHR(found.st_mode):
            return found.st_rdev == 0
        if not stat.S_ISREG(found.st_mode) or found.st_size:
            return False
        return any(self._has(path, f"{prefix}whiteout") for prefix in _OVERLAY)

    def _add_opaque(self, archive: tarfile.TarFile, path: str) -> None:
        for prefix in _OVERLAY:
            if self._has(path, f"{prefix}opaque", b"y"):
                archive.addfile(_empty(f"{path}/.wh..wh..opq" if path else ".wh..wh..opq"))
                return

    def _has(self, path: str, name: str, value: bytes | None = None) -> bool:
        try:
            found = os.getxattr(f"{self._top}/{path}", name, follow_symlinks=False)
        except OSError:
            return False
        return value is None or found == value

    def _attributes(self, path: str) -> dict[str, str]:
        kept: dict[str, str] = {}
        with contextlib.suppress(OSError):
            for name in os.listxattr(f"{self._top}/{path}", follow_symlinks=False):
                if name.endswith("overlay.redirect"):
                    raise InvalidImage(f"{path!r} refers to another layer: mount with redirect_dir=off")
                if name in _KEPT_XATTRS or (name.startswith("user.") and not name.startswith(_OVERLAY)):
                    value = os.getxattr(f"{self._top}/{path}", name, follow_symlinks=False)
                    kept[f"SCHILY.xattr.{name}"] = value.decode("utf-8", "surrogateescape")
        return kept


def _walk(top: str, path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every path below `top`, a folder before what is in it, in order; "" is `top` itself."""
    waiting = [path]
    while waiting:
        here = waiting.pop()
        found = os.lstat(f"{top}/{here}" if here else top)
        yield here, found
        if stat.S_ISDIR(found.st_mode):
            names = sorted(os.listdir(f"{top}/{here}"), reverse=True)
            waiting += [f"{here}/{name}" if here else name for name in names]


def _empty(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = 0o600
    return info
