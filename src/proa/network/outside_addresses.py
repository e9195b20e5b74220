"""Give the node the ClusterIPs that are outside of its service network, so that it has a way to them itself.

The whole service network leads to the node by one route; addresses of ranges that were added later (ServiceCIDRs) have
none. Pods do without: what they send reaches the node by their default route, and is turned there.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from proa.network.data_path import ServiceKey, ServicePort, host_cidr
from proa.network.protocol import NodeNetwork


class OutsideAddresses:
    """A DataPathBackend."""

    def __init__(self, node_network: NodeNetwork, service_cidrs: Sequence[str]) -> None:
        self._node_network = node_network
        self._networks = [ipaddress.ip_network(cidr) for cidr in service_cidrs]
        self._applied: dict[ServiceKey, frozenset[str]] = {}
        self._used: Counter[str] = Counter()

    async def start(self) -> None:
        """See DataPathBackend; an address that a previous run has left does no harm."""
        self._applied.clear()
        self._used.clear()

    async def apply(self, changes: Mapping[ServiceKey, tuple[ServicePort, ...]]) -> None:
        """See DataPathBackend."""
        before = +self._used
        applied, used = dict(self._applied), Counter(self._used)
        for key, ports in changes.items():
            used.subtract(applied.pop(key, ()))
            if outside := frozenset(self._outside(ports)):
                applied[key] = outside
                used.update(outside)
        used = +used
        if added := sorted(used.keys() - before.keys()):
            await self._node_network.add_addresses([host_cidr(address) for address in added])
        if removed := sorted(before.keys() - used.keys()):
            await self._node_network.remove_addresses([host_cidr(address) for address in removed])
        self._applied, self._used = applied, used

    async def stop(self) -> None:
        """See DataPathBackend."""
        if addresses := sorted(+self._used):
            await self._node_network.remove_addresses([host_cidr(address) for address in addresses])
        self._applied.clear()
        self._used.clear()

    def _outside(self, ports: Iterable[ServicePort]) -> Iterable[str]:
        return (
            address
            for port in ports
            for address in port.addresses
            if not any(ipaddress.ip_address(address) in network for network in self._networks)
        )
