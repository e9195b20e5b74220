"""Have a socket for each of the proxy's ports: on the host, at the port itself where that is possible, and in the node.

A port that may not be bound or is taken on the host is offered at another: 80 at 8080, 443 at 8443, others at any free
one; and from then on there, wherever it is free, so that addresses stay what they were. In the node any port will do,
as a Service leads to it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping

from proa.network.gateway.handover import Handover

logger = logging.getLogger(__name__)

BACKLOG = 1024
OTHER_PORTS = {80: 8080, 443: 8443}
LOOPBACKS = ("127.0.0.1", "localhost")
OpenInNode = Callable[[str, int], Awaitable[socket.socket]]
Address = tuple[str, int]


class Ports:
    """The sockets. `open_in_node(address, port)` makes one in the node, where the proxy has `node_address`."""

    def __init__(
        self, handover: Handover, listen_address: str, known: Mapping[int, int] | None = None
    ) -> None:
        """`known` are the host's ports of an earlier time, for each port that was offered at another."""
        self.known = dict(known or {})
        self._handover = handover
        self._listen = listen_address
        self._host: dict[int, list[Address]] = {}
        self._node: dict[int, Address] = {}

    @property
    def public(self) -> Mapping[int, int]:
        """Return the host's port for each port."""
        return {port: addresses[0][1] for port, addresses in self._host.items()}

    @property
    def in_node(self) -> Mapping[int, Address]:
        """Return where each port is in the node."""
        return self._node

    def addresses(self, port: int) -> list[Address]:
        """Return all places where a port is offered."""
        return [*self._host.get(port, ()), self._node[port]]

    async def ensure(self, wanted: Collection[int], node_address: str, open_in_node: OpenInNode) -> None:
        """Have sockets for these ports, and no others; raise what `open_in_node` raises."""
        for port in [port for port in self._node if port not in wanted]:
            self._close(port)
        for port in sorted(wanted):
            if port not in self._node:
                listener = await open_in_node(node_address, 0)
                self._node[port] = (node_address, listener.getsockname()[1])
                self._handover.offer(self._node[port], listener)
            if port not in self._host:
                self._open_on_host(port)

    def forget_node(self) -> None:
        """Close what was open in the node, which is gone."""
        for address in self._node.values():
            self._handover.withdraw(address)
        self._node.clear()

    def close(self) -> None:
        """Close everything."""
        for port in [*self._node]:
            self._close(port)

    def _close(self, port: int) -> None:
        for address in (*self._host.pop(port, ()), self._node.pop(port)):
            self._handover.withdraw(address)

    def _open_on_host(self, port: int) -> None:
        for number in dict.fromkeys(
            (self.known.get(port, port), port, OTHER_PORTS.get(port, port + 8000), 0)
        ):
            try:
                listener = _listen(self._listen, number if number < 65536 else 0)
                break
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EADDRINUSE, errno.EPERM):
                    raise
                logger.info("port is not to be had on the host port=%d error=%s", number, error)
        found = (self._listen, listener.getsockname()[1])
        self._host[port] = [found]
        self.known.pop(port, None)
        if found[1] != port:
            self.known[port] = found[1]
        self._handover.offer(found, listener)
        if self._listen in LOOPBACKS:
            with contextlib.suppress(
                OSError
            ):  # no IPv6, or taken there: names below localhost try 127.0.0.1 too
                self._handover.offer(("::1", found[1]), _listen("::1", found[1]))
                self._host[port].append(("::1", found[1]))


def _listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
