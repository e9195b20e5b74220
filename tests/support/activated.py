"""A pod's server for tests of the activator: it answers what it is told to, on a free port of the loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from proa.ml.serving.activator.activator import Activator
from proa.ml.serving.records import Backend, Backends, Probe
from proa.ml.serving.settings import dial_directly
from proa.reconcile.protocol import Key

KEY = Key("default", "digits-predictor-00001")
HEADERS = "Knative-Serving-Revision: digits-predictor-00001\r\nKnative-Serving-Namespace: default\r\n"

Answer = Callable[[str, dict[str, str], bytes, asyncio.StreamWriter], Awaitable[None]]


class PodServer:
    """Counts what it was asked; `answer` writes each answer, None says "hello"."""

    def __init__(self, answer: Answer | None = None, port: int = 0) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self.connections = 0
        self.most_at_once = 0
        self._now = 0
        self._answer = answer
        self._server: asyncio.Server | None = None
        self.port = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> PodServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks)

    def backend(self, *, is_ready: bool = True, path: str = "/ready", name: str = "") -> Backend:
        name = name or f"pod-{self.port}"
        return Backend(name, "127.0.0.1", self.port, self.port, Probe(self.port, path), is_ready)

    async def until_asked(self, count: int) -> None:
        """Return when so many requests have come."""
        async with asyncio.timeout(60):
            while len(self.requests) < count:
                await asyncio.sleep(0.002)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._take(head.decode(), reader, writer)
        except (EOFError, OSError, asyncio.CancelledError):
            pass  # Python 3.11 complains of a handler that is cancelled
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _take(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}
        body = await read_body(headers, reader)
        path = first.split()[1]
        if path == "/ready":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        self.requests.append((first, body))
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            if self._answer is None:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            else:
                await self._answer(first, headers, body, writer)
        finally:
            self._now -= 1


async def read_body(headers: dict[str, str], reader: asyncio.StreamReader) -> bytes:
    """Return the body of a message whose head was read."""
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readline()).strip(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body
    return await reader.readexactly(int(headers.get("content-length", "0")))


class Front:
    """An activator that listens, and what asks it."""

    def __init__(self, activator: Activator, port: int) -> None:
        self.activator = activator
        self.port = port
        self.held: list[Key] = []
        activator.on_held = self.held.append

    def lead(self, *pods: Backend, limit: int = 0, timeout: float = 20.0) -> None:
        self.activator.update(KEY, Backends(pods, limit, timeout))

    async def ask(
        self, head: str = "GET / HTTP/1.1", headers: str = HEADERS, body: bytes = b""
    ) -> tuple[int, bytes]:
        """Return status and body of one answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            length = f"Content-Length: {len(body)}\r\n" if body else ""
            writer.write(f"{head}\r\n{headers}{length}\r\n".encode() + body)
            return await read_answer(reader, is_head=head.startswith("HEAD"))
        finally:
            writer.close()

    async def until_held(self, count: int) -> None:
        """Return when so many requests wait."""
        async with asyncio.timeout(60):
            while (load := self.activator.load(KEY)) is None or load.in_hand != count:
                await asyncio.sleep(0.005)


async def read_answer(reader: asyncio.StreamReader, *, is_head: bool = False) -> tuple[int, bytes]:
    """Return status and body of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.split("\r\n")
    headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}
    return int(first.split()[1]), b"" if is_head else await read_body(headers, reader)


@asynccontextmanager
async def activator_of(**bounds: Any) -> AsyncIterator[Front]:
    """Yield an activator that listens on the loopback."""
    activator = Activator(dial_directly, **bounds)
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    await activator.serve(sock)
    try:
        yield Front(activator, port)
    finally:
        await activator.close()
        await asyncio.sleep(0)
