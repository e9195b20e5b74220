"""Offer each Service's NodePorts, and pods' hostPorts, on the host, which is outside of the node's network namespace.

Listeners are made in the server's own (the host's) namespace, at loopback unless told otherwise; connections go on
to the service's endpoints through sockets of the node's namespace. A port that is taken on the host is told in an
Event and tried again; the rest goes on.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Mapping

from proa.network.data_path import ServiceKey, ServicePort
from proa.network.port_listeners import Place, PortListeners, Wish
from proa.network.protocol import NodeNetwork
from proa.network.relay import BACKLOG


class HostPorts:
    """A DataPathBackend for the host. `on_problem(service, reason, message)` hears of ports that are taken."""

    def __init__(
        self,
        node_network: NodeNetwork,
        listen_address: str,
        on_problem: Callable[[ServiceKey, str, str], None],
    ) -> None:
        self._listen_address = listen_address
        self._on_problem = on_problem
        self._listeners = PortListeners(node_network, self._wishes_of, open_on_host, self._blocked)

    async def start(self) -> None:
        """See DataPathBackend."""

    async def apply(self, changes: Mapping[ServiceKey, tuple[ServicePort, ...]]) -> None:
        """See DataPathBackend."""
        await self._listeners.apply(changes)

    async def stop(self) -> None:
        """See DataPathBackend."""
        await self._listeners.stop()

    def _wishes_of(self, port: ServicePort) -> Iterable[Wish]:
        if port.node_port:
            place = Place(port.protocol, self._listen_address, port.node_port)
            yield Wish(place, port.service, port.node_port_endpoints, port.affinity_seconds)
        for address in port.host_addresses:
            if ipaddress.ip_address(address).is_loopback:
                place = Place(port.protocol, address, port.port)
                yield Wish(place, port.service, port.node_port_endpoints)

    def _blocked(self, wish: Wish, why: str) -> None:
        place = wish.place
        message = (
            f"cannot offer nodePort {place.port}/{place.protocol} on the host's {place.address}: {why}; "
            "it works inside of the cluster, and here once that port is free"
        )
        self._on_problem(wish.service, "HostPortUnavailable", message)


async def open_on_host(place: Place) -> socket.socket:
    """Return a listening (TCP) or bound (UDP) socket of the host's namespace; raise OSError."""
    family = socket.AF_INET6 if ":" in place.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if place.protocol == "TCP" else socket.SOCK_DGRAM)
    try:
        if place.protocol == "TCP":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((place.address, place.port))
        if place.protocol == "TCP":
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
