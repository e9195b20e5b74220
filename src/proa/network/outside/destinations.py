"""Say where what a pod sends to another network goes on to from the host, and what of the host it never reaches.

The host's loopback is refused whatever its name, with everything that listens there: the API and NodePorts of every
cluster, databases, a resolver. So are link-local addresses (a cloud's metadata service hands out its credentials
there), multicast, and the cluster's own networks: whatever of them has no route inside is not to be looked for outside.
The host's other addresses, its neighbours and the internet are reached, as they are by any neighbour of the host.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from functools import lru_cache

from proa.network.outside.modes import LOOPBACK

HOST_LOOPBACK = "127.0.0.1"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Destinations:
    """`inside` are the cluster's own networks; `host_address` stands for the host's loopback where `mode` says so."""

    def __init__(self, mode: str, inside: Iterable[str], host_address: str) -> None:
        self._host_address = host_address if mode == LOOPBACK else ""
        networks = [ipaddress.ip_network(network) for network in inside]
        self.without_host = _without(networks, host_address)
        """`inside` less the host's address."""
        self.inside = self.without_host if self._host_address else networks
        """What is never looked for outside."""
        self._is_allowed = lru_cache(maxsize=1024)(self._judge)

    def find(self, address: str) -> str | None:
        """Return the address to connect to from the host, None where it must not be reached."""
        if self._host_address and address == self._host_address:
            return HOST_LOOPBACK
        return address if self._is_allowed(address) else None

    def _judge(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved:
            return False
        if ip.version == 4 and int(ip) >> 24 == 0:
            return False  # Linux takes 0.0.0.0/8 for the host itself
        return not any(ip in network for network in self.inside)


def _without(networks: Iterable[Network], address: str) -> list[Network]:
    left: list[Network] = []
    gap = ipaddress.IPv4Network(address)
    for network in networks:
        if isinstance(network, ipaddress.IPv4Network) and gap.subnet_of(network):
            left += network.address_exclude(gap)
        else:
            left.append(network)
    return left


def find_outgoing_address() -> str:
    """Return the address by which this process reaches other networks, "" when it reaches none. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return ""
