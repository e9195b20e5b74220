"""Name what the network's parts ask of the node and of one another.

`NodeNetwork` has the shape of `node.runtimes.protocol.NodeNetwork`, which this package may not import: whoever builds
a `Network` hands in the node's.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Literal, Protocol

from proa.network.data_path import ServiceKey, ServicePort
from proa.objects.quick_dataclass import dataclass

SocketKind = Literal["tcp-listen", "tcp", "udp", "transparent-tcp-listen", "transparent-udp", "icmp"]
"""A transparent socket may have any address as its own, and tells which one a datagram was sent to."""


class NodeNetwork(Protocol):
    """Sockets, addresses and rules inside the node's network namespace."""

    async def open_socket(self, kind: SocketKind, host: str = "", port: int = 0) -> socket.socket:
        """Return a non-blocking socket of that namespace: listening or bound at host:port, or unbound."""

    async def add_addresses(self, addresses: list[str]) -> None:
        """Give the node's loopback these addresses (CIDR notation)."""

    async def remove_addresses(self, addresses: list[str]) -> None:
        """Take them away again."""

    async def ask_netfilter(self, request: bytes) -> bytes:
        """Send netlink messages to netfilter, and return everything that it answers."""


class DivertingNetwork(NodeNetwork, Protocol):
    """A node's own network, from which its pods find a way out (way_out.py)."""

    async def divert_outside(self, inside: list[str]) -> None:
        """Bring what is meant for other networks to sockets of this one: what rules mark, and what the node sends
        to others than those of `inside` (CIDR)."""


class RuntimeStatus(Protocol):
    """What services must know of the node: its address, and which features work ("" or why not)."""

    @property
    def node_ip(self) -> str: ...

    @property
    def features(self) -> Mapping[str, str]: ...


class DataPathBackend(Protocol):
    """Makes traffic to services arrive. It keeps what it has applied: the same change twice is harmless."""

    async def start(self) -> None:
        """Begin from nothing, whatever a previous run has left."""

    async def apply(self, changes: Mapping[ServiceKey, tuple[ServicePort, ...]]) -> None:
        """Bring these services' ports to this state (none: the service is gone)."""

    async def stop(self) -> None:
        """Leave no listener, rule or address."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """One node's share of the network.

    `dns_address` is the ClusterIP of kube-system/kube-dns, `service_cidrs` the networks that lead to the node;
    `resolv_conf` names the resolvers of last resort. `node_ips` are the node's addresses, where they are not what the
    runtime says; who comes from outside of `cluster_cidrs` (all pods' networks) is outside of the cluster.
    `outside` says whether pods reach other networks (outside/modes.py), `inside_cidrs` which are the cluster's own,
    and `host_address` is what stands for the host's loopback, `api_address` where the API listens on the node.
    `registry_name` is what pods call the cluster's registry, which listens there too; "" where there is none.
    """

    node_name: str
    cluster_domain: str = "cluster.local"
    dns_address: str = "10.96.0.10"
    service_cidrs: tuple[str, ...] = ("10.96.0.0/16",)
    resolv_conf: str = "/etc/resolv.conf"
    node_ips: tuple[str, ...] = ()
    cluster_cidrs: tuple[str, ...] = ("10.244.0.0/16", "fd00:10:244::/48")
    outside: str = "yes"
    inside_cidrs: tuple[str, ...] = ("10.96.0.0/16", "10.243.0.0/16", "10.244.0.0/16")
    host_address: str = "10.243.255.2"
    api_address: str = "10.243.255.1"
    registry_name: str = ""
