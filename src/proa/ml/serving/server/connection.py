"""One client's connection: parse requests, answer them in order, and bound what a client can cost.

HTTP/1.1 (RFC 9112) is httptools'. There is no task a connection and none a request: a whole request is handed over
from within the transport's call, and most are answered before it returns. `deadline` is the only clock: the server
looks now and then for connections whose time is up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol, cast

import httptools
import orjson

from proa.ml.serving.server.exchange import Exchange, Header

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
MAX_FRAMING_BYTES = 1024 * 1024
"""So much may come with a body that is none of it: the sizes of chunks, trailers."""
MAX_PIPELINED = 64
HIGH_WATER_BYTES = 256 * 1024
READ_SECONDS = 60.0
"""A request must have arrived so long after its first byte; a long one may take SLOWEST_BYTES a second."""
SLOWEST_BYTES = 64 * 1024
STALL_SECONDS = 60.0
"""A client that takes nothing of an answer for this long is cut off."""
LINGER_SECONDS = 2.0
"""So long a refused client may go on sending before it is cut off."""


class Owner(Protocol):
    """What a connection needs of its server."""

    now: float
    """Seconds of the server's clock, which steps now and then."""
    date: bytes
    is_draining: bool
    max_body_bytes: int
    max_held_bytes: int
    held_bytes: int
    keep_alive_seconds: float
    timeout_seconds: float
    connections: set[Connection]
    max_connections: int

    def handle(self, exchange: Exchange) -> None: ...


class Connection(asyncio.Protocol):
    """One client's connection. `deadline`: on the server's clock, 0 for none."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._pending: deque[Exchange] = deque()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._waiting: list[asyncio.Future[None]] = []
        self._is_writable = True
        self._is_reading = True
        self._is_refused = False
        self._held = 0
        self.is_cut = False
        self._has_ended = False
        """A request has ended within what came last."""
        self.deadline = 0.0
        self._begin()

    @property
    def date(self) -> bytes:
        """Return the line of the Date header."""
        return self._owner.date

    @property
    def is_closing(self) -> bool:
        """Tell whether answers say that the connection ends."""
        return self._owner.is_draining

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing is under way."""
        return not self._pending and not self._is_begun

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        owner = self._owner
        if len(owner.connections) >= owner.max_connections:
            self.cut()
            return
        owner.connections.add(self)
        self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.deadline = owner.now + READ_SECONDS

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever works for this client."""
        self.is_cut = True
        self._owner.connections.discard(self)
        self._hold(-self._held)
        self._wake()
        while self._pending:
            self._pending.popleft().go()

    def data_received(self, data: bytes) -> None:
        """Take in what has come."""
        if self._is_refused or self.is_cut:
            return
        self._has_ended = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # it is answered as any other, and is the last
            self._is_refused = True
            return
        except httptools.HttpParserError as error:
            self._refuse(400, f"malformed HTTP: {error}")
            return
        if self._is_begun:
            self._count(0 if self._has_ended else len(data))

    def pause_writing(self) -> None:
        """Hear nothing more: a client that does not read could have us keep what it asks for."""
        self._is_writable = False
        self.deadline = self._owner.now + STALL_SECONDS
        self._pause_or_resume()

    def resume_writing(self) -> None:
        """Go on."""
        self._is_writable = True
        self._rest()
        self._pause_or_resume()
        self._wake()

    # What the parser calls

    def _begin(self) -> None:
        self._url = b""
        self._headers: list[Header] = []
        self._body: list[bytes] = []
        self._body_bytes = self._head_bytes = self._received_bytes = 0
        self._is_begun = self._is_in_body = False

    def on_message_begin(self) -> None:
        self._begin()
        self._is_begun = True
        self.deadline = self._owner.now + READ_SECONDS

    def on_url(self, url: bytes) -> None:
        self._url = self._url + url if self._url else url
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))
        self._head_bytes += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        self._is_in_body = True
        if self._head_bytes > MAX_HEAD_BYTES or len(self._headers) > MAX_HEADERS:
            self._refuse(431, "request header too large")
            return
        is_expecting = False
        for name, value in self._headers:
            if name == b"content-length" and int(value) > self._owner.max_body_bytes:
                self._refuse_long()
                return
            is_expecting = is_expecting or (name == b"expect" and value.lower() == b"100-continue")
        if is_expecting and not self._pending:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._is_refused:
            return
        owner = self._owner
        self._body_bytes += len(body)
        if self._body_bytes > owner.max_body_bytes:
            self._refuse_long()
        elif owner.held_bytes + len(body) > owner.max_held_bytes:
            self._refuse(503, "too many large requests at once: try again", retry_after=1)
        else:
            self._hold(len(body))
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._is_refused:
            return
        parser, body, owner = self._parser, self._body, self._owner
        exchange = Exchange(
            self, parser.get_method(), self._url, self._headers, body[0] if len(body) == 1 else b"".join(body)
        )
        if not parser.should_keep_alive() or parser.should_upgrade():
            exchange.is_last = self._is_refused = True
            exchange.is_old = parser.get_http_version() == "1.0"
        self._is_begun, self._has_ended = False, True
        self.deadline = 0.0
        if owner.timeout_seconds:
            exchange.expires = owner.now + owner.timeout_seconds
        self._pending.append(exchange)
        if len(self._pending) >= MAX_PIPELINED:
            self._pause_or_resume()
        owner.handle(exchange)

    # What exchanges call

    def send(self, exchange: Exchange, data: bytes, *, is_last: bool) -> None:
        """Send a piece of an answer, now or when those before it are out; `is_last`: it is whole."""
        pending = self._pending
        if not pending or pending[0] is not exchange:
            exchange.kept.append(data)
            return
        if not self._transport.is_closing():
            self._transport.write(data)
        if is_last:
            self._next()

    async def drained(self, exchange: Exchange) -> None:
        """Wait until the client has taken most of what was written, and those before were answered."""
        while not self.is_cut and (
            not self._is_writable or (self._pending and self._pending[0] is not exchange)
        ):
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future
        if self.is_cut:
            raise ConnectionResetError("the client has gone")

    def cut(self) -> None:
        """End the connection as it is."""
        self.is_cut = True
        self._transport.abort()

    # What the server calls

    def finish_up(self) -> None:
        """Close if nothing is under way; else the answer says that it is the last."""
        if self.is_idle and not self.is_cut:
            self._transport.close()

    def look(self, now: float) -> None:
        """Act on what is late."""
        if 0 < self.deadline < now:
            self._time_is_up()
        for exchange in [*self._pending]:
            if 0 < exchange.expires < now and not exchange.has_begun:
                exchange.answer(504, orjson.dumps({"error": "the model has not answered in time"}))

    def _time_is_up(self) -> None:
        if self._pending or self._is_refused or not self._is_writable or self._transport.is_closing():
            self.cut()
        elif self._is_begun:
            self._refuse(408, "the request has not come whole in time")
        else:
            self._transport.close()

    # Its own

    def _next(self) -> None:
        """The first exchange is answered: send what the next ones have."""
        pending = self._pending
        done = self._pop()
        while pending and not done.is_last and pending[0].kept:
            kept, first = b"".join(pending[0].kept), pending[0]
            first.kept.clear()
            if not self._transport.is_closing():
                self._transport.write(kept)
            if not first.is_done:
                break
            done = self._pop()
        if done.is_last:
            self._end()
            return
        if not self._is_reading:
            self._pause_or_resume()
        if self._waiting:
            self._wake()
        if not pending:
            self._rest()

    def _pop(self) -> Exchange:
        done = self._pending.popleft()
        if self._held:
            self._hold(-min(self._held, len(done.body)))
        return done

    def _rest(self) -> None:
        """Count from now how long nothing comes."""
        if not self._pending and not self._is_begun and not self._is_refused:
            self.deadline = self._owner.now + self._owner.keep_alive_seconds

    def _end(self) -> None:
        """The last answer is out. A client that is still sending would lose it to a reset: let it read first."""
        if self._transport.is_closing():
            return
        if self._is_begun and self._transport.can_write_eof():
            self._transport.write_eof()
            self.deadline = self._owner.now + LINGER_SECONDS
        else:
            self._transport.close()

    def _refuse_long(self) -> None:
        self._refuse(413, f"Request entity too large: limit is {self._owner.max_body_bytes}")

    def _refuse(self, status: int, message: str, *, retry_after: int = 0) -> None:
        """Answer once more, after what is under way, and part."""
        if self._is_refused:
            return
        self._is_refused = self._is_begun = True
        self._body.clear()
        exchange = Exchange(self, b"POST", b"", [], b"")
        exchange.is_last = True
        self._pending.append(exchange)
        again = [(b"Retry-After", b"%d" % retry_after)] if retry_after else []
        exchange.answer(status, orjson.dumps({"error": message}), headers=again)

    def _count(self, size: int) -> None:
        """Bound what is none of a body, and let a long body take its time."""
        if not self._is_in_body:
            self._received_bytes += size
            if self._received_bytes > MAX_HEAD_BYTES:
                self._refuse(431, "request header too large")
            return
        self._received_bytes += size
        self.deadline += size / SLOWEST_BYTES
        if self._received_bytes > MAX_FRAMING_BYTES + 8 * self._body_bytes:
            self._refuse(431, "the body's chunks are too small")

    def _hold(self, size: int) -> None:
        self._held += size
        self._owner.held_bytes += size

    def _pause_or_resume(self) -> None:
        wants = self._is_writable and len(self._pending) < MAX_PIPELINED
        if wants != self._is_reading and not self._transport.is_closing():
            self._is_reading = wants
            if wants:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
