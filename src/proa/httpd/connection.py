"""One client's connection: parse requests, answer them in order, and bound what a client can cost.

The protocol parses (httptools) and queues whole requests; one task takes them in turn, so pipelined requests are
answered in order. The rules of the wire are RFC 9112; limits and their words are upstream's (apiserver/pkg/server/
options; bodies of 3 MiB, unless the server says otherwise). `deadline` is the only clock: server.py sweeps all
connections for those whose time is up.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from typing import Protocol, cast
from urllib.parse import parse_qs

import httptools
import orjson

from proa.client.protocol import Handler, Request, Response, User
from proa.httpd.certificates import user_of_certificate
from proa.httpd.upgraded import Upgraded
from proa.objects.errors import ApiError, BadRequest, RequestEntityTooLarge, ServiceUnavailable

MAX_BODY_BYTES = 3 * 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024
MAX_FRAMING_BYTES = 1024 * 1024
"""So much may come with a body that is none of it: the sizes of chunks, trailers, the end of a request before."""
MAX_PIPELINED = 16
COMPRESSED_BYTES = 128 * 1024
"""A longer answer is compressed for those who accept it, as upstream's responsewriters/writers.go does."""
PIECE_BYTES = 200 * 1024
HIGH_WATER_BYTES = 256 * 1024
READ_SECONDS = 60.0
"""A request must have arrived whole this long after its first byte."""
IDLE_SECONDS = 90.0
LINGER_SECONDS = 2.0
"""So long a refused client may go on sending before it is cut off."""
STALL_SECONDS = 60.0
"""A client that takes nothing of an answer for this long is cut off."""

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n" for s in HTTPStatus}
_log = logging.getLogger(__name__)


class Owner(Protocol):
    """What a connection needs of its server. `date` is the value of the Date header."""

    handler: Handler
    date: str
    max_body_bytes: int
    max_connections: int
    max_held_bytes: int
    held_bytes: int
    read_seconds: float
    idle_seconds: float
    connections: set[Connection]


class Connection(asyncio.Protocol):
    """One client's connection. `deadline` (monotonic seconds, 0: none) is checked by the server's sweep."""

    def __init__(self, server: Owner) -> None:
        self.server = server
        self.task: asyncio.Task[None] | None = None
        self.busy = False
        self.deadline = 0.0
        self._transport: asyncio.Transport | None = None
        self._user: User | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[Request] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._drain: asyncio.Future[None] | None = None
        self._writable = True
        self._gone: asyncio.Future[None]
        self._upgraded: Upgraded | None = None
        self._reading_paused = False
        self._closing = False
        self._refusal: ApiError | None = None
        self._begin()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        tls = transport.get_extra_info("ssl_object")
        self._user = user_of_certificate(tls.getpeercert()) if tls is not None else None
        peer = transport.get_extra_info("peername")
        self._source = peer[0] if isinstance(peer, tuple) else ""
        loop = asyncio.get_running_loop()
        self._gone = loop.create_future()
        if 0 < self.server.max_connections <= len(self.server.connections):
            self._closing = True
            transport.abort()
            return
        self.server.connections.add(self)
        self.deadline = time.monotonic() + (self.server.read_seconds or READ_SECONDS)
        self.task = loop.create_task(self._answer_all())

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        self._hold(-self._held_bytes)
        self._closing = True
        self._release(self._drain)
        self._release(self._gone)
        if self._upgraded is not None:
            self._upgraded.feed_end()
        elif self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._upgraded is not None:
            self._upgraded.feed(data)
            return
        if self._closing or self._refusal:
            return
        self._began_here = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._take_over(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(BadRequest(f"malformed HTTP: {error}"))
        if not self._in_body:
            # A head that began in an earlier piece is this much longer; what is parsed of it is counted too.
            self._unfinished_bytes += 0 if self._began_here else len(data)
            if max(self._unfinished_bytes, self._head_bytes) > MAX_HEAD_BYTES:
                self._refuse(_long_head())
        else:
            self._received_bytes += len(data)
            if self._received_bytes > MAX_FRAMING_BYTES + 8 * self._body_bytes:
                self._refuse(_long_head())

    def eof_received(self) -> bool:
        if self._upgraded is not None:
            self._upgraded.feed_end()
            return self._transport is not None and self._transport.get_extra_info("sslcontext") is None
        return False

    def pause_writing(self) -> None:
        self._writable = False
        self.deadline = time.monotonic() + STALL_SECONDS

    def resume_writing(self) -> None:
        self._writable = True
        self.deadline = 0.0
        self._release(self._drain)

    # What the parser calls.

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._unfinished_bytes = 0
        self._received_bytes = 0
        self._in_body = False
        self._began_here = True

    def on_message_begin(self) -> None:
        self._begin()
        self.deadline = time.monotonic() + (self.server.read_seconds or READ_SECONDS)

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers = self._headers
        self._head_bytes += len(name) + len(value) + 4
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        self._in_body = True
        headers = self._headers
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(_long_head())
        elif int(headers.get("content-length") or 0) > self.server.max_body_bytes:
            self._refuse(_too_large(self.server.max_body_bytes))
        elif headers.get("expect", "").lower() == "100-continue" and not self.busy and not self._requests:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._refusal:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self.server.max_body_bytes:
            self._body.clear()
            self._refuse(_too_large(self.server.max_body_bytes))
        elif 0 < self.server.max_held_bytes < self.server.held_bytes + len(body):
            self._body.clear()
            self._refuse(ServiceUnavailable("too many large requests at once, try again later"))
        else:
            self._hold(len(body))
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._refusal:
            return
        self._in_body = False
        self._head_bytes = self._unfinished_bytes = 0
        self._began_here = True  # what is left of this piece, if anything, is the next request's
        self.deadline = 0.0
        headers = self._headers
        if not self._parser.should_keep_alive():
            headers["connection"] = headers.get("connection") or "close"
            self._last = True
        body = self._body
        path, _, query = self._url.partition(b"?")
        text = path.decode("latin-1")
        self._requests.append(
            Request(
                self._parser.get_method().decode("ascii"),
                text,
                parse_qs(query.decode("latin-1"), keep_blank_values=True) if query else {},
                headers,
                body[0] if len(body) == 1 else b"".join(body),
                self._user,
                self._source,
            )
        )
        if len(self._requests) >= MAX_PIPELINED and not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()
        self._release(self._wake)

    _held_bytes = 0
    """Of bodies that are not answered yet."""

    def _hold(self, size: int) -> None:
        self._held_bytes += size
        self.server.held_bytes += size

    _last = False
    """Whether the newest request said that it is the last."""

    def _take_over(self, rest: bytes) -> None:
        """Keep what follows a request that asks for an upgrade: it is not HTTP."""
        assert self._transport is not None
        self._upgraded = Upgraded(self._transport, self._drained)
        if rest:
            self._upgraded.feed(rest)

    def _refuse(self, error: ApiError) -> None:
        """Answer once more, after what is under way, and close."""
        self._refusal = error
        self.deadline = time.monotonic() + READ_SECONDS
        self._release(self._wake)

    # What the task does.

    async def _answer_all(self) -> None:
        """Take requests in turn until the connection ends."""
        try:
            while not self._closing:
                if not self._requests:
                    if self._refusal or self._last:
                        break
                    self.busy = False
                    if self._transport is None or self._transport.is_closing():
                        return
                    if not self.deadline:
                        self.deadline = time.monotonic() + (self.server.idle_seconds or IDLE_SECONDS)
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
                    continue
                self.busy = True
                request = self._requests.popleft()
                if self._reading_paused and self._transport is not None:
                    self._reading_paused = False
                    self._transport.resume_reading()
                goes_on = await self._answer(request)
                self._hold(-min(len(request.body), self._held_bytes))
                if not goes_on:
                    break
            if self._refusal:
                await self._answer_refusal(self._refusal)
        except (ConnectionError, asyncio.CancelledError):
            pass
        except Exception:
            _log.exception("a connection failed")
        finally:
            self._closing = True
            if self._transport is not None and not self._transport.is_closing():
                self._transport.close()

    async def _answer(self, request: Request) -> bool:
        """Answer one request; tell whether the connection goes on."""
        last = self._closing or request.headers.get("connection", "").lower() == "close"
        response = await self.server.handler(request)
        if response.upgrade is not None and self._upgraded is not None:
            await self._hand_over(response)
            return False
        last = last or self._upgraded is not None or self._closing
        if response.stream is not None:
            return await self._write_stream(request, response, response.stream, last)
        body = response.body
        length = len(body) if isinstance(body, bytes) else sum([len(piece) for piece in body])
        if length > COMPRESSED_BYTES and accepts_gzip(request.headers.get("accept-encoding", "")):
            body = await asyncio.to_thread(compress, (body,) if isinstance(body, bytes) else body)
            length = len(body)
            response.headers["Content-Encoding"] = "gzip"
            vary = response.headers.get("Vary")
            response.headers["Vary"] = f"{vary}, Accept-Encoding" if vary else "Accept-Encoding"
        head = self._head(response, f"Content-Length: {length}\r\n", last)
        if request.method == "HEAD" or response.status == 304:
            self._write(head)
        elif isinstance(body, bytes):
            await self._write_whole(head, body)
        else:
            await self._write_pieces(head, body)
        return not last

    def _head(self, response: Response, framing: str, last: bool) -> bytes:
        status = response.status
        lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n"]
        for key, value in response.headers.items():
            for line in value.split("\n") if "\n" in value else (value,):
                lines.append(f"{key}: {line}\r\n")
        lines.append(f"Date: {self.server.date}\r\n{framing}")
        lines.append("Connection: close\r\n\r\n" if last else "\r\n")
        return _encode_head("".join(lines))

    async def _write_whole(self, head: bytes, body: bytes) -> None:
        if len(body) <= PIECE_BYTES:
            self._write(head + body)
            return
        self._write(head)
        view = memoryview(body)
        for start in range(0, len(body), PIECE_BYTES):
            self._write(view[start : start + PIECE_BYTES])
            await self._drained()

    async def _write_pieces(self, head: bytes, pieces: Sequence[bytes]) -> None:
        """Write a long list in pieces of about PIECE_BYTES, each when the one before has left."""
        batch, size = [head], len(head)
        for piece in pieces:
            batch.append(piece)
            size += len(piece)
            if size >= PIECE_BYTES:
                self._write(b"".join(batch))
                await self._drained()
                batch, size = [], 0
        if batch:
            self._write(b"".join(batch))

    async def _write_stream(
        self, request: Request, response: Response, stream: AsyncIterator[bytes], last: bool
    ) -> bool:
        """Write chunks as they come; a stream that fails is cut, so that the client sees it is not whole.

        One that says how long it is (a backend's answer that is passed on) comes as it is, and must be that long.
        """
        length = next((v for key, v in response.headers.items() if key.lower() == "content-length"), None)
        try:
            self._write(self._head(response, "" if length else "Transfer-Encoding: chunked\r\n", last))
            if request.method == "HEAD":
                return not last
            if length:
                await self._write_known(int(length), stream)
            else:
                attach = getattr(stream, "attach", None)
                if attach is not None:
                    attach(self._write_chunk)
                async for chunk in stream:
                    if chunk and not self._write_chunk(chunk):
                        await self._drained()
                        self._write_chunk(chunk)
                self._write(b"0\r\n\r\n")
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            _log.exception("the stream of %s %s failed", request.method, request.path)
            self.abort()
            return False
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        return not last

    async def _write_known(self, length: int, stream: AsyncIterator[bytes]) -> None:
        """Write a stream that says how long it is; raise ConnectionError where it is not."""
        async for chunk in stream:
            length -= len(chunk)
            if length < 0:
                break
            await self._drained()
            self._write(chunk)
        if length:
            self.abort()
            raise ConnectionResetError("the answer is not as long as it said")

    def _write_chunk(self, chunk: bytes) -> bool:
        """Write a chunk of a stream; False, with nothing written, while the client is behind."""
        if not self._writable or self._closing:
            return False
        self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        return True

    async def _hand_over(self, response: Response) -> None:
        """Send the 101 and give the connection away until the other side is done with it."""
        assert response.upgrade is not None
        assert self._upgraded is not None
        head = "".join(f"{key}: {value}\r\n" for key, value in response.headers.items())
        status = _STATUS_LINES.get(response.status, "HTTP/1.1 101 Switching Protocols\r\n")
        self._write(_encode_head(f"{status}{head}\r\n"))
        self.deadline = 0.0
        try:
            await response.upgrade(self._upgraded)
        finally:
            await self._upgraded.close()

    async def _answer_refusal(self, error: ApiError) -> None:
        response = Response(error.code, {"Content-Type": "application/json"}, orjson.dumps(error.status()))
        body = response.body
        assert isinstance(body, bytes)
        self._write(self._head(response, f"Content-Length: {len(body)}\r\n", True) + body)
        await self._drained()
        # A client that is still sending would lose the answer to a reset: let it read first.
        self.deadline = time.monotonic() + LINGER_SECONDS
        await self._gone

    def _write(self, data: bytes | memoryview) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self._transport.write(data)

    async def _drained(self) -> None:
        """Wait until the client has taken most of what was written; raise ConnectionError once it has gone."""
        if not self._writable and not self._closing:
            self._drain = asyncio.get_running_loop().create_future()
            await self._drain
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client has gone")

    def finish_up(self) -> None:
        """Close once the answer under way is out; an idle connection at once."""
        self._closing = True
        if not self.busy and self._transport is not None:
            self._transport.close()

    def time_is_up(self) -> None:
        """Close a connection that nothing is under way on, with a word to the client; cut any other."""
        if self._transport is None or self.busy or self._transport.is_closing():
            self.abort()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    @staticmethod
    def _release(future: asyncio.Future[None] | None) -> None:
        if future is not None and not future.done():
            future.set_result(None)


def accepts_gzip(header: str) -> bool:
    """Tell whether an Accept-Encoding header names gzip."""
    return "gzip" in header and any(part.strip() == "gzip" for part in header.split(","))


def compress(pieces: Sequence[bytes]) -> bytes:
    """Return the pieces as one gzip stream; quickly rather than well. zlib lets others run meanwhile."""
    stream = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return b"".join([*map(stream.compress, pieces), stream.flush()])


def _encode_head(text: str) -> bytes:
    """Return a head's bytes. Headers that are passed on are bytes as Latin-1; a warning of ours may have any text."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def _too_large(limit: int) -> ApiError:
    return RequestEntityTooLarge(f"Request entity too large: limit is {limit}")


def _long_head() -> ApiError:
    error = BadRequest("request header too large")
    error.code, error.reason = 431, ""
    return error
