"""Let pods of a node that has joined reach the API: what comes to API_ADDRESS goes on to the cluster's server.

TLS is between the pod and the API server, whose certificate is for that address too; nothing is read here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proa.local_nodes.addresses import API_ADDRESS, API_PORT

if TYPE_CHECKING:
    from proa.node.noded.client import NodedClient

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
MAX_CONNECTIONS = 4096
BUFFER_BYTES = 64 * 1024


class RelayDoor:
    """`local_nodes.door.Door` that leads to the API server at a URL."""

    def __init__(self, client: NodedClient, server: str) -> None:
        parts = urlsplit(server)
        self._client = client
        self._target = (parts.hostname or "", parts.port or 443)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """See Door."""
        await self._client.add_addresses([f"{API_ADDRESS}/32"])
        listener = await self._client.open_socket("tcp-listen", API_ADDRESS, API_PORT)
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=BUFFER_BYTES)

    async def renew(self) -> None:
        """See Door."""
        await self.close(0)
        await self.open()

    async def close(self, grace_seconds: float | None = None) -> None:
        """See Door; watches never end by themselves, so nothing is waited for."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.ensure_future(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                far_reader, far_writer = await asyncio.open_connection(*self._target, limit=BUFFER_BYTES)
        except (OSError, TimeoutError) as error:
            logger.info("a pod did not reach the API server error=%s", error or "no answer")
            writer.transport.abort()
            return
        for end in (writer, far_writer):
            _send_at_once(end)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, far_writer))
                both.create_task(_copy(far_reader, writer))
        except* OSError:
            pass  # either side went away: the other is cut off below
        finally:
            writer.transport.abort()
            far_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(BUFFER_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
        await writer.drain()


def _send_at_once(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
