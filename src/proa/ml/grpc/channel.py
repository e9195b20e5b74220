"""Call one unary gRPC method over a connection of its own.

What connects is given: a node's network is in its own namespace. HTTP/2 and HPACK are h2's, imported with the first
call. Source: doc/PROTOCOL-HTTP2.md of grpc/grpc.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import field
from typing import TYPE_CHECKING

from proa.ml.grpc.codec import Contract, Malformed, Message
from proa.ml.grpc.framing import CONTENT_TYPE, frame, read_status, unframe, write_timeout
from proa.ml.grpc.status import CallFailed, Code
from proa.objects.quick_dataclass import dataclass

if TYPE_CHECKING:
    from h2.connection import H2Connection

Dial = Callable[[str, int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Connects to a host's port; raises OSError."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
_READ_BYTES = 256 * 1024


@dataclass(slots=True)
class _Answer:
    """What the server has sent so far."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    is_whole: bool = False


async def call(
    contract: Contract, dial: Dial, address: tuple[str, int], path: str, message: Message, seconds: float
) -> Message:
    """Return the answer of the method at `path`; raise CallFailed, UNAVAILABLE where nobody answers."""
    host, port = address
    codec, (request, reply) = contract.codec, contract.methods[path]
    body = frame(codec.encode(request, message))
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await dial(host, port)
            try:
                answer = await _call(reader, writer, f"{host}:{port}", path, body, seconds)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        raise CallFailed(
            Code.DEADLINE_EXCEEDED, f"{host}:{port} has not answered for {seconds:g} s"
        ) from None
    except OSError as error:
        raise CallFailed(Code.UNAVAILABLE, f"{host}:{port}: {error.strerror or error}") from None
    read_status(answer.headers)
    try:
        return await asyncio.to_thread(codec.decode, reply, unframe(answer.body))  # it may be long
    except Malformed as error:
        raise CallFailed(Code.INTERNAL, f"the answer of {host}:{port} is no {reply}: {error}") from None


async def _call(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    authority: str,
    path: str,
    body: bytes,
    seconds: float,
) -> _Answer:
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.exceptions import ProtocolError

    http2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    http2.initiate_connection()
    headers = [
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", authority),
        ("content-type", CONTENT_TYPE), ("user-agent", "proa"), ("te", "trailers"),
        ("grpc-timeout", write_timeout(seconds)),
    ]  # fmt: skip
    http2.send_headers(1, headers)
    answer, left = _Answer(), bytearray(body)
    try:
        while not answer.is_whole:
            _send(http2, left)
            writer.write(http2.data_to_send())
            await writer.drain()
            data = await reader.read(_READ_BYTES)
            if not data:
                raise CallFailed(Code.UNAVAILABLE, f"{authority} has closed the connection")
            _take(http2, data, answer)
    except ProtocolError as error:
        raise CallFailed(Code.UNAVAILABLE, f"{authority} does not speak gRPC: {error}") from None
    return answer


def _send(http2: H2Connection, left: bytearray) -> None:
    """Send of the request what the server takes."""
    while left:
        size = min(len(left), http2.local_flow_control_window(1), http2.max_outbound_frame_size)
        if size <= 0:
            return
        http2.send_data(1, bytes(left[:size]), end_stream=size == len(left))
        del left[:size]


def _take(http2: H2Connection, data: bytes, answer: _Answer) -> None:
    """Take in what has arrived."""
    from h2 import events

    for event in http2.receive_data(data):
        if isinstance(event, (events.ResponseReceived, events.TrailersReceived)):
            answer.headers |= {_text(name): _text(value) for name, value in event.headers or ()}
        elif isinstance(event, events.DataReceived):
            answer.body += event.data or b""
            if len(answer.body) > MAX_ANSWER_BYTES:
                raise CallFailed(
                    Code.RESOURCE_EXHAUSTED, f"the answer has more than {MAX_ANSWER_BYTES} bytes"
                )
            if event.flow_controlled_length:
                http2.acknowledge_received_data(event.flow_controlled_length, 1)
        elif isinstance(event, events.StreamEnded):
            answer.is_whole = True
        elif isinstance(event, (events.StreamReset, events.ConnectionTerminated)):
            if "grpc-status" not in answer.headers:  # else it was answered before the request was whole
                raise CallFailed(Code.UNAVAILABLE, f"the server has ended the call: {event.error_code}")
            answer.is_whole = True


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
