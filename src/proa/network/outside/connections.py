"""Carry connections of pods to other networks: taken where they were to go, connected to there from the host.

A client is connected before its destination is: where that refuses or cannot be reached, the client is reset at once.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable

from proa.network.relay import ConnectionRelay, Inbound

CONNECT_SECONDS = 30.0
MAX_CONNECTIONS = 4096
MAX_CONNECTIONS_A_CLIENT = 1024
KEEPALIVE_SECONDS = 60


class OutsideConnections(ConnectionRelay):
    """`find` returns the address to connect to for a destination's, None where it must not be reached."""

    def __init__(self, find: Callable[[str], str | None]) -> None:
        super().__init__()
        self._find = find
        self._open: Counter[str] = Counter()

    def dial(self, inbound: Inbound) -> None:
        """See ConnectionRelay; one connection too many is reset."""
        transport = inbound.transport
        client = transport.get_extra_info("peername")[0] if transport is not None else ""
        if self._open.total() >= MAX_CONNECTIONS or self._open[client] >= MAX_CONNECTIONS_A_CLIENT:
            inbound.end(is_reset=True)
            return
        self._open[client] += 1
        inbound.on_lost = lambda: self._ended(client)
        super().dial(inbound)

    def _ended(self, client: str) -> None:
        self._open[client] -= 1
        if not self._open[client]:
            del self._open[client]

    async def _reach(self, client: asyncio.Transport) -> socket.socket:
        address, port = client.get_extra_info("sockname")[:2]
        target = self._find(address)
        if target is None:
            raise ConnectionRefusedError(f"{address} is not reached from pods")
        inside = client.get_extra_info("socket")
        inside.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        inside.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(sock, (target, port))
        except BaseException:
            sock.close()
            raise
        return sock
