r"""One request on its way to the container, and its answer back, both as they come.

    waiting --gate--> connecting --connection--> sending and receiving --> over
       \________________________\_______________________________________/
              the client has gone, time is up, the container cannot be reached

Bodies are passed on piece by piece; the slower side holds up the faster one. The logger has its copy made on the way.
A request whose kept connection turns out to be closed before any answer is sent once more by a new one, where all that
was sent of it is still here. Source: Go's net/http/httputil/reverseproxy.go, which Knative's queue-proxy is made of.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from proa.ml.serving.agent.gate import Full
from proa.ml.serving.wire.http1_client import ClientConnection, ClosedEarly, Headers
from proa.ml.serving.wire.http1_pool import Pool

if TYPE_CHECKING:
    from proa.ml.serving.agent.copying import Copy
    from proa.ml.serving.agent.proxy import Proxy

RESEND_BYTES = 64 * 1024
PENDING_BYTES = 256 * 1024
RESTART_SECONDS, RESTART_PAUSE_SECONDS = 0.5, 0.02
"""A container that was just started again counts as ready before it listens: its first requests wait so long."""
"""So much of a body is held for a request that waits; then its client is not read from."""
_HOP_BY_HOP = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect",
     b"proxy-authenticate", b"proxy-authorization")
)  # fmt: skip
_END_TO_END = frozenset((b"content-length", b"host"))
"""Nobody may have these left out: where a body ends would be lost."""
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class Downstream(Protocol):
    """The client's side, as an exchange sees it."""

    def write(self, data: bytes) -> None: ...

    def pause_receiving(self) -> None: ...

    def resume_receiving(self) -> None: ...

    def tunnel(self) -> None:
        """All that comes from now on is the exchange's."""

    def finished(self, exchange: Exchange, *, is_cut: bool) -> None: ...


class Exchange:
    """A request, from its head on. `is_http11` is of the client; `keeps` whether its connection goes on."""

    __slots__ = (
        "_body_is_closed", "_chunks", "_client", "_connecting", "_connection", "_inside", "_out", "_pending_bytes",
        "_proxy", "_resent", "_sent", "body_is_whole", "copy", "deadline", "has_chunked_body", "headers", "is_counted",
        "is_held", "is_http11", "is_over", "is_tunnel", "keeps", "method", "pieces", "status", "target", "wants_tunnel",
    )  # fmt: skip

    def __init__(
        self, proxy: Proxy, client: Downstream, method: str, target: bytes, headers: Headers
    ) -> None:
        self._proxy, self._client = proxy, client
        self.method, self.target, self.headers = method, target, headers
        self.is_http11 = self.keeps = True
        self.has_chunked_body = self.wants_tunnel = self.is_tunnel = False
        self.body_is_whole = self.is_over = self.is_counted = False
        self.is_held = False
        self.deadline = 0.0
        self.status = 0
        self.pieces: list[bytes] = []
        """Of the body, and not yet sent."""
        self.copy: Copy | None = None
        """Of the bodies, for the logger."""
        self._connection: ClientConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._sent: list[bytes] | None = None
        self._resent = False
        self._inside = False
        self._chunks = self._body_is_closed = False
        self._out: list[bytes] = []
        self._pending_bytes = 0

    # The client's side.

    def begin(self) -> None:
        """Ask to be let in; where too many wait, refuse."""
        try:
            self._proxy.gate.ask(self)
        except Full:
            self.refuse(503, "pending request queue full")

    def hold(self) -> None:
        """Want its body whole: `answer_whole` answers it."""
        self.is_held = True
        self._client.resume_receiving()

    def copied_by(self, copy: Copy) -> None:
        """Have its bodies copied, what came of them already too."""
        self.copy = copy
        for piece in self.pieces:
            copy.body_came(piece)
        if self.body_is_whole:
            copy.body_ended()

    def body_came(self, data: bytes) -> None:
        """Take a piece of the request's body."""
        if self.is_over:
            return
        self.pieces.append(data)
        if self._connection is None:
            self._pending_bytes += len(data)
            if self.is_held:
                if self._pending_bytes > self._proxy.max_body_bytes:
                    self.refuse(
                        413, f"request body too large: the limit is {self._proxy.max_body_bytes} bytes"
                    )
            elif self._pending_bytes > PENDING_BYTES:
                self._client.pause_receiving()
        if self.copy is not None:
            self.copy.body_came(data)

    def body_ended(self) -> None:
        """The request is whole."""
        self.body_is_whole = True
        if self.copy is not None:
            self.copy.body_ended()

    def push(self) -> None:
        """Send on what came of the body."""
        if self._connection is not None and (self.pieces or self.body_is_whole) and not self.is_over:
            data = self._take_body()
            if data:
                self._send(data)

    def client_gone(self) -> None:
        """Nobody waits for the answer any more."""
        if not self.is_over:
            self._end(is_cut=True)

    # The gate.

    def enter(self) -> None:
        """Go to the container."""
        self._inside = True
        connection = self._proxy.pool.take()
        if connection is not None:
            self._go(connection)
        else:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            connection = await _reach(self._proxy.pool)
        except (OSError, TimeoutError) as error:
            if not self.is_over:
                self.refuse(502, f"the container does not answer: {error}")
            return
        if self.is_over:
            self._proxy.pool.give_back(connection)
        else:
            self._go(connection)

    def _go(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._connecting = None
        if self._sent is None:
            self._sent = [self._head()]
        self._sent.append(self._take_body())
        data = b"".join(self._sent)
        self._remember(b"")
        if self._pending_bytes > PENDING_BYTES:
            self._client.resume_receiving()
        self._pending_bytes = 0
        connection.send(self, self.method, data)

    def _head(self) -> bytes:
        lines = [b"%b %b HTTP/1.1\r\n" % (self.method.encode(), self.target)]
        left_out = _left_out(self.headers)
        for name, value in self.headers:
            if name not in left_out:
                lines.append(b"%b: %b\r\n" % (name, value))
        if self.has_chunked_body:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        if self.wants_tunnel:
            upgrade = next((value for name, value in self.headers if name == b"upgrade"), b"")
            lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade)
        lines.append(b"\r\n")
        return b"".join(lines)

    def _take_body(self) -> bytes:
        if self.wants_tunnel:
            return b""  # what comes is the other protocol's, if the container agrees to it
        pieces, self.pieces = self.pieces, []
        if not self.has_chunked_body:
            return b"".join(pieces)
        framed = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
        if self.body_is_whole and not self._body_is_closed:
            self._body_is_closed = True
            framed.append(b"0\r\n\r\n")
        return b"".join(framed)

    def _send(self, data: bytes) -> None:
        self._remember(data)
        if self._connection is not None:
            self._connection.write(data)

    def _remember(self, data: bytes) -> None:
        """Keep what was sent, in case it must be sent again; no more than a little."""
        if self._sent is not None:
            self._sent.append(data)
            if sum(map(len, self._sent)) > RESEND_BYTES:
                self._sent = None
                self._resent = True

    def tunnelled(self, data: bytes) -> None:
        """Pass on what came from the client after an upgrade."""
        if self.is_tunnel and self._connection is not None:
            self._connection.write(data)
        elif not self.is_over:
            self.pieces.append(data)
            self._client.pause_receiving()

    # The container's side.

    def answer_began(self, status: int, reason: bytes, headers: Headers) -> None:
        if status == 101 and not self.wants_tunnel:
            self.refuse(502, "the container changes the protocol unasked")
            return
        self.status = status
        self._sent = None
        self.deadline = 0.0 if status == 101 else self.deadline
        left_out = _left_out(headers)
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason or _REASONS.get(status, b"Unknown"))]
        has_length = False
        for name, value in headers:
            if name in left_out:
                continue
            has_length = has_length or name == b"content-length"
            lines.append(b"%b: %b\r\n" % (name, value))
        self._chunks = False
        if status == 101:
            self.is_tunnel = True
            upgrade = next((value for name, value in headers if name == b"upgrade"), b"")
            lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade)
        elif not (has_length or self.method == "HEAD" or status in {204, 304}):
            self._chunks = self.is_http11
            self.keeps = self.keeps and self.is_http11
            if self.is_http11:
                lines.append(b"Transfer-Encoding: chunked\r\n")
        if not self.is_tunnel:
            if not self.body_is_whole or self._proxy.is_draining:
                self.keeps = False
            if not self.keeps:
                lines.append(b"Connection: close\r\n")
            elif not self.is_http11:
                lines.append(b"Connection: keep-alive\r\n")
        lines.append(b"\r\n")
        self._out = lines
        if self.is_tunnel:
            self._client.tunnel()
            self._out_to_client()
            self._flush_tunnel()
        elif self.copy is not None:
            self.copy.answer_began(status, headers)

    def _flush_tunnel(self) -> None:
        if self.pieces and self._connection is not None:
            self._connection.write(b"".join(self.pieces))
            self.pieces = []
        self._client.resume_receiving()

    def answer_data(self, data: bytes) -> None:
        if self.is_over:
            return
        self._out.append(b"%x\r\n%b\r\n" % (len(data), data) if self._chunks else data)
        if self.copy is not None:
            self.copy.answer_came(data)

    def answer_ended(self) -> None:
        if self.is_over:
            return
        if self._chunks:
            self._out.append(b"0\r\n\r\n")
        self._out_to_client()
        if self.copy is not None:
            self.copy.answer_ended()
        connection, self._connection = self._connection, None
        if connection is not None:
            if self.body_is_whole:
                self._proxy.pool.give_back(connection)
            else:
                connection.abort()
        self._end(is_cut=self.is_tunnel)

    def answer_flush(self) -> None:
        self._out_to_client()

    def answer_failed(self, error: ConnectionError) -> None:
        connection, self._connection = self._connection, None
        if self.is_tunnel or self.status:
            self._end(is_cut=True)
        elif (
            isinstance(error, ClosedEarly)
            and connection is not None
            and connection.uses > 1
            and not self._resent
        ):
            self._resent = True
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
        else:
            self.refuse(502, f"the container gave no answer: {error}")

    def pause_sending(self) -> None:
        self._client.pause_receiving()

    def resume_sending(self) -> None:
        self._client.resume_receiving()

    def pause_answer(self) -> None:
        """The client takes no more for now."""
        if self._connection is not None:
            self._connection.pause()

    def resume_answer(self) -> None:
        """The client takes more."""
        if self._connection is not None:
            self._connection.resume()

    # The end.

    def answer_whole(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer in the container's place."""
        self.status = status
        self.keeps = self.keeps and self.body_is_whole and not self._proxy.is_draining
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"Unknown"))]
        lines += [b"%b: %b\r\n" % pair for pair in headers]
        lines.append(b"Content-Length: %d\r\n" % len(body))
        if not self.keeps:
            lines.append(b"Connection: close\r\n")
        lines += (b"\r\n", b"" if self.method == "HEAD" else body)
        self._out = lines
        self._out_to_client()
        if self.copy is not None:
            self.copy.answer_began(status, [])
            self.copy.answer_came(body)
            self.copy.answer_ended()
        self._end(is_cut=False)

    def refuse(self, status: int, message: str) -> None:
        """Answer with an error, as Go's http.Error words it."""
        if self.status:
            self._end(is_cut=True)
            return
        kind = (b"Content-Type", b"text/plain; charset=utf-8")
        self.answer_whole(status, (kind, (b"X-Content-Type-Options", b"nosniff")), message.encode() + b"\n")

    def time_is_up(self) -> None:
        """It has taken too long: say so, or cut what has begun."""
        self.refuse(504, "request timeout")

    def _out_to_client(self) -> None:
        if self._out and not self.is_over:
            data, self._out = b"".join(self._out), []
            self._client.write(data)

    def _end(self, *, is_cut: bool) -> None:
        if self.is_over:
            return
        self.is_over = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        self._proxy.left(self)
        if self._inside:
            self._proxy.gate.leave()
        self._client.finished(self, is_cut=is_cut)


async def _reach(pool: Pool) -> ClientConnection:
    """Connect to the container; raise OSError, TimeoutError."""
    until = time.monotonic() + RESTART_SECONDS
    while True:
        try:
            return await pool.connect()
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(RESTART_PAUSE_SECONDS)


def _left_out(headers: Headers) -> frozenset[bytes]:
    """Return the headers that are meant for one connection only: the usual ones, and those that Connection names."""
    left_out = _HOP_BY_HOP
    for name, value in headers:
        if name == b"connection":
            named = value.lower().split(b",")
            left_out |= frozenset(part.strip() for part in named) - _END_TO_END
    return left_out


def make_deadline(seconds: float) -> float:
    """Return the monotonic time after so many seconds; 0 for none."""
    return time.monotonic() + seconds if seconds else 0.0
