"""Read a request's body as it comes: so many bytes, or in chunks (RFC 9112, section 7.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from io import BufferedIOBase

from proa.registry.errors import Refused

_PIECE = 1 << 18
_MAX_LINE = 1024
_MAX_TRAILERS = 100


class Body:
    """A body that is read once; `is_done` is set when nothing of it is left on the connection."""

    def __init__(self, source: BufferedIOBase, headers: Message) -> None:
        self._source = source
        self._is_chunked = (headers.get("Transfer-Encoding") or "").strip().lower() == "chunked"
        length = headers.get("Content-Length") or "0"
        if not re.fullmatch(r"[0-9]{1,18}", length) or (self._is_chunked and headers.get("Content-Length")):
            raise Refused("SIZE_INVALID", "the request says in no clear way how long it is")
        self._left = int(length)
        self.is_done = not self._is_chunked and not self._left
        self._pieces = self._read()

    def pieces(self) -> Iterator[bytes]:
        """Return what comes, from where it was left; raise ConnectionError where it is cut."""
        return self._pieces

    def _read(self) -> Iterator[bytes]:
        yield from self._chunks() if self._is_chunked else self._exactly(self._left)
        self.is_done = True

    def read(self, limit: int) -> bytes:
        """Return all of it; raise Refused beyond `limit` bytes."""
        data = bytearray()
        for piece in self.pieces():
            data += piece
            if len(data) > limit:
                raise Refused("SIZE_INVALID", f"a manifest may have {limit} bytes", 413)
        return bytes(data)

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._source.read(min(_PIECE, size))
            if not piece:
                raise ConnectionError("the request was cut")
            size -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self._line().partition(b";")[0].strip()
            try:
                size = int(line, 16) if line and line[:1] not in b"+-" and len(line) <= 16 else -1
            except ValueError:
                size = -1
            if size < 0:
                raise Refused("BLOB_UPLOAD_INVALID", "a chunk says in no clear way how long it is")
            if not size:
                break
            yield from self._exactly(size)
            if self._line().strip():
                raise Refused("BLOB_UPLOAD_INVALID", "a chunk is longer than it says")
        for _ in range(_MAX_TRAILERS):
            if not self._line().strip():
                return
        raise Refused("BLOB_UPLOAD_INVALID", "too many trailers")

    def _line(self) -> bytes:
        line = self._source.readline(_MAX_LINE)
        if not line.endswith(b"\n"):
            raise ConnectionError("the request was cut")
        return line
