"""Tell which files are tar archives, and unpack them for ADD: plain, gzip, bzip2 or xz.

What is unpacked is checked as an image's layer is (images/unpack.py): nothing is written through links, or outside.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, cast

from proa.images.layers import MAX_LAYER_BYTES
from proa.images.unpack import Means, unpack

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
_MAGIC_AT, _MAGIC = 257, b"ustar"


def is_archive(path: str) -> bool:
    """Tell whether this is a tar archive, compressed or not, by what is in it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return False
        start = file.read(512)
        file.seek(0)
        if not start.startswith(_COMPRESSED):
            return start[_MAGIC_AT : _MAGIC_AT + 5] == _MAGIC
        try:
            inner = _decompressed(file, start).read(512)
        except (OSError, EOFError, ValueError):
            return False
        return inner[_MAGIC_AT : _MAGIC_AT + 5] == _MAGIC


def _decompressed(file: BinaryIO, start: bytes) -> BinaryIO:
    if start.startswith(_COMPRESSED[0]):
        import gzip

        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    return _open(file)


def unpack_archive(path: Path, folder: Path, *, is_root: bool, many: bool) -> None:
    """Unpack an archive into an empty folder; raise InvalidImage (UnsafeArchive where it is hostile)."""
    prefix = "trusted.overlay." if is_root else "user.overlay."
    means = Means(owners=many, devices=is_root, whiteout_devices=True, prefix=prefix)
    with path.open("rb") as file:
        unpack(_open(file), str(folder), means, MAX_LAYER_BYTES)


def _open(file: BinaryIO) -> BinaryIO:
    """Open what `unpack` does not know by itself: bzip2 and xz; for the rest it looks itself."""
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"BZh"):
        import bz2

        return cast("BinaryIO", bz2.BZ2File(file))
    if start.startswith(b"\xfd7zXZ"):
        import lzma

        return cast("BinaryIO", lzma.LZMAFile(file))
    return file
