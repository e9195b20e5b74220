"""Have a socket of the node's namespace ready for each new connection, since making one is a round trip to noded."""

from __future__ import annotations

import asyncio
import socket
from collections import deque

from proa.network.protocol import NodeNetwork, SocketKind

SPARE_SOCKETS = 16


class SocketPool:
    """Unbound sockets of one kind, made ahead once the first has been asked for; for each address family its own."""

    def __init__(self, node_network: NodeNetwork, kind: SocketKind) -> None:
        self._node_network = node_network
        self._kind = kind
        self._spare: dict[str, deque[socket.socket]] = {}
        self._refills: dict[str, asyncio.Task[None]] = {}

    async def take(self, address: str = "") -> socket.socket:
        """Return a socket that can go to the address, the caller's to close; raise what open_socket raises."""
        host = "::" if ":" in address else ""
        spare = self._spare.setdefault(host, deque())
        taken = spare.popleft() if spare else await self._node_network.open_socket(self._kind, host)
        if host not in self._refills or self._refills[host].done():
            self._refills[host] = asyncio.ensure_future(self._fill(host, spare))
        return taken

    async def _fill(self, host: str, spare: deque[socket.socket]) -> None:
        try:
            while len(spare) < SPARE_SOCKETS:
                spare.append(await self._node_network.open_socket(self._kind, host))
        except Exception:
            return  # the next take() asks for itself, and its caller hears why

    async def close(self) -> None:
        """Close the spare ones."""
        for refill in self._refills.values():
            refill.cancel()
        await asyncio.gather(*self._refills.values(), return_exceptions=True)
        for spare in self._spare.values():
            while spare:
                spare.pop().close()
