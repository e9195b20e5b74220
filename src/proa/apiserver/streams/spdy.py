"""Speak the server's side of SPDY/3.1 as Kubernetes uses it: streams that the client opens, no flow control.

Theory of operation. A connection carries control frames (first bit set) and data frames. The client opens a
stream with SYN_STREAM, whose headers are compressed with zlib and a fixed dictionary over the whole life of
the connection; the server answers SYN_REPLY. Either side ends its half with a FIN flag, or both at once with
RST_STREAM. `FrameReader` turns bytes into frames and holds no I/O; `SpdyConnection` moves them between an
`UpgradedConnection` and its streams. Like github.com/moby/spdystream, which every Kubernetes client uses,
it sends no WINDOW_UPDATE and heeds none: the TCP connection slows the sender down. A stream whose reader lags
by more than MAX_BUFFERED_BYTES therefore stops the whole connection until it is read.

Follows https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import field

from proa.apiserver.streams.context import UpgradedConnection
from proa.objects.quick_dataclass import dataclass

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
CONTROL_TYPES = frozenset((SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE))
FIN = 0x01
PROTOCOL_ERROR, REFUSED_STREAM, CANCEL = 1, 3, 5
VERSION = 3
MAX_HEADER_BYTES = 64 * 1024
MAX_CONTROL_BYTES = 64 * 1024
MAX_BUFFERED_BYTES = 256 * 1024
MAX_STREAMS = 4096

_DICTIONARY_WORDS = """
options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow
authorization cache-control connection content-base content-encoding content-language content-length content-location
content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match
if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range
referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get
status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin
"""
_DICTIONARY_TAIL = (
    b"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    b"203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    b"403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    b"Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    b"chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    b"text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    words = [word.replace("_", " ").encode() for word in _DICTIONARY_WORDS.split()]
    return b"".join(struct.pack(">I", len(word)) + word for word in words) + _DICTIONARY_TAIL


DICTIONARY = _dictionary()
"""The header dictionary of SPDY/3 (section 2.6.10.1): 1,423 bytes with Adler-32 0xe3c6a7c2."""


class SpdyError(ConnectionError):
    """The client broke the protocol; the connection ends."""


@dataclass(frozen=True, slots=True)
class ControlFrame:
    """A control frame; `payload` is what follows its eight-byte head."""

    type: int
    flags: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class DataFrame:
    """Bytes of one stream."""

    stream_id: int
    flags: int
    data: bytes


class FrameReader:
    """Cut a byte stream into frames; raise SpdyError for what no client sends."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[ControlFrame | DataFrame]:
        """Yield the frames that are complete now."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= 8:
            first, second = struct.unpack_from(">II", buffer, start)
            flags, length = second >> 24, second & 0xFFFFFF
            if first & 0x80000000:
                _check_control(first, length)
            if len(buffer) - start - 8 < length:
                break
            payload = bytes(memoryview(buffer)[start + 8 : start + 8 + length])
            start += 8 + length
            if first & 0x80000000:
                yield ControlFrame(first & 0xFFFF, flags, payload)
            else:
                yield DataFrame(first, flags, payload)
        del buffer[:start]


def _check_control(first: int, length: int) -> None:
    version, kind = (first >> 16) & 0x7FFF, first & 0xFFFF
    if version != VERSION:
        raise SpdyError(f"SPDY version {version} is not spoken here (3 is)")
    if kind not in CONTROL_TYPES:
        raise SpdyError(f"unknown SPDY control frame type {kind}")
    if length > MAX_CONTROL_BYTES:
        raise SpdyError(f"a SPDY control frame of {length} bytes is over the limit of {MAX_CONTROL_BYTES}")


def control_frame(kind: int, payload: bytes, flags: int = 0) -> bytes:
    """Return the bytes of a control frame."""
    return struct.pack(">HHI", 0x8000 | VERSION, kind, flags << 24 | len(payload)) + payload


def data_frame(stream_id: int, data: bytes, flags: int = 0) -> bytes:
    """Return the bytes of a data frame; `data` is under 16 MiB."""
    return struct.pack(">II", stream_id, flags << 24 | len(data)) + data


class HeaderCodec:
    """Headers to compressed blocks and back; each direction keeps its zlib state across frames."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(9, zlib.DEFLATED, zdict=DICTIONARY)

    def encode(self, headers: Mapping[str, str]) -> bytes:
        """Return the block for `headers`."""
        block = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                block += (struct.pack(">I", len(text)), text)
        return self._deflate.compress(b"".join(block)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def decode(self, block: bytes) -> dict[str, str]:
        """Return the headers of a block, names in lower case; the first of several values counts."""
        try:
            plain = self._inflate.decompress(block, MAX_HEADER_BYTES)
        except zlib.error as error:
            raise SpdyError(f"SPDY headers do not decompress: {error}") from error
        if self._inflate.unconsumed_tail:
            raise SpdyError(f"SPDY headers are over the limit of {MAX_HEADER_BYTES} bytes")
        try:
            return dict(_read_headers(plain))
        except (struct.error, UnicodeDecodeError) as error:
            raise SpdyError("SPDY headers are cut short or are not text") from error


def _read_headers(plain: bytes) -> Iterator[tuple[str, str]]:
    (count,) = struct.unpack_from(">I", plain)
    at = 4
    for _ in range(count):
        pair = []
        for _ in range(2):
            (length,) = struct.unpack_from(">I", plain, at)
            if at + 4 + length > len(plain):
                raise struct.error("a header is longer than its block")
            pair.append(plain[at + 4 : at + 4 + length].decode())
            at += 4 + length
        yield pair[0].lower(), pair[1].split("\0", 1)[0]


@dataclass(slots=True, eq=False)
class SpdyStream:
    """A stream that the client opened. After the connection has ended, reads give b""."""

    id: int
    headers: dict[str, str]
    _owner: SpdyConnection
    _chunks: deque[bytes] = field(default_factory=deque)
    _buffered: int = 0
    _remote_ended: bool = False
    _local_ended: bool = False
    _is_reset: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, limit: int = 65536) -> bytes:
        """Return the next bytes, b"" when the client has ended its side; raise ConnectionResetError on a reset."""
        while not self._chunks:
            if self._is_reset:
                raise ConnectionResetError("the client reset the SPDY stream")
            if self._remote_ended:
                return b""
            self._changed.clear()
            await self._changed.wait()
        chunk = self._chunks.popleft()
        if len(chunk) > limit:
            self._chunks.appendleft(chunk[limit:])
            chunk = chunk[:limit]
        self._buffered -= len(chunk)
        self._owner.room.set()
        return chunk

    async def write(self, data: bytes) -> None:
        """Send, waiting while the client is slow; raise ConnectionError once the stream is closed."""
        if self._local_ended:
            raise ConnectionResetError("the SPDY stream is closed")
        for start in range(0, len(data), 65536):
            await self._owner.send(data_frame(self.id, data[start : start + 65536]))

    async def close_write(self) -> None:
        """Send the end of this side, once."""
        if not self._local_ended:
            self._local_ended = True
            await self._owner.send(data_frame(self.id, b"", FIN))
            self._owner.forget_if_done(self)

    async def close(self) -> None:
        """Reset the stream unless both sides have ended."""
        if not (self._local_ended and self._remote_ended):
            self.end(reset=True)
            await self._owner.send(control_frame(RST_STREAM, struct.pack(">II", self.id, CANCEL)))
            self._owner.forget_if_done(self)

    def take(self, data: bytes) -> None:
        """Queue what the client sent; the connection calls this."""
        if not self._remote_ended and data:
            self._chunks.append(data)
            self._buffered += len(data)
            self._changed.set()

    def end(self, *, reset: bool = False) -> None:
        """Note that the client has ended its side, or both (`reset`), which discards what was not read."""
        self._remote_ended = True
        if reset:
            self._local_ended = True
            self._is_reset = True
            self._chunks.clear()
            self._buffered = 0
            self._owner.room.set()
        self._changed.set()

    @property
    def is_done(self) -> bool:
        """Tell whether both sides have ended."""
        return self._local_ended and self._remote_ended

    @property
    def is_full(self) -> bool:
        """Tell whether the reader lags too far behind."""
        return self._buffered > MAX_BUFFERED_BYTES


class SpdyConnection:
    """The server's side of one connection: `accept()` streams while `run()` reads."""

    def __init__(self, connection: UpgradedConnection) -> None:
        self._connection = connection
        self._frames = FrameReader()
        self._codec = HeaderCodec()
        self._streams: dict[int, SpdyStream] = {}
        self._accepted: asyncio.Queue[SpdyStream | None] = asyncio.Queue()
        self._last_id = 0
        self.room = asyncio.Event()

    async def accept(self) -> SpdyStream | None:
        """Return the next stream that the client opened (already answered), None when the connection ended."""
        return await self._accepted.get()

    async def run(self) -> None:
        """Read until the client goes; then every stream reads its end. Raises SpdyError on a broken protocol."""
        try:
            while data := await self._connection.read():
                for frame in self._frames.feed(data):
                    if not await self._handle(frame):
                        return
        except SpdyError:
            raise
        except ConnectionError:
            return
        finally:
            for stream in list(self._streams.values()):
                stream.end()
            self._accepted.put_nowait(None)

    async def send(self, frame: bytes) -> None:
        """Write one frame."""
        await self._connection.write(frame)

    async def close(self) -> None:
        """Say GOAWAY and close; a client that is gone already is none the wiser."""
        try:
            await self.send(control_frame(GOAWAY, struct.pack(">II", self._last_id, 0)))
        except ConnectionError:
            return
        await self._connection.close()

    def forget_if_done(self, stream: SpdyStream) -> None:
        """Let go of a stream that both sides have ended."""
        if stream.is_done:
            self._streams.pop(stream.id, None)

    async def _handle(self, frame: ControlFrame | DataFrame) -> bool:
        if isinstance(frame, DataFrame):
            await self._take_data(frame)
        elif frame.type == SYN_STREAM:
            await self._open(frame)
        elif frame.type == RST_STREAM:
            self._reset(_unpack(">I", frame.payload))
        elif frame.type == PING:
            if _unpack(">I", frame.payload) & 1:
                await self.send(control_frame(PING, frame.payload[:4]))
        elif frame.type == HEADERS:
            self._codec.decode(frame.payload[4:])
            if frame.flags & FIN:
                self._end(_unpack(">I", frame.payload))
        return frame.type != GOAWAY if isinstance(frame, ControlFrame) else True

    async def _open(self, frame: ControlFrame) -> None:
        stream_id = _unpack(">I", frame.payload) & 0x7FFFFFFF
        headers = self._codec.decode(frame.payload[10:])
        if stream_id % 2 == 0 or stream_id <= self._last_id:
            await self.send(control_frame(RST_STREAM, struct.pack(">II", stream_id, PROTOCOL_ERROR)))
            return
        self._last_id = stream_id
        if len(self._streams) >= MAX_STREAMS:
            await self.send(control_frame(RST_STREAM, struct.pack(">II", stream_id, REFUSED_STREAM)))
            return
        stream = SpdyStream(stream_id, headers, self)
        self._streams[stream_id] = stream
        if frame.flags & FIN:
            stream.end()
        await self.send(control_frame(SYN_REPLY, struct.pack(">I", stream_id) + self._codec.encode({})))
        self._accepted.put_nowait(stream)

    async def _take_data(self, frame: DataFrame) -> None:
        stream = self._streams.get(frame.stream_id)
        if stream is None:
            return
        stream.take(frame.data)
        if frame.flags & FIN:
            self._end(frame.stream_id)
        while stream.is_full:
            self.room.clear()
            await self.room.wait()

    def _end(self, stream_id: int) -> None:
        if stream := self._streams.get(stream_id):
            stream.end()
            self.forget_if_done(stream)

    def _reset(self, stream_id: int) -> None:
        if stream := self._streams.pop(stream_id, None):
            stream.end(reset=True)


def _unpack(layout: str, payload: bytes) -> int:
    try:
        (value,) = struct.unpack_from(layout, payload)
    except struct.error as error:
        raise SpdyError("a SPDY control frame is cut short") from error
    return int(value)
