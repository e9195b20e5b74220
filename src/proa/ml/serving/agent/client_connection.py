"""One client's connection to the agent: read requests, have each carried out in turn, and bound what a client can cost.

Requests that are sent before the one before is answered wait here. The rules of the wire are RFC 9112, by httptools.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import httptools

from proa.ml.serving.agent.exchange import Exchange
from proa.ml.serving.wire.http1_client import HIGH_WATER_BYTES, MAX_HEAD_BYTES, Headers

if TYPE_CHECKING:
    from proa.ml.serving.agent.proxy import Proxy

MAX_PIPELINED = 16
READ_SECONDS = 60.0
"""A request's head must have arrived this long after its first byte."""
LINGER_SECONDS = 2.0
"""So long a client that was answered may go on sending what nobody wants, before it is cut off."""


class ClientConnection(asyncio.Protocol):
    """`deadline` (monotonic seconds, 0: none) is of the head that is being read."""

    def __init__(self, proxy: Proxy) -> None:
        self.deadline = 0.0
        self._proxy = proxy
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._exchanges: deque[Exchange] = deque()
        """Those that are not over; the first is being carried out, as `_current`."""
        self._current: Exchange | None = None
        self._newest: Exchange | None = None
        """The one whose body is being read."""
        self._is_last = False
        self._tunnel = False
        self._clear()

    def _clear(self) -> None:
        self._url = b""
        self._headers: Headers = []
        self._head_bytes = self._unfinished_bytes = 0
        self._began_here = True

    @property
    def is_busy(self) -> bool:
        """Whether a request of it is being carried out."""
        return bool(self._exchanges)

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        if not self._proxy.opened(self):
            self._is_last = True
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._proxy.closed(self)
        exchanges, self._exchanges = tuple(self._exchanges), deque()
        for exchange in exchanges:
            exchange.client_gone()

    def data_received(self, data: bytes) -> None:
        if self._tunnel:
            if self._exchanges:
                self._exchanges[0].tunnelled(data)
            return
        if self._is_last and self._newest is None:
            return  # nobody wants it
        self._began_here = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(400, f"malformed HTTP: {error}")
        if self._newest is None and self.deadline and not self._began_here:
            self._unfinished_bytes += len(data)
        if max(self._head_bytes, self._unfinished_bytes) > MAX_HEAD_BYTES:
            self._refuse(431, "request header too large")
        self._go_on()
        if len(self._exchanges) > MAX_PIPELINED:
            self.pause_receiving()

    def pause_writing(self) -> None:
        if self._exchanges:
            self._exchanges[0].pause_answer()

    def resume_writing(self) -> None:
        if self._exchanges:
            self._exchanges[0].resume_answer()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._clear()
        self.deadline = time.monotonic() + READ_SECONDS

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            return
        self._head_bytes = self._unfinished_bytes = 0
        parser = self._parser
        method = parser.get_method().decode("ascii")
        upgrades = parser.should_upgrade()
        if method == "CONNECT" or (upgrades and any(_tells_of_body(one) for one in self._headers)):
            # The parser takes the body for the other protocol's; the container would wait for it, and take the next's.
            self._refuse(400, "a request for another protocol has no body here")
            return
        exchange = Exchange(self._proxy, self, method, self._url, self._headers)
        exchange.is_http11 = parser.get_http_version() == "1.1"
        exchange.keeps = parser.should_keep_alive()
        self._is_last = not exchange.keeps
        for name, value in self._headers:
            if name == b"transfer-encoding":
                exchange.has_chunked_body = True
            elif name == b"expect" and not self._exchanges:
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            elif name == b"upgrade":
                exchange.wants_tunnel = upgrades and value.lower() != b"h2c"
        self.deadline = 0.0
        self._newest = exchange
        self._exchanges.append(exchange)

    def on_body(self, body: bytes) -> None:
        if self._newest is not None:
            self._newest.body_came(body)

    def on_message_complete(self) -> None:
        exchange, self._newest = self._newest, None
        if exchange is not None:
            exchange.body_ended()
            if exchange is self._current:
                self._proxy.body_ended(exchange)
            if exchange.is_over and self._is_last and not self._exchanges:
                self._close()

    def _go_on(self) -> None:
        """Send on what came, of a request that has just begun with its head."""
        if not self._exchanges:
            return
        exchange = self._exchanges[0]
        if exchange is self._current:
            exchange.push()
            return
        self._current = exchange
        self._proxy.carry_out(exchange)

    def _upgrade(self, rest: bytes) -> None:
        """Go on after a request that asks for another protocol: with that, or as if it had not asked."""
        exchange = self._exchanges[-1] if self._exchanges else None
        if exchange is not None and exchange.wants_tunnel:
            self._tunnel = True
            if rest:
                exchange.tunnelled(rest)
            return
        self._parser = httptools.HttpRequestParser(self)
        if rest:
            self.data_received(rest)

    # What an exchange calls.

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def pause_receiving(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_receiving(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def tunnel(self) -> None:
        self._tunnel = True

    def finished(self, exchange: Exchange, *, is_cut: bool) -> None:
        if not self._exchanges or self._exchanges[0] is not exchange:
            return
        self._exchanges.popleft()
        if is_cut:
            self.abort()
        elif self._tunnel or not exchange.keeps or (self._is_last and not self._exchanges):
            self._is_last = True
            self._end(exchange)
        else:
            self._go_on()
        self.resume_receiving()

    def _end(self, exchange: Exchange) -> None:
        """Close after the last answer; one that is still sending would lose it to a reset, and may read first."""
        if exchange.body_is_whole:
            self._close()
        else:
            self.deadline = time.monotonic() + LINGER_SECONDS

    def _refuse(self, status: int, message: str) -> None:
        """Answer what is no request, after what is under way."""
        if self._newest is not None:
            self.abort()
        if self._is_last:
            return
        self._is_last, self.deadline, self._head_bytes, self._unfinished_bytes = True, 0.0, 0, 0
        if self._exchanges:
            self._exchanges[-1].keeps = False
            return
        body = message.encode() + b"\n"
        self.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
            b"Connection: close\r\n\r\n%b" % (status, HTTPStatus(status).phrase.encode(), len(body), body)
        )
        self._close()

    def finish_up(self) -> None:
        """Close once the answer under way is out; an idle connection at once."""
        self._is_last = True
        if self._exchanges:
            self._exchanges[-1].keeps = False
        else:
            self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()


def _tells_of_body(header: tuple[bytes, bytes]) -> bool:
    return header[0] == b"transfer-encoding" or (header[0] == b"content-length" and header[1].strip() != b"0")
