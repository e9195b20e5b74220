"""Connections to one server that are kept for the next request, and those that are made when there is none."""

from __future__ import annotations

import asyncio
import ssl

from proa.ml.serving.wire.http1_client import ClientConnection

IDLE_SECONDS = 4.0
"""Common servers (uvicorn, Node) close theirs after 5: one used a moment before that loses a request."""
MAX_IDLE = 256
CONNECT_SECONDS = 10.0


class Pool:
    """Connections to one host and port."""

    def __init__(
        self,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext | None = None,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.host, self.port = host, port
        self._ssl = ssl_context
        self._idle_seconds = idle_seconds
        self._idle: list[ClientConnection] = []
        self._loop = asyncio.get_running_loop()

    def take(self) -> ClientConnection | None:
        """Return one that was used before, if any is as good as new."""
        oldest = self._loop.time() - self._idle_seconds
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    async def connect(self, seconds: float = CONNECT_SECONDS) -> ClientConnection:
        """Return a new one; raise OSError, TimeoutError among them."""
        async with asyncio.timeout(seconds):
            _, connection = await self._loop.create_connection(
                ClientConnection, self.host, self.port, ssl=self._ssl
            )
        return connection

    def give_back(self, connection: ClientConnection) -> None:
        """Keep it for the next request, where that may be."""
        if not connection.is_reusable or len(self._idle) >= MAX_IDLE:
            connection.close()
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)

    def close_old(self) -> None:
        """Close what nobody has used for long; to be called now and then."""
        oldest = self._loop.time() - self._idle_seconds
        kept = []
        for connection in self._idle:
            if connection.idle_since > oldest:
                kept.append(connection)
            else:
                connection.close()
        self._idle = kept

    def close(self) -> None:
        """Close all that are idle."""
        for connection in self._idle:
            connection.close()
        self._idle = []
