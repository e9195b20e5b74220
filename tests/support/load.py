"""Constant load by HTTP: requests at a steady pace, each answer looked at, each failure kept with its reason."""

from __future__ import annotations

import asyncio
import collections
import threading
import time
from collections.abc import Callable

import httptools

TIMEOUT_SECONDS = 60.0


class _Answer:
    """What httptools tells of one response."""

    def __init__(self) -> None:
        self.body = b""
        self.is_complete = False

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True


class ConstantLoad:
    """`workers` clients, each with one request after the other, at `pace` requests a second together.

    `failures` says what went wrong and when (seconds from the start); `told` counts what `tell` makes of bodies.
    One client in four has a connection of its own for each request.
    """

    def __init__(
        self,
        port: int,
        host: str,
        path: str = "/",
        *,
        body: bytes = b"",
        workers: int = 8,
        pace: float = 200.0,
        tell: Callable[[bytes], str] = lambda body: "",
    ) -> None:
        self.failures: list[str] = []
        self.answered = 0
        self.told: collections.Counter[str] = collections.Counter()
        self._port = port
        method = "POST" if body else "GET"
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
        if body:
            head += "Content-Type: application/json\r\n"
        self._request = head.encode() + b"\r\n" + body
        self._workers = workers
        self._pause_seconds = workers / pace
        self._tell = tell
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="constant load")
        self._begun = 0.0

    def __enter__(self) -> ConstantLoad:
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def wait(self, more: int = 50, seconds: float = 120.0) -> None:
        """Return when so many more requests were answered."""
        wanted, deadline = self.answered + more, time.monotonic() + seconds
        while self.answered < wanted:
            assert time.monotonic() < deadline, (
                f"{self.answered} answers, {self.failures[:5]}, {wanted} wanted"
            )
            time.sleep(0.01)

    def forget(self) -> None:
        """Count what answers tell from here on anew."""
        self.told = collections.Counter()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(number))

    async def _work(self, number: int) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        due = time.monotonic() + self._pause_seconds * number / self._workers
        while not self._ending.is_set():
            await asyncio.sleep(max(due - time.monotonic(), 0))
            due = max(due + self._pause_seconds, time.monotonic() - 1)
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    connection = connection or await asyncio.open_connection("127.0.0.1", self._port)
                    keeps = await self._ask(*connection)
            except (OSError, TimeoutError, EOFError, httptools.HttpParserError) as error:
                self._note(repr(error))
                keeps = False
            if connection is not None and (not keeps or number % 4 == 0):
                connection[1].close()
                connection = None
        if connection is not None:
            connection[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send a request and read its answer; return whether the connection may be used again."""
        answer, told = _Answer(), self.told  # what was asked before `forget` counts there
        parser = httptools.HttpResponseParser(answer)
        writer.write(self._request)
        while not answer.is_complete:
            data = await reader.read(65536)
            if not data:
                raise EOFError("connection closed in the middle of an answer")
            parser.feed_data(data)
        status = parser.get_status_code()
        self.answered += 1
        if status == 200:
            told[self._tell(answer.body)] += 1
        else:
            self._note(f"{status} {answer.body[:200]!r}")
        return bool(parser.should_keep_alive())

    def _note(self, reason: str) -> None:
        self.failures.append(f"{time.monotonic() - self._begun:.2f} {reason}")
