"""Hand out each ClusterIP and NodePort once: `definition.Allocators` in memory, refilled from the store at start.

As upstream does (pkg/registry/core/service/ipallocator, portallocator), automatic addresses come from the upper
part of the range, so that low ones can be asked for by name.
"""

from __future__ import annotations

import ipaddress
import random
from itertools import chain

from proa.objects.errors import Cause, Invalid

NODE_PORTS = range(30000, 32768)
STATIC_PORTS = 86
"""min(max(16, size / 32), 128) of the port range is left to those who ask for a port."""


class ClusterAllocators:
    """All addresses of one service CIDR, and all node ports."""

    def __init__(self, service_cidr: str = "10.96.0.0/16", node_ports: range = NODE_PORTS) -> None:
        self.network = ipaddress.IPv4Network(service_cidr)
        self._node_ports = node_ports
        self._addresses: set[int] = set()
        self._ports: set[tuple[int, str]] = set()
        size = self.network.num_addresses
        self._static_addresses = min(max(16, size // 16), 256) if size > 32 else 1

    def allocate_cluster_ip(self, wanted: str = "") -> str:
        """Take an address; raise Invalid where it is taken or not in the range."""
        first = int(self.network.network_address)
        size = self.network.num_addresses
        if wanted:
            return self._take_wanted(wanted)
        for low, high in ((self._static_addresses, size - 1), (1, self._static_addresses)):
            if high <= low:
                continue
            start = random.randrange(low, high)  # noqa: S311 not a secret
            for offset in chain(range(start, high), range(low, start)):
                if first + offset not in self._addresses:
                    self._addresses.add(first + offset)
                    return str(ipaddress.IPv4Address(first + offset))
        raise Invalid(
            "failed to allocate IP: range is full", causes=[_cause("spec.clusterIPs", "range is full")]
        )

    def _take_wanted(self, wanted: str) -> str:
        try:
            address = ipaddress.IPv4Address(wanted)
        except ValueError:
            address = None
        if (
            address is None
            or address not in self.network
            or address
            in (
                self.network.network_address,
                self.network.broadcast_address,
            )
        ):
            why = (
                f"failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. The range of "
                f"valid IPs is {self.network}"
            )
        elif int(address) in self._addresses:
            why = f"failed to allocate IP {wanted}: provided IP is already allocated"
        else:
            self._addresses.add(int(address))
            return wanted
        raise Invalid(why, causes=[_cause("spec.clusterIPs", f'Invalid value: ["{wanted}"]: {why}')])

    def release_cluster_ip(self, address: str) -> None:
        """Give an address back; harmless when it was not taken."""
        try:
            self._addresses.discard(int(ipaddress.IPv4Address(address)))
        except ValueError:
            return

    def allocate_node_port(self, wanted: int = 0, protocol: str = "TCP") -> int:
        """Take a port; raise Invalid where it is taken or not in the range."""
        if wanted:
            return self._take_port(wanted, protocol)
        first, last = self._node_ports[0], self._node_ports[-1]
        for low, high in ((first + STATIC_PORTS, last), (first, first + STATIC_PORTS - 1)):
            start = random.randint(low, high)  # noqa: S311 not a secret
            for port in chain(range(start, high + 1), range(low, start)):
                if (port, protocol) not in self._ports:
                    self._ports.add((port, protocol))
                    return port
        raise Invalid("no node port is free", causes=[_cause("spec.ports", "range is full")])

    def _take_port(self, wanted: int, protocol: str) -> int:
        if wanted not in self._node_ports:
            why = (
                f"Invalid value: {wanted}: provided port is not in the valid range. The range of valid ports is "
                f"{self._node_ports[0]}-{self._node_ports[-1]}"
            )
        elif (wanted, protocol) in self._ports:
            why = f"Invalid value: {wanted}: provided port is already allocated"
        else:
            self._ports.add((wanted, protocol))
            return wanted
        raise Invalid(why, causes=[_cause("spec.ports[0].nodePort", why)])

    def release_node_port(self, port: int, protocol: str = "TCP") -> None:
        """Give a port back; harmless when it was not taken."""
        self._ports.discard((port, protocol))


def _cause(field: str, message: str) -> Cause:
    return Cause("FieldValueInvalid", message, field)
