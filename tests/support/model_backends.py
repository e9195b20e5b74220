"""A server of models for tests: it answers as a function says, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from proa.client.protocol import Request, Response
from proa.httpd.server import HttpServer

Answer = Callable[[Request], Awaitable[Response]]


class Backend:
    """`asked` are its requests, in order; `url` has no slash at its end."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.asked: list[Request] = []


@asynccontextmanager
async def run_backend(answer: Answer, max_body_bytes: int = 64 * 1024 * 1024) -> AsyncIterator[Backend]:
    """Answer on loopback until the block ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    backend = Backend(listening.getsockname()[1])

    async def handle(request: Request) -> Response:
        backend.asked.append(request)
        return await answer(request)

    server = HttpServer(handle, max_body_bytes=max_body_bytes)
    await server.serve(listening)
    try:
        yield backend
    finally:
        await server.close(0.1)


def json_response(value: Any, status: int = 200) -> Response:
    """Return an answer of JSON."""
    return Response(status, {"Content-Type": "application/json"}, orjson.dumps(value))


async def exchange(port: int, data: bytes, *, until_closed: bool = False) -> bytes:
    """Send bytes and return what comes: until the other side closes, or one answer with its length."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        async with asyncio.timeout(60):
            if until_closed:
                return await reader.read(-1)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                ),
                0,
            )
            return head + await reader.readexactly(length)
    finally:
        writer.close()
        await writer.wait_closed()


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """Return the bytes of a POST; `headers` are whole lines."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: model\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body
    )
