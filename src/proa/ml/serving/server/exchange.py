"""One request, and the way to answer it: at once, later, or piece by piece; in the order in which requests came.

connection.py makes them. The bytes of a head that never change are made once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Protocol
from urllib.parse import unquote

JSON_TYPE = b"application/json"
SERVER = b"Server: proa\r\n"
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() + SERVER for status in HTTPStatus
}
_JSON_OK = _STATUS_LINES[200] + b"Content-Type: application/json\r\n"

Header = tuple[bytes, bytes]


class Way(Protocol):
    """What an exchange needs of its connection. `date` is the line of the Date header."""

    @property
    def date(self) -> bytes: ...
    @property
    def is_closing(self) -> bool: ...
    def send(self, exchange: Exchange, data: bytes, *, is_last: bool) -> None: ...
    async def drained(self, exchange: Exchange) -> None: ...
    def cut(self) -> None: ...


class Exchange:
    """One request and its answer. Names of headers are in small letters."""

    __slots__ = (
        "_chunked",
        "body",
        "expires",
        "headers",
        "is_done",
        "is_gone",
        "is_last",
        "is_old",
        "kept",
        "method",
        "on_answer",
        "on_end",
        "url",
        "way",
    )

    def __init__(self, way: Way, method: bytes, url: bytes, headers: list[Header], body: bytes) -> None:
        self.way = way
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
        self.is_last = False
        """The connection ends after it."""
        self.is_old = False
        """It is of HTTP/1.0."""
        self.is_done = False
        """All of the answer was given."""
        self.is_gone = False
        """The client has gone."""
        self.expires = 0.0
        """When it is refused unless it was answered, on the server's clock; 0: never."""
        self.on_end: Callable[[], None] | None = None
        """Called once: when it is answered, or the client has gone."""
        self.on_answer: Callable[[int, bytes, bytes], None] | None = None
        """Given the status, body and content type of an answer that comes as a whole."""
        self.kept: list[bytes] = []
        """Of the answer, what waits for those before it."""
        self._chunked: bool | None = None

    @property
    def path(self) -> str:
        """Return the path, decoded, without the query."""
        path = self.url.partition(b"?")[0].decode("latin-1")
        return unquote(path, errors="replace") if "%" in path else path

    @property
    def query(self) -> bytes:
        """Return what follows the question mark."""
        return self.url.partition(b"?")[2]

    def header(self, name: bytes) -> str | None:
        """Return a header's value."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    def header_texts(self) -> dict[str, str]:
        """Return all headers."""
        return {key.decode("latin-1"): value.decode("latin-1") for key, value in self.headers}

    def answer_json(self, body: bytes) -> None:
        """Answer 200 with this JSON."""
        if self.is_last or self.way.is_closing or self.method == b"HEAD" or self.is_done:
            self.answer(200, body)
            return
        way = self.way
        if self.on_answer is not None:
            self.on_answer(200, body, JSON_TYPE)
        self._end()
        way.send(
            self, b"%b%bContent-Length: %d\r\n\r\n%b" % (_JSON_OK, way.date, len(body), body), is_last=True
        )

    def answer(
        self, status: int, body: bytes, content_type: bytes = JSON_TYPE, headers: Sequence[Header] = ()
    ) -> None:
        """Answer with all of this; nothing happens where it has been answered."""
        if self.is_done or self.is_gone:
            return
        self.is_last = self.is_last or self.way.is_closing
        if self.on_answer is not None:
            self.on_answer(status, body, content_type)
        length = b"" if status in (204, 304) else b"Content-Length: %d\r\n" % len(body)
        head = b"%b%b\r\n" % (self._head(status, content_type, headers), length)
        self._end()
        self.way.send(self, head + body if length and self.method != b"HEAD" else head, is_last=True)

    def begin(self, status: int, content_type: bytes = b"", headers: Sequence[Header] = ()) -> None:
        """Begin an answer whose pieces follow; it is chunked unless a header says how long it is."""
        if self.is_done or self.is_gone:
            return
        self.is_last = self.is_last or self.way.is_closing
        is_known = any(name.lower() == b"content-length" for name, _ in headers) or status in (204, 304)
        self._chunked = not is_known and not self.is_old
        if not is_known and self.is_old:
            self.is_last = True
        framing = b"Transfer-Encoding: chunked\r\n\r\n" if self._chunked else b"\r\n"
        self.way.send(self, self._head(status, content_type, headers) + framing, is_last=False)

    @property
    def has_begun(self) -> bool:
        """Tell whether the answer's head is on its way."""
        return self.is_done or self._chunked is not None

    async def write(self, data: bytes) -> None:
        """Write a piece, when the client has taken most of those before; raise ConnectionError once it has gone."""
        if self.is_gone or self.is_done:
            raise ConnectionResetError("the client has gone")
        if data and self.method != b"HEAD":
            piece = b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data
            self.way.send(self, piece, is_last=False)
        await self.way.drained(self)

    def end(self) -> None:
        """End an answer of pieces."""
        if self.is_done or self.is_gone:
            return
        self._end()
        is_terminated = self._chunked and self.method != b"HEAD"
        self.way.send(self, b"0\r\n\r\n" if is_terminated else b"", is_last=True)

    def abort(self) -> None:
        """Cut an answer that cannot be whole, so that the client sees it."""
        self.way.cut()

    def go(self) -> None:
        """The client has gone: whoever works on it is told."""
        self.is_gone = True
        if not self.is_done:
            self._end()

    def _end(self) -> None:
        self.is_done = True
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()

    def _head(self, status: int, content_type: bytes, headers: Sequence[Header]) -> bytes:
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status + SERVER, self.way.date]
        if content_type:
            lines.append(b"Content-Type: %b\r\n" % content_type)
        lines += [b"%b: %b\r\n" % header for header in headers]
        if self.is_last:
            lines.append(b"Connection: close\r\n")
        return b"".join(lines)


def run_for(exchange: Exchange, task: asyncio.Task[None]) -> None:
    """Have a task end when its exchange does: who has gone, or was told that it took too long, needs no answer."""
    before = exchange.on_end

    def end() -> None:
        if before is not None:
            before()
        if not task.done() and task is not _current_task():
            task.cancel()

    exchange.on_end = end


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # what a transport calls when its loop is closing
        return None
