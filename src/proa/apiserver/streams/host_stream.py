"""A connection of the host's own network, as what proxies and webhooks send through."""

from __future__ import annotations

import asyncio


class HostStream:
    """A `ByteStream` over asyncio's reader and writer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, limit: int = 65536) -> bytes:
        """See ByteStream."""
        try:
            return await self._reader.read(limit)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        """See ByteStream."""
        self._writer.write(data)
        await self._writer.drain()

    async def close_write(self) -> None:
        """See ByteStream."""
        if self._writer.can_write_eof():
            self._writer.write_eof()

    async def close(self) -> None:
        """See ByteStream."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return
