"""Lend the network of whichever node runs to the gateway's Envoy: `network.gateway.proxy.Place`."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proa.local_nodes.node import LocalNode

LOOPBACK = "127.0.0.1"


class GatewayPlace:
    """`find` returns the node to use, None while none runs; what needs one then raises OSError."""

    def __init__(self, find: Callable[[], LocalNode | None]) -> None:
        self._find = find

    @property
    def address(self) -> str:
        """The node's own address; without a network of its own, the host's loopback."""
        node = self._node()
        return node.place.ip if node.has_own_network else LOOPBACK

    @property
    def namespaces(self) -> Sequence[str]:
        """The node's user and network namespaces."""
        from proa.node.noded.launch import running_pid

        node = self._node()
        if not node.has_own_network:
            return ()
        pid = running_pid(node.directory)
        if pid is None:
            raise OSError(errno.ENETDOWN, "the node's supervisor has ended")
        return (f"/proc/{pid}/ns/user", f"/proc/{pid}/ns/net")

    @property
    def supervisor(self) -> int:
        """The node's noded; 0 where it has no network of its own."""
        from proa.node.noded.launch import running_pid

        node = self._node()
        return (running_pid(node.directory) or 0) if node.has_own_network else 0

    @property
    def can_change_user(self) -> bool:
        """Tell whether we are root, in a way that lets us be others."""
        return os.geteuid() == 0 and self._node().has_own_network

    async def open_listener(self, address: str, port: int) -> socket.socket:
        """Return a listening socket of the node's network."""
        from proa.node.runtimes.protocol import RuntimeFailure

        noded = self._node().noded
        if noded is None:
            raise OSError(errno.ENETDOWN, "the node's supervisor is not there")
        try:
            return await noded.open_socket("tcp-listen", address, port)
        except RuntimeFailure as failure:
            raise OSError(errno.ENETDOWN, failure.message) from failure

    def _node(self) -> LocalNode:
        node = self._find()
        if node is None:
            raise OSError(errno.ENETDOWN, "no node of this machine is up")
        return node
