"""Keep the ways to the nodes of other machines: one VXLAN device, `overlay`, and for each of them where its packets go.

The device is made by who may make one in the machine's own network (the server, where it is root), and moved here:
what it sends and receives goes by the machine's addresses, and the machine is given none, nor any rule. It learns
nothing and floods nothing: each far node has one MAC, made of its address, and one entry that says at which machine
that is.
"""

from __future__ import annotations

import contextlib
import socket

from proa.node.noded import netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Peer = dict[str, Any]
    """A far node: its `node_ip` and `pod_cidr`, and where both have IPv6 `node_ipv6` and `pod_cidr_v6`; the machine's
    `address` and `port`, its device's `vni`; `source` and `source_v6` are this node's own addresses."""

NAME = "overlay"
PORT = 8472
"""Linux' own (and flannel's), not IANA's 4789, which clouds like to keep for themselves."""


class Overlay:
    """The device of the namespace that `route` is a socket of."""

    def __init__(self, route: netlink.Rtnetlink) -> None:
        self._route = route
        self._device: dict[str, Any] = {}
        self._applied: dict[str, Peer] = {}

    def set(self, device: dict[str, Any], peers: list[Peer]) -> bool:
        """Bring the entries to `peers`; return whether the device has still to be made, and nothing was done.

        `device` is what it is made with (`new_vxlan`); one that was made with something else is removed, and
        without any all that is there. Raises OSError.
        """
        index = self._route.link_index(NAME)
        if index is not None and device != self._device:
            self._route.send([netlink.delete_link(NAME)])
            index = None
        self._device = device
        if index is None:
            self._applied = {}
            return bool(device)
        wanted = {peer["node_ip"]: peer for peer in peers}
        for address, peer in list(self._applied.items()):
            if wanted.get(address) != peer:
                del self._applied[address]
                self._forget(index, peer)
        self._route.send([netlink.link_up(index)])
        for address, peer in wanted.items():
            if address not in self._applied:
                self._forget(index, peer)  # what a failure may have left of it
                self._route.send(_messages(index, peer))
                self._applied[address] = peer
        return False

    def _forget(self, index: int, peer: Peer) -> None:
        messages = [
            netlink.delete_route(index, peer["pod_cidr"]),
            netlink.delete_route(index, f"{peer['node_ip']}/32"),
            netlink.delete_forwarding(index, mac_of(peer["node_ip"])),
            netlink.delete_neighbour(index, peer["node_ip"]),
        ]
        if peer.get("node_ipv6"):
            messages += [
                netlink.delete_route(index, peer["pod_cidr_v6"]),
                netlink.delete_route(index, f"{peer['node_ipv6']}/128"),
                netlink.delete_neighbour(index, peer["node_ipv6"]),
            ]
        for message in messages:
            with contextlib.suppress(OSError):  # it is not there
                self._route.send([message])


def _messages(index: int, peer: Peer) -> list[netlink.Message]:
    node_ip, mac = peer["node_ip"], mac_of(peer["node_ip"])
    messages = [
        netlink.new_neighbour(index, node_ip, mac),
        netlink.new_forwarding(index, mac, peer["address"], peer["port"], peer["vni"]),
        netlink.new_route(index, f"{node_ip}/32", scope=netlink.SCOPE_LINK, source=peer["source"]),
        netlink.new_route(index, peer["pod_cidr"], gateway=node_ip, source=peer["source"]),
    ]
    if peer.get("node_ipv6"):
        source = peer["source_v6"]
        messages += [
            netlink.new_neighbour(index, peer["node_ipv6"], mac),
            netlink.new_route(index, f"{peer['node_ipv6']}/128", source=source),
            netlink.new_route(index, peer["pod_cidr_v6"], gateway=peer["node_ipv6"], source=source),
        ]
    return messages


def mac_of(node_ip: str) -> bytes:
    """Return the MAC of a node's end of the overlay."""
    return b"\x0a\x59" + socket.inet_aton(node_ip)
