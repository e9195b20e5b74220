"""Keep the IPv6 side of the node's network, beside IPv4's: an address for the node, its bridge, and each of its pods.

A pod's IPv6 address follows from its IPv4 one: 10.244.1.5 has fd00:10:244:1::5. Routes are as network.py's. Nobody is
asked whether an address is taken already (all are given out here), and no redirect is believed: pods reach their
neighbours through the node's IP layer.
"""

from __future__ import annotations

import socket

from proa.node.noded import netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NODE_SYSCTLS = {"all/forwarding": "1", "default/accept_ra": "0", "default/dad_transmits": "0"}
_POD_SYSCTLS = {"all/accept_redirects": "0", "eth0/accept_redirects": "0", "eth0/accept_ra": "0"}


class Ipv6:
    """One node's. `pod_cidr` is a /64 whose text ends in "::/64", "" where the node has no IPv6."""

    def __init__(self, node_ip: str, pod_cidr: str, service_cidr: str) -> None:
        self.node_ip = node_ip
        self._pod_cidr = pod_cidr
        self._service_cidr = service_cidr
        self._prefix = pod_cidr.partition("/")[0]

    def set_up(self, route: netlink.Rtnetlink, bridge: int) -> None:
        """Give the node and its bridge their addresses; raise OSError."""
        _write(_NODE_SYSCTLS)
        route.send([
            netlink.new_address(bridge, f"{self._prefix}1/64"),
            netlink.new_address(1, f"{self.node_ip}/128"),
            netlink.new_local_route(1, self._service_cidr, self.node_ip),
        ])  # fmt: skip

    def address_of(self, pod_ip: str) -> str:
        """Return the IPv6 address of the pod that has this IPv4 one."""
        last = int.from_bytes(socket.inet_aton(pod_ip)[3:], "big")
        return f"{self._prefix}{last:x}"

    def connect(self, inside: netlink.Rtnetlink, index: int, pod_ip: str) -> None:
        """Give the pod, in whose namespace the caller is, its address and routes."""
        _write(_POD_SYSCTLS)
        address, gateway = self.address_of(pod_ip), f"{self._prefix}1"
        inside.send([
            netlink.new_address(index, f"{address}/128"),
            netlink.new_route(index, f"{gateway}/128", source=address),
            netlink.new_route(index, "::/0", gateway=gateway, source=address),
        ])  # fmt: skip


def link_routes(index: int, here: dict[str, Any], there: dict[str, Any]) -> list[netlink.Message]:
    """Return what leads to another node by a wire; the wire's end has the node's own address, to be found by."""
    if not here.get("node_ipv6") or not there.get("node_ipv6"):
        return []
    address, source = there["node_ipv6"], here["node_ipv6"]
    return [
        netlink.new_address(index, f"{source}/128"),
        netlink.new_route(index, f"{address}/128", source=source),
        netlink.new_route(index, there["pod_cidr_v6"], gateway=address, source=source),
    ]


def _write(sysctls: dict[str, str]) -> None:
    for name, value in sysctls.items():
        with open(f"/proc/sys/net/ipv6/conf/{name}", "w") as file:
            file.write(value)
