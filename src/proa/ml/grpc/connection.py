"""One client's HTTP/2 connection: take whole requests, answer each as one message, and bound what a client can cost.

HTTP/2 and HPACK are h2's. A client that has something under way and sends nothing for STALL_SECONDS is cut, one that
has nothing is told to go after IDLE_SECONDS. Source: doc/PROTOCOL-HTTP2.md of grpc/grpc.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import field
from typing import NamedTuple, Protocol, cast

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError, StreamClosedError
from hyperframe.frame import GoAwayFrame

from proa.ml.grpc.framing import (
    CONTENT_TYPE,
    HEAD_BYTES,
    MAX_MESSAGE_BYTES,
    frame,
    read_timeout,
    write_message,
)
from proa.ml.grpc.status import CallFailed, Code
from proa.objects.quick_dataclass import dataclass

STALL_SECONDS = 90.0
IDLE_SECONDS = 600.0
HIGH_WATER_BYTES = 256 * 1024
MAX_IDLE_FRAMES = 1000
"""Frames without a whole request between them (pings, settings, streams that are reset): nobody needs so many."""
_READ_HEADERS = ("content-type", "grpc-timeout", ":path")
_MAX_STREAM = (1 << 31) - 1
_MAX_HEADER = 256
"""Characters of a header that are kept."""

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a call comes from: both ends of its connection. `is_host`: it came by this machine's loopback."""

    address: Address
    local: Address
    is_host: bool = False


class Limits(NamedTuple):
    """What clients can have of a server."""

    connections: int = 512
    of_one_address: int = 64
    """Connections of one pod: it cannot keep all others out."""
    message_bytes: int = MAX_MESSAGE_BYTES
    held_bytes: int = 64 * 1024 * 1024
    """Of requests and answers of all connections, until they are sent."""
    held_of_one_bytes: int = 16 * 1024 * 1024
    """Of one pod's."""
    call_seconds: float = 60.0
    advice: str = "send less at once"
    """For whoever sends a message that is too long."""


class Owner(Protocol):
    """What a connection needs of its server."""

    limits: Limits

    def admit(self, connection: GrpcConnection) -> bool: ...
    def leave(self, connection: GrpcConnection) -> None: ...
    def hold(self, size: int, caller: Caller) -> bool: ...
    async def answer(self, path: str, body: bytes, caller: Caller, seconds: float | None) -> bytes: ...


@dataclass(slots=True)
class _Stream:
    """One call: the request as it comes, then the answer as it goes."""

    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)
    task: asyncio.Task[None] | None = None
    is_answering: bool = False
    held_bytes: int = 0


class GrpcConnection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: Owner, *, is_host: bool) -> None:
        self._server = server
        self._is_host = is_host
        self.caller = Caller(("", 0), ("", 0), is_host)
        self._http2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._streams: dict[int, _Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._is_writable = True
        self._idle_frames = 0

    def abort(self) -> list[asyncio.Task[None]]:
        """Cut the connection; return what then ends."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        self._transport.abort()
        return tasks

    def go_away(self) -> None:
        """Tell the client to begin no more calls here; those that it has begun, and is about to, are answered.

        RFC 9113, 6.8: the first of two GOAWAYs. h2 knows only the last one, after which nothing can be sent.
        """
        if not self._transport.is_closing():
            self._transport.write(GoAwayFrame(0, last_stream_id=_MAX_STREAM).serialize())

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        peer, local = (transport.get_extra_info(name) for name in ("peername", "sockname"))
        here = ("", 0)
        self.caller = Caller(
            (peer[0], peer[1]) if isinstance(peer, tuple) else here,
            (local[0], local[1]) if isinstance(local, tuple) else here,
            self._is_host,
        )
        if not self._server.admit(self):
            self._transport.abort()
            return
        self._http2.initiate_connection()
        self._write()
        self._wait()

    def connection_lost(self, error: Exception | None) -> None:
        """Let go of all that was under way."""
        self._server.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        for number in [*self._streams]:
            self._forget(number)

    def data_received(self, data: bytes) -> None:
        """Take in frames."""
        try:
            for event in self._http2.receive_data(data):
                self._handle(event)
            self._flush()
        except ProtocolError:
            self._end()
        else:
            self._wait()

    def pause_writing(self) -> None:
        """Hold answers back, and hear nothing more: a client that does not read could have us keep what it asks for."""
        self._is_writable = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._is_writable = True
        if self._transport.is_closing():
            return
        self._transport.resume_reading()
        try:
            self._flush()
        except ProtocolError:
            self._end()

    # Frames

    def _handle(self, event: events.Event) -> None:
        self._idle_frames += not isinstance(event, (events.DataReceived, events.WindowUpdated))
        if self._idle_frames > MAX_IDLE_FRAMES:
            self._http2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            raise ProtocolError("too many frames without a request")
        if isinstance(event, events.RequestReceived):
            said = {_text(name): _text(value)[:_MAX_HEADER] for name, value in event.headers or ()}
            headers = {name: said[name] for name in _READ_HEADERS if name in said}
            self._streams[_number(event.stream_id)] = _Stream(headers)
        elif isinstance(event, events.DataReceived):
            self._take(_number(event.stream_id), event.data or b"", event.flow_controlled_length or 0)
        elif isinstance(event, events.StreamEnded):
            self._begin(_number(event.stream_id))
        elif isinstance(event, events.StreamReset):
            self._forget(_number(event.stream_id))
        elif isinstance(event, events.ConnectionTerminated):
            self._transport.close()

    def _take(self, number: int, data: bytes, length: int) -> None:
        stream = self._streams.get(number)
        if length:
            self._http2.acknowledge_received_data(length, number)
        if stream is None or stream.is_answering:
            return
        stream.body += data
        limits = self._server.limits
        if len(stream.body) > limits.message_bytes + HEAD_BYTES:
            words = f"a message has up to {limits.message_bytes} bytes: {limits.advice}"
            self._refuse(number, stream, CallFailed(Code.RESOURCE_EXHAUSTED, words))
        elif not self._hold(stream, len(data)):
            words = "too many calls are under way: try again"
            self._refuse(number, stream, CallFailed(Code.RESOURCE_EXHAUSTED, words))

    def _begin(self, number: int) -> None:
        """The request is whole: answer it."""
        stream = self._streams.get(number)
        if stream is None or stream.is_answering:
            return
        if not stream.headers.get("content-type", "").startswith(CONTENT_TYPE):
            self._http2.send_headers(number, [(":status", "415")], end_stream=True)
            self._forget(number)
            return
        self._idle_frames = 0
        stream.task = asyncio.get_running_loop().create_task(self._answer(number, stream), name="grpc call")
        self._tasks.add(stream.task)
        stream.task.add_done_callback(self._tasks.discard)

    async def _answer(self, number: int, stream: _Stream) -> None:
        body, stream.body = bytes(stream.body), bytearray()
        seconds = read_timeout(stream.headers.get("grpc-timeout", ""))
        path = stream.headers.get(":path", "")
        try:
            await self._answer_or_refuse(number, stream, path, body, seconds)
            self._flush()
        except ProtocolError:
            self._end()
        else:
            self._wait()

    async def _answer_or_refuse(
        self, number: int, stream: _Stream, path: str, body: bytes, seconds: float | None
    ) -> None:
        try:
            message = frame(await self._server.answer(path, body, self.caller, seconds))
            if not self._hold(stream, len(message)):
                raise CallFailed(Code.RESOURCE_EXHAUSTED, "too many answers are under way: try again")
        except CallFailed as failed:
            self._refuse(number, stream, failed)
            return
        self._http2.send_headers(number, [(":status", "200"), ("content-type", CONTENT_TYPE)])
        stream.is_answering = True
        stream.body += message

    def _refuse(self, number: int, stream: _Stream, failed: CallFailed) -> None:
        """Answer with trailers alone; what else comes of the request is dropped."""
        headers = [
            (":status", "200"), ("content-type", CONTENT_TYPE),
            ("grpc-status", str(int(failed.code))), ("grpc-message", write_message(failed.message)),
        ]  # fmt: skip
        has_all = stream.task is not None
        self._http2.send_headers(number, headers, end_stream=True)
        if not has_all:
            with suppress(StreamClosedError):  # its end came together with what is refused
                self._http2.reset_stream(number, ErrorCodes.NO_ERROR)
        self._forget(number)

    def _flush(self) -> None:
        """Send of the answers what the client and the socket take."""
        for number, stream in [*self._streams.items()]:
            while self._is_writable and stream.is_answering:
                window = self._http2.local_flow_control_window(number)
                size = min(len(stream.body), window, self._http2.max_outbound_frame_size)
                if stream.body and size <= 0:
                    break
                if stream.body:
                    self._http2.send_data(number, bytes(stream.body[:size]))
                    del stream.body[:size]
                if not stream.body:
                    self._http2.send_headers(number, [("grpc-status", "0")], end_stream=True)
                    self._forget(number)
                self._write()
        self._write()

    def _forget(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        stream.is_answering = False
        self._server.hold(-stream.held_bytes, self.caller)
        if stream.task is not None and stream.task is not asyncio.current_task():
            stream.task.cancel()

    def _hold(self, stream: _Stream, size: int) -> bool:
        if not self._server.hold(size, self.caller):
            return False
        stream.held_bytes += size
        return True

    def _write(self) -> None:
        data = self._http2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _end(self) -> None:
        """Say what is wrong with what the client sent, and part."""
        self._write()
        self._transport.close()

    # Time

    def _wait(self) -> None:
        """Begin to count anew."""
        if self._timer is not None:
            self._timer.cancel()
        seconds = STALL_SECONDS if self._streams else IDLE_SECONDS
        self._timer = asyncio.get_running_loop().call_later(seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        if self._streams or not self._is_writable or self._transport.is_closing():
            self.abort()
            return
        self._http2.close_connection()
        self._write()
        self._transport.close()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _number(stream_id: int | None) -> int:
    assert stream_id is not None
    return stream_id
