"""Send HTTP/1.1 requests over TLS for as little processor time as can be, so that the server is what is measured.

One connection has one request under way. An answer's body is handed over as bytes; a watch's chunks go to a callback.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"

OnChunk = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = JSON
    accept: str = JSON


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load gave: requests a second, and seconds of wall time for each, in order."""

    rate: float
    seconds: list[float]


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._buffer = b""
        self._length = -1
        self._status = 0
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._on_chunk: OnChunk | None = None
        self._transport: asyncio.Transport

    @classmethod
    async def open(cls, host: str, port: int, context: ssl.SSLContext) -> Connection:
        """Connect."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: cls(host), host, port, ssl=context)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server closed the connection"))

    def send(self, ask: Ask) -> asyncio.Future[tuple[int, bytes]]:
        """Send a request; the future gives (status, body)."""
        self._answer = asyncio.get_running_loop().create_future()
        length = (
            f"Content-Type: {ask.content_type}\r\nContent-Length: {len(ask.body)}\r\n" if ask.body else ""
        )
        head = (
            f"{ask.method} {ask.path} HTTP/1.1\r\nHost: {self._host}\r\nAccept: {ask.accept}\r\n{length}\r\n"
        )
        self._transport.write(head.encode() + ask.body)
        return self._answer

    async def watch(self, path: str, on_chunk: OnChunk) -> None:
        """Begin a watch; return when the server has answered its head."""
        self._on_chunk = on_chunk
        await self.send(Ask("GET", path))

    def close(self) -> None:
        """Hang up."""
        self._answer = None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._on_chunk is not None and self._status:
            self._on_chunk(data)
            return
        buffer = self._buffer = self._buffer + data if self._buffer else data
        if self._length < 0:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = buffer[:end].lower()
            self._status = int(head[9:12])
            self._buffer = buffer = buffer[end + 4 :]
            if self._on_chunk is not None and self._status == 200:
                self._finish(b"")
                if buffer:
                    self._on_chunk(buffer)
                return
            at = head.find(b"content-length:")
            self._length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(buffer) >= self._length:
            self._finish(buffer[: self._length])

    def _finish(self, body: bytes) -> None:
        self._buffer, self._length = b"", -1
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._status, body))


async def load(connections: list[Connection], asks: Iterable[Ask]) -> Outcome:
    """Send all requests, each connection the next when its last is answered; raise on any answer but 2xx."""
    waiting = iter(asks)
    seconds: list[float] = []

    async def work(connection: Connection) -> None:
        for ask in waiting:
            begun = time.perf_counter()
            status, body = await connection.send(ask)
            seconds.append(time.perf_counter() - begun)
            if not 200 <= status < 300:
                raise RuntimeError(f"{ask.method} {ask.path}: {status} {body[:300]!r}")

    begun = time.perf_counter()
    await asyncio.gather(*[work(connection) for connection in connections])
    return Outcome(len(seconds) / (time.perf_counter() - begun), seconds)
