"""Carry raw bytes both ways over a connection that has left HTTP: `streams.context.UpgradedConnection`.

Reading is paused while more than a little is waiting to be read, so that a slow consumer costs no memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

MAX_WAITING_BYTES = 256 * 1024


class Upgraded:
    """The connection after the 101. `feed` and `feed_end` are the HTTP server's side of it."""

    def __init__(self, transport: asyncio.Transport, drained: Callable[[], Awaitable[None]]) -> None:
        self._transport = transport
        self._drained = drained
        self._arrived: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._ended = False
        self._paused = False
        self._reader: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._arrived.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > MAX_WAITING_BYTES and not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def feed_end(self) -> None:
        """Note that the client sends no more."""
        self._ended = True
        self._wake()

    async def read(self) -> bytes:
        """See `UpgradedConnection.read`."""
        while not self._arrived:
            if self._ended or self._transport.is_closing():
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        data = self._arrived.popleft()
        self._waiting_bytes -= len(data)
        if self._paused and self._waiting_bytes <= MAX_WAITING_BYTES // 2:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """See `UpgradedConnection.write`."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self._transport.write(data)
        await self._drained()

    async def close(self) -> None:
        """See `UpgradedConnection.close`."""
        if not self._transport.is_closing():
            self._transport.close()
        self.feed_end()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
