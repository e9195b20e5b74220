"""Ask a server by the gRPC health protocol whether a service is healthy: one unary call over one HTTP/2 connection.

Without TLS, as upstream's probes are. HTTP/2 and HPACK are h2's, imported with the first gRPC probe of a process; the
two protobuf messages have one field each. Follows pkg/probe/grpc/grpc.go, grpc/doc/health-checking.md and
grpc/doc/PROTOCOL-HTTP2.md; words are those of grpc-go.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from proa.client.protocol import Object
from proa.node.probes.http import USER_AGENT
from proa.node.runtimes.protocol import Runtime, RuntimeFailure
from proa.objects.quick_dataclass import dataclass

if TYPE_CHECKING:
    from h2.connection import H2Connection

METHOD = "/grpc.health.v1.Health/Check"
ANSWER_LIMIT_BYTES = 64 * 1024
_HEALTH = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_CODES = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
    "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal",
    "Unavailable", "DataLoss", "Unauthenticated",
)  # fmt: skip
_UNIMPLEMENTED, _DEADLINE_EXCEEDED, _UNAVAILABLE = 12, 4, 14


class _CallFailed(Exception):
    """The call has no answer: a gRPC status and a message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True)
class _Answer:
    """What the server has sent so far."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    is_whole: bool = False


async def check_health(
    runtime: Runtime, action: Object, host: str, timeout_seconds: float
) -> tuple[bool, str]:
    """Return whether the service is SERVING, and what is to be told of it; all else is a failed probe."""
    where = f"[{host}]:{action['port']}" if ":" in host else f"{host}:{action['port']}"
    allowed = f"{timeout_seconds:g}s"
    try:
        async with asyncio.timeout(timeout_seconds):
            connection = await _connect(runtime, host, int(action["port"]))
    except TimeoutError:
        words = f'timeout: failed to connect service "{where}" within {allowed}: context deadline exceeded'
        return False, words
    except (OSError, RuntimeFailure) as error:
        why = f'connection error: desc = "transport: Error while dialing: {_dial_words(error, where)}"'
        return False, f'error: failed to connect service at "{where}": {why}'
    reader, writer = connection
    try:
        async with asyncio.timeout(timeout_seconds):
            health = await _call(reader, writer, where, action.get("service") or "")
    except TimeoutError:
        return False, f"timeout: health rpc did not complete within {allowed}"
    except _CallFailed as failed:
        return False, _failure_words(failed, allowed)
    finally:
        writer.transport.abort()
    if health != "SERVING":
        return False, f'service unhealthy (responded with "{health}")'
    return True, "service healthy"


def _failure_words(failed: _CallFailed, allowed: str) -> str:
    if failed.code == _UNIMPLEMENTED:
        words = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
        return f"{words}: {failed.message}"
    if failed.code == _DEADLINE_EXCEEDED:
        return f"timeout: health rpc did not complete within {allowed}"
    name = _CODES[failed.code] if 0 <= failed.code < len(_CODES) else f"Code({failed.code})"
    return f"error: health rpc probe failed: rpc error: code = {name} desc = {failed.message}"


async def _connect(
    runtime: Runtime, host: str, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    connection = await runtime.dial("", host, port)
    try:
        return await asyncio.open_connection(sock=connection)
    except BaseException:
        connection.close()
        raise


async def _call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str, service: str) -> str:
    """Return the name of the health that the server tells; raise _CallFailed."""
    from h2.exceptions import ProtocolError

    http2 = _begin(where, service)
    writer.write(http2.data_to_send())
    answer = _Answer()
    try:
        while not answer.is_whole:
            data = await reader.read(ANSWER_LIMIT_BYTES)
            if not data:
                raise _CallFailed(_UNAVAILABLE, "error reading from server: EOF")
            _take(http2, data, answer)
            writer.write(http2.data_to_send())
    except ProtocolError as error:
        raise _CallFailed(_UNAVAILABLE, f"connection error: {error}") from error
    except OSError as error:
        raise _CallFailed(_UNAVAILABLE, f"error reading from server: {error.strerror or error}") from error
    return _read(answer)


def _begin(where: str, service: str) -> H2Connection:
    """Return a connection whose first bytes are the whole call."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection

    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    http2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    http2.initiate_connection()
    headers = [
        (":method", "POST"), (":scheme", "http"), (":path", METHOD), (":authority", where),
        ("content-type", "application/grpc"), ("user-agent", USER_AGENT), ("te", "trailers"),
    ]  # fmt: skip
    http2.send_headers(1, headers)
    http2.send_data(1, b"\0" + len(message).to_bytes(4, "big") + message, end_stream=True)
    return http2


def _take(http2: H2Connection, data: bytes, answer: _Answer) -> None:
    """Take in what has arrived."""
    from h2 import events

    for event in http2.receive_data(data):
        if isinstance(event, (events.ResponseReceived, events.TrailersReceived)):
            answer.headers |= {str(name): str(value) for name, value in event.headers or ()}
        elif isinstance(event, events.DataReceived):
            answer.body += event.data or b""
            if len(answer.body) > ANSWER_LIMIT_BYTES:
                raise _CallFailed(8, "received message larger than max")
            if event.flow_controlled_length:
                http2.acknowledge_received_data(event.flow_controlled_length, 1)
        elif isinstance(event, events.StreamEnded):
            answer.is_whole = True
        elif isinstance(event, (events.StreamReset, events.ConnectionTerminated)):
            raise _CallFailed(_UNAVAILABLE, f"the server ended the call: {event.error_code}")


def _read(answer: _Answer) -> str:
    headers = answer.headers
    status = headers.get("grpc-status", "")
    if not status.isdigit():
        code = headers.get(":status")
        kind = headers.get("content-type", "")
        words = f"unexpected HTTP status code received from server: {code}; content-type {kind!r}"
        raise _CallFailed(_UNIMPLEMENTED if code == "404" else 2, words)
    if int(status):
        raise _CallFailed(int(status), unquote(headers.get("grpc-message", "")))
    body = bytes(answer.body)
    if len(body) < 5 or body[0] or len(body) != 5 + int.from_bytes(body[1:5], "big"):
        raise _CallFailed(13, "the answer is not one uncompressed message")
    return _health_of(body[5:])


def _health_of(message: bytes) -> str:
    """Return the name of field 1 of a HealthCheckResponse; it is 0 where it is left out."""
    if not message:
        return _HEALTH[0]
    if len(message) < 2 or message[0] != 0x08 or message[1] & 0x80:
        raise _CallFailed(13, "grpc: failed to unmarshal the received message")
    return _HEALTH[message[1]] if message[1] < len(_HEALTH) else str(message[1])


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _dial_words(error: OSError | RuntimeFailure, where: str) -> str:
    if isinstance(error, RuntimeFailure):
        return f"dial tcp {where}: connect: {error.message.rpartition(': ')[2]}"
    return f"dial tcp {where}: connect: {os.strerror(error.errno).lower() if error.errno else error}"
