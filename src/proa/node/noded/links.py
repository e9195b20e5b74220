"""Keep a wire between this node's network and another's on this machine, and the routes to the pods behind it.

A wire is a veth pair, `linkN` towards node N, with no address of its own: each end routes the other node's address, and
its pods by way of that. When a node ends, its ends go, the other ends with them, and the routes: what is sent there
then fails at once.
"""

from __future__ import annotations

import contextlib

from proa.node.noded import ipv6, linux, netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    End = dict[str, Any]
    """A node: its `number`, `node_ip` and `pod_cidr`, and where it has IPv6 `node_ipv6` and `pod_cidr_v6`."""


def link(route: netlink.Rtnetlink, home: int, far_namespace: int, here: End, there: End) -> None:
    """Wire `here` (whose namespace is `home`, and `route` a socket of it) to `there`; what is wired is left alone."""
    near_name, far_name = f"link{there['number']}", f"link{here['number']}"
    with linux.entered(far_namespace, home):
        far_route = netlink.Rtnetlink()
    try:
        near, far = route.find_link(near_name), far_route.find_link(far_name)
        if near is not None and far is not None and near == far[::-1]:
            return
        if near is not None:  # its other end is not there: a leftover
            route.send([netlink.delete_link(near_name)])
        if far is not None and far_route.find_link(far_name) is not None:
            far_route.send([netlink.delete_link(far_name)])
        try:
            _make(route, far_route, far_namespace, here, there)
        except OSError:
            with contextlib.suppress(OSError):
                route.send([netlink.delete_link(near_name)])
            raise
    finally:
        far_route.close()


def _make(
    route: netlink.Rtnetlink, far_route: netlink.Rtnetlink, far_namespace: int, here: End, there: End
) -> None:
    near_name, far_name = f"link{there['number']}", f"link{here['number']}"
    route.send([netlink.new_veth(near_name, far_name, peer_namespace=far_namespace, master=None)])
    far = far_route.link_index(far_name) or 0
    far_route.send([netlink.link_up(far), *_routes(far, there, here)])
    route.send(_routes(route.link_index(near_name) or 0, here, there))


def _routes(index: int, here: End, there: End) -> list[netlink.Message]:
    address, source = there["node_ip"], here["node_ip"]
    return [
        netlink.new_route(index, f"{address}/32", scope=netlink.SCOPE_LINK, source=source),
        netlink.new_route(index, there["pod_cidr"], gateway=address, source=source),
        *ipv6.link_routes(index, here, there),
    ]
