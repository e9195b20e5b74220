"""Serve ClusterIPs and NodePorts with listeners of our own, where the node has no nftables.

ClusterIPs are addresses of the node's loopback, which is the pods' gateway, and each service port is a listener in the
node's namespace; connections are relayed (relay.py). What differs from kernel rules: an endpoint sees the node's
address as the client's, and open connections end with the server.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping, Sequence

from proa.network.data_path import ServiceKey, ServicePort, family_of, host_cidr
from proa.network.port_listeners import Place, PortListeners, Wish
from proa.network.protocol import NodeNetwork


class UserspaceDataPath:
    """A DataPathBackend. `on_problem(service, reason, message)` hears of listeners that cannot be."""

    def __init__(
        self,
        node_network: NodeNetwork,
        node_ips: Sequence[str],
        on_problem: Callable[[ServiceKey, str, str], None],
    ) -> None:
        self._node_network = node_network
        self._node_ips = {family_of(ip): ip for ip in node_ips}
        self._on_problem = on_problem
        self._listeners = PortListeners(node_network, self._wishes_of, self._open, self._blocked)
        self._addresses: dict[ServiceKey, frozenset[str]] = {}
        self._present: set[str] = set()

    async def start(self) -> None:
        """See DataPathBackend."""

    async def apply(self, changes: Mapping[ServiceKey, tuple[ServicePort, ...]]) -> None:
        """See DataPathBackend."""
        for service, ports in changes.items():
            if addresses := frozenset(
                address for port in ports if port.family in self._node_ips for address in port.addresses
            ):
                self._addresses[service] = addresses
            else:
                self._addresses.pop(service, None)
        wanted = set().union(*self._addresses.values())
        if missing := sorted(wanted - self._present):
            await self._node_network.add_addresses([host_cidr(address) for address in missing])
            self._present |= {*missing}
        await self._listeners.apply(changes)
        await self._remove(self._present - wanted)

    async def stop(self) -> None:
        """See DataPathBackend."""
        await self._listeners.stop()
        self._addresses.clear()
        await self._remove(self._present)

    async def _remove(self, addresses: set[str]) -> None:
        if addresses:
            await self._node_network.remove_addresses([host_cidr(address) for address in sorted(addresses)])
            self._present -= addresses

    def _wishes_of(self, port: ServicePort) -> Iterable[Wish]:
        if port.family not in self._node_ips:
            return
        for address in port.addresses:
            place = Place(port.protocol, address, port.port)
            yield Wish(place, port.service, port.endpoints, port.affinity_seconds)
        for address in port.host_addresses:
            place = Place(port.protocol, address, port.port)
            yield Wish(place, port.service, port.node_port_endpoints, port.affinity_seconds)
        node_ip = self._node_ips[port.family]
        if port.node_port and not node_ip.startswith("127."):
            place = Place(port.protocol, node_ip, port.node_port)
            yield Wish(place, port.service, port.node_port_endpoints, port.affinity_seconds)

    async def _open(self, place: Place) -> socket.socket:
        if place.protocol == "TCP":
            return await self._node_network.open_socket("tcp-listen", place.address, place.port)
        return await self._node_network.open_socket("udp", place.address, place.port)

    def _blocked(self, wish: Wish, why: str) -> None:
        place = wish.place
        message = (
            f"cannot listen on {place.address}:{place.port}/{place.protocol} in the node's network: {why}"
        )
        self._on_problem(wish.service, "ServicePortUnavailable", message)
