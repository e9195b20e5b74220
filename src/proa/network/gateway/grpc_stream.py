"""Be the server's side of one gRPC stream at a time, over HTTP/2 without TLS: on it Envoy asks us for endpoints.

Whoever connects is our own Envoy and wants the one method that there is, so headers are never decoded (RFC 7541 is
left out) and the answers' are constants. Frames, settings, flow control and pings are RFC 9113's; messages with their
five bytes before are gRPC's.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import cast

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
INITIAL_WINDOW_SIZE = 4
DEFAULT_WINDOW = 65535
FRAME_BYTES = 16384
MAX_MESSAGE_BYTES = 16 << 20
_CONTENT_TYPE = b"\x0f\x10\x10application/grpc"
_ANSWER = b"\x88" + _CONTENT_TYPE
"""`:status: 200` and `content-type`, by their places in HPACK's static table."""
_FRAME = struct.Struct(">HBBBI")


class GrpcStream(asyncio.Protocol):
    """One connection. `on_message` hears each message; `on_open` that a stream has begun, so that all begins anew."""

    def __init__(self, on_open: Callable[[GrpcStream], None], on_message: Callable[[bytes], None]) -> None:
        self._on_open = on_open
        self._on_message = on_message
        self._transport: asyncio.Transport
        self._data = bytearray()
        self._has_preface = False
        self._stream = 0
        self._message = bytearray()
        self._pending = bytearray()
        self._connection_window = DEFAULT_WINDOW
        self._stream_window = DEFAULT_WINDOW
        self._initial_window = DEFAULT_WINDOW

    def send(self, message: bytes) -> None:
        """Send a message, as fast as the other side takes it; nothing where there is no stream any more."""
        if self._stream:
            self._pending += b"\0" + len(message).to_bytes(4, "big") + message
            self._flush()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, with our settings: none."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._send_frame(SETTINGS, 0, 0, b"")

    def data_received(self, data: bytes) -> None:
        """Take frames as they are complete."""
        self._data += data
        if not self._has_preface:
            if len(self._data) < len(PREFACE):
                return
            if not self._data.startswith(PREFACE):
                self._transport.abort()
                return
            del self._data[: len(PREFACE)]
            self._has_preface = True
        while (frame := self._take_frame()) is not None:
            self._handle(*frame)

    def connection_lost(self, error: Exception | None) -> None:
        """Whatever was to be sent is void."""
        self._stream = 0
        self._pending.clear()

    def close(self) -> None:
        """End the connection."""
        self._transport.abort()

    # Frames

    def _take_frame(self) -> tuple[int, int, int, bytes] | None:
        if len(self._data) < _FRAME.size:
            return None
        high, low, kind, flags, stream = _FRAME.unpack_from(self._data)
        length = high << 8 | low
        if length > FRAME_BYTES:  # we have not allowed more
            self._transport.abort()
            return None
        if len(self._data) < _FRAME.size + length:
            return None
        payload = bytes(self._data[_FRAME.size : _FRAME.size + length])
        del self._data[: _FRAME.size + length]
        return kind, flags, stream & 0x7FFFFFFF, payload

    def _send_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        length = len(payload)
        self._transport.write(_FRAME.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload)

    def _handle(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self._take_settings(payload)
            self._send_frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            self._send_frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            self._widen(stream, int.from_bytes(payload, "big") & 0x7FFFFFFF)
        elif kind == HEADERS and stream > self._stream:
            self._open(stream)
        elif kind == DATA:
            self._take_data(flags, stream, payload)
        elif kind == RST_STREAM and stream == self._stream:
            self._stream = 0
            self._pending.clear()
        elif kind == GOAWAY:
            self._transport.close()

    def _take_settings(self, payload: bytes) -> None:
        for identifier, value in struct.iter_unpack(">HI", payload):
            if identifier == INITIAL_WINDOW_SIZE:
                self._stream_window += value - self._initial_window
                self._initial_window = value
        self._flush()

    def _widen(self, stream: int, more: int) -> None:
        if stream == 0:
            self._connection_window += more
        elif stream == self._stream:
            self._stream_window += more
        self._flush()

    def _open(self, stream: int) -> None:
        self._stream = stream
        self._stream_window = self._initial_window
        self._message.clear()
        self._pending.clear()
        self._send_frame(HEADERS, END_HEADERS, stream, _ANSWER)
        self._on_open(self)

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        if payload:
            more = len(payload).to_bytes(4, "big")
            self._send_frame(WINDOW_UPDATE, 0, 0, more)
            self._send_frame(WINDOW_UPDATE, 0, stream, more)
        if stream != self._stream:
            return
        if flags & PADDED:
            payload = payload[1 : len(payload) - payload[0]]
        self._message += payload
        while len(self._message) >= 5:
            end = 5 + int.from_bytes(self._message[1:5], "big")
            if end > MAX_MESSAGE_BYTES:
                self._transport.abort()
                return
            if len(self._message) < end:
                return
            message = bytes(self._message[5:end])
            del self._message[:end]
            self._on_message(message)

    def _flush(self) -> None:
        """Send what there is, as far as the other side has room."""
        while self._pending and self._stream:
            size = min(len(self._pending), FRAME_BYTES, self._connection_window, self._stream_window)
            if size <= 0:
                return
            self._send_frame(DATA, 0, self._stream, bytes(self._pending[:size]))
            del self._pending[:size]
            self._connection_window -= size
            self._stream_window -= size
