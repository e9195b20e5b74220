"""One HTTP/1.1 connection to a server, one request at a time, the answer told piece by piece as it comes.

What passes requests on (agent, graph router, payload logger) writes to it and is called back, without a task or a
future a request. Framing follows RFC 9112, by httptools; answers before the last (100, 103) are dropped; after a 101
all that comes is told as data. A connection is used again only where the server lets it be, and nothing came meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

MAX_HEAD_BYTES = 64 * 1024
HIGH_WATER_BYTES = 256 * 1024
_FRAMING = (b"content-length", b"transfer-encoding")

Headers = list[tuple[bytes, bytes]]
"""As they came, but for names in lower case."""


class Receiver(Protocol):
    """Hears of the answer to one request: began, data, ended, with `answer_flush` after all that came at once."""

    def answer_began(self, status: int, reason: bytes, headers: Headers) -> None: ...

    def answer_data(self, data: bytes) -> None: ...

    def answer_ended(self) -> None:
        """The answer is whole; the connection is the receiver's to give back."""

    def answer_failed(self, error: ConnectionError) -> None:
        """There is no answer, or no more of it; the connection is closed."""

    def answer_flush(self) -> None: ...

    def pause_sending(self) -> None:
        """The server takes no more for now."""

    def resume_sending(self) -> None: ...


class ClosedEarly(ConnectionError):
    """The server closed the connection before the first byte of an answer."""


class ClientConnection(asyncio.Protocol):
    """A connection to a server. `idle_since` is the loop's time; `uses` counts requests."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.uses = 0
        self.is_reusable = False
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._clear("")

    def _clear(self, method: str) -> None:
        self._is_head = method == "HEAD"
        self._headers: Headers = []
        self._reason = b""
        self._head_bytes = 0
        self._received = False
        self._began = False
        self._ends_with_connection = False
        self._is_raw = False
        self.is_reusable = False

    @property
    def is_open(self) -> bool:
        """Whether a request may be sent by it."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, receiver: Receiver, method: str, data: bytes) -> None:
        """Begin a request with its head, and what there is of its body."""
        self._receiver = receiver
        self.uses += 1
        self._clear(method)
        self.write(data)

    def write(self, data: bytes) -> None:
        """Send more of the request's body."""
        if self._transport is not None:
            self._transport.write(data)

    def pause(self) -> None:
        """Read no more of the answer for now."""
        if self.is_open:
            cast(asyncio.Transport, self._transport).pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        if self.is_open:
            cast(asyncio.Transport, self._transport).resume_reading()

    def abort(self) -> None:
        """Cut the connection; the receiver hears no more."""
        self._receiver = None
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close a connection that is not in use."""
        if self._transport is not None:
            self._transport.close()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        if self._ends_with_connection and exc is None:
            self.is_reusable = False
            receiver.answer_ended()
            receiver.answer_flush()
        elif not self._received:
            receiver.answer_failed(ClosedEarly("the server closed the connection without an answer"))
        else:
            receiver.answer_failed(ConnectionResetError("the server closed the connection amid an answer"))

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            self.abort()  # nobody asked
            return
        self._received = True
        if self._is_raw:
            receiver.answer_data(data)
            receiver.answer_flush()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if rest and self._is_raw:
                receiver.answer_data(rest)
        except httptools.HttpParserError as error:
            self._fail(f"malformed answer: {error}")
            return
        if not self._began:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fail("the head of the answer is too long")
                return
        receiver.answer_flush()

    def pause_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.pause_sending()

    def resume_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.resume_sending()

    # What the parser calls.

    def on_status(self, status: bytes) -> None:
        self._reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._receiver is None:
            return
        if status < 200 and status != 101:
            return
        if status == 101:
            self._is_raw = True
        elif not (self._is_head or status in {204, 304}):
            self._ends_with_connection = not any(name in _FRAMING for name, _ in self._headers)
        self._began = True
        self._receiver.answer_began(status, self._reason, self._headers)
        if self._is_head:
            # What the head tells of a body does not come; the parser would wait for it.
            keeps = self._parser.should_keep_alive()
            self._parser = httptools.HttpResponseParser(self)
            self._end(keeps)

    def on_body(self, body: bytes) -> None:
        if self._receiver is not None and self._began:
            self._receiver.answer_data(body)

    def on_message_complete(self) -> None:
        if self._is_raw:
            return
        if not self._began:  # 100, 103: another head follows
            self._headers, self._reason = [], b""
            return
        self._end(self._parser.should_keep_alive())

    def _end(self, keeps: bool) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            self.is_reusable = keeps and self.is_open
            receiver.answer_ended()

    def _fail(self, message: str) -> None:
        receiver = self._receiver
        self.abort()
        if receiver is not None:
            receiver.answer_failed(ConnectionResetError(message))
