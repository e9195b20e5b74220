"""Lend the network of whichever node runs to those who need any (the host's NodePorts): a `NodeNetwork`."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proa.local_nodes.node import LocalNode
    from proa.node.noded.client import NodedClient
    from proa.node.runtimes.protocol import SocketKind


class AnyNode:
    """`find` returns the node to use, None while none runs; each call then raises RuntimeFailure."""

    def __init__(self, find: Callable[[], LocalNode | None]) -> None:
        self._find = find

    async def open_socket(self, kind: SocketKind, host: str = "", port: int = 0) -> socket.socket:
        """Return a socket of the node's network namespace."""
        return await self._noded().open_socket(kind, host, port)

    async def dial(self, host: str, port: int) -> socket.socket:
        """Return a socket of the node's network namespace, connected to an address of pods'; raise RuntimeFailure."""
        return await self._noded().dial("", host, port)

    async def add_addresses(self, addresses: list[str]) -> None:
        """Give the node's loopback these addresses."""
        await self._noded().add_addresses(addresses)

    async def remove_addresses(self, addresses: list[str]) -> None:
        """Take them away again."""
        await self._noded().remove_addresses(addresses)

    async def ask_netfilter(self, request: bytes) -> bytes:
        """Send netlink messages to netfilter, and return its answers."""
        return await self._noded().ask_netfilter(request)

    def _noded(self) -> NodedClient:
        from proa.node.runtimes.protocol import RuntimeFailure

        node = self._find()
        if node is None or node.noded is None:
            raise RuntimeFailure("NodeUnavailable", "no node of this machine is up")
        return node.noded
