"""An HTTP server that can be told to misbehave: to break connections, to answer 503, to stream."""

from __future__ import annotations

import asyncio
import socket

from proa.network.data_path import Endpoint


class MoodyServer:
    """One on this machine. `mood`: well, resets (no answer, connection broken), 503, slow (an event, then waits)."""

    def __init__(self, name: str, listener: socket.socket | None = None) -> None:
        self.name = name
        self.mood = "well"
        self.requests = 0
        self.go_on = asyncio.Event()
        self._listener = listener
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> MoodyServer:
        listener = self._listener or socket.create_server(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._serve, sock=listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in [*self._writers]:
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def endpoint(self) -> Endpoint:
        """Return where it listens."""
        assert self._server is not None
        return Endpoint("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._answer(reader, writer):
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next((line[15:] for line in head.split("\r\n") if line.startswith("content-length:")), "0")
        await reader.readexactly(int(length))
        self.requests += 1
        if self.mood == "resets":
            writer.transport.abort()
            return False
        if self.mood == "slow":
            await self._stream(writer)
            return True
        status = b"503 Service Unavailable" if self.mood == "503" else b"200 OK"
        body = self.name.encode()
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        return True

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        writer.write(b"9\r\ndata: 1\n\n\r\n")
        await writer.drain()
        await self.go_on.wait()
        writer.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")
