"""Read a layer's tar archive out of its compression, hashed as it passes, forward only and bounded.

`tarfile` reads from this as from a file: what it holds at once (a header, a long name, extended attributes) is
bounded here, and so is the whole archive, so that no few bytes can fill memory or disk.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from typing import Any, BinaryIO, Protocol

from proa.images.errors import InvalidImage, TooLarge

MAX_HEADER_BYTES = 1 << 20
_PIECE = 1 << 18
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class _Source(Protocol):
    def read(self, size: int) -> bytes: ...


class TarStream:
    """An archive being read; `digest()` is that of all its bytes, once it is drained."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._source = _open(file)
        self._limit = limit
        self._hash = hashlib.sha256()
        self._position = 0
        self._ahead, self._offset = b"", 0
        """What was read ahead, and how much of that is taken: headers are small, and copies of the rest are not."""

    def read(self, size: int) -> bytes:
        """Return exactly this many bytes, fewer only at the end."""
        if size > MAX_HEADER_BYTES:
            raise TooLarge(f"a header of {size} bytes: no image needs more than {MAX_HEADER_BYTES}")
        return self._take(size)

    def tell(self) -> int:
        """Return how many bytes have passed."""
        return self._position

    def seek(self, position: int) -> None:
        """Go on at a later position."""
        if position < self._position:
            raise InvalidImage("the layer's archive refers back to what is before")
        while self._position < position:
            if not self._take(min(_PIECE, position - self._position)):
                raise InvalidImage("the layer's archive ends in the middle of a file")

    def copy_to(self, descriptor: int, size: int) -> None:
        """Write the next bytes to a file."""
        while size:
            piece = self._take(min(_PIECE, size))
            if not piece:
                raise InvalidImage("the layer's archive ends in the middle of a file")
            size -= len(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]

    def digest(self) -> str:
        """Read what is left, and return the digest of everything (the layer's diff_id)."""
        while self._take(_PIECE):
            pass
        return "sha256:" + self._hash.hexdigest()

    def _take(self, size: int) -> bytes:
        """Return up to this many bytes: as many as there are until the end."""
        end = self._offset + size
        if end > len(self._ahead):
            pieces = [self._ahead[self._offset :]]
            have = len(pieces[0])
            self._ahead, self._offset = b"", 0
            while have < size and (more := self._read_source(have)):
                pieces.append(more)
                have += len(more)
            self._ahead = b"".join(pieces)
            end = size
        taken = self._ahead[self._offset : end]
        self._offset += len(taken)
        self._position += len(taken)
        return taken

    def _read_source(self, have: int) -> bytes:
        try:
            more = self._source.read(_PIECE)
        except (zlib.error, EOFError, ValueError) as error:
            raise InvalidImage(f"the layer cannot be decompressed: {error}") from error
        self._hash.update(more)
        if self._position + have + len(more) > self._limit:
            raise TooLarge(f"the layer has more than {self._limit} bytes when it is unpacked")
        return more


class _Gzip:
    """Every member of a gzip file, one after the other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = zlib.decompressobj(31)
        self._input = b""

    def read(self, size: int) -> bytes:
        while self._fill():
            out = self._decoder.decompress(self._input, size)
            self._input = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
            if out:
                return out
        if not self._decoder.eof:
            raise EOFError("it ends too early")
        return b""

    def _fill(self) -> bool:
        """Have input for the decoder, at the end of a member for one of the next; tell whether there is any."""
        if self._decoder.eof:
            self._input = self._input.lstrip(b"\0")  # padding after the last member
        self._input = self._input or self._file.read(_PIECE)
        if self._decoder.eof and self._input:
            self._decoder = zlib.decompressobj(31)
        return bool(self._input)


def _open(file: BinaryIO) -> _Source:
    if hasattr(file, "peek"):  # a pipe cannot go back
        magic = file.peek(4)[:4]
    else:
        magic = file.read(4)
        file.seek(0)
    if magic.startswith(_GZIP):
        return _Gzip(file)
    if magic == _ZSTD:
        return _open_zstd(file)
    return file


def _open_zstd(file: BinaryIO) -> _Source:
    """Open zstd: the standard library's where it is (3.14), else its backport."""
    import importlib

    for name in ("compression.zstd", "backports.zstd"):
        try:
            module: Any = importlib.import_module(name)
        except ImportError:
            continue
        found: _Source = _Zstd(module.ZstdFile(file), module.ZstdError)
        return found
    raise InvalidImage("the layer is compressed with zstd: `pip install backports.zstd` to read it")


class _Zstd:
    def __init__(self, file: Any, error: type[Exception]) -> None:
        self._file, self._error = file, error

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._file.read(size))
        except self._error as error:
            raise ValueError(str(error)) from error
