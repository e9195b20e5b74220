"""Have a socket of the node's namespace ready for each new connection, since making one is a round trip to noded."""

from __future__ import annotations

import asyncio
import socket
from collections import deque

from proa.network.protocol import NodeNetwork, SocketKind

SPARE_SOCKETS = 16


class SocketPool:
    """Unbound sockets of one kind, made ahead once the first has been asked for."""

    def __init__(self, node_network: NodeNetwork, kind: SocketKind) -> None:
        self._node_network = node_network
        self._kind = kind
        self._spare: deque[socket.socket] = deque()
        self._refill: asyncio.Task[None] | None = None

    async def take(self) -> socket.socket:
        """Return a socket, the caller's to close; raise what NodeNetwork.open_socket raises."""
        taken = self._spare.popleft() if self._spare else await self._node_network.open_socket(self._kind)
        if self._refill is None or self._refill.done():
            self._refill = asyncio.ensure_future(self._fill())
        return taken

    async def _fill(self) -> None:
        try:
            while len(self._spare) < SPARE_SOCKETS:
                self._spare.append(await self._node_network.open_socket(self._kind))
        except Exception:
            return  # the next take() asks for itself, and its caller hears why

    async def close(self) -> None:
        """Close the spare ones."""
        if self._refill is not None:
            self._refill.cancel()
            await asyncio.gather(self._refill, return_exceptions=True)
        while self._spare:
            self._spare.pop().close()
