"""Write the nftables rules that hand to the server what pods send to other networks.

Theory of operation. Packets are looked at after services have been translated. What is addressed to this node, or to
the cluster's networks, is none of our business. The rest of TCP and UDP is given (tproxy) to two sockets of the
server's, marked, and by the mark delivered on this node with its destination unchanged: the server reads there where
it was to go. Once a flow has a socket of its own, the kernel finds that one. What the node itself sends comes by again
on `lo` (`divert_outside` in node/noded/network.py), and is treated alike. Nothing else goes out: a ping is refused at
once, and so is what has no way inside (the kernel would refuse the first few only).

The marks and routes are node/noded/network.py's. Follows Documentation/networking/tproxy.rst.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator

from proa.network.netfilter import expressions as do
from proa.network.netfilter.messages import Message
from proa.network.netfilter.tables import PREROUTING, Table
from proa.network.service_rules import IPV4, IPV6

TABLE = Table("proa_outside", IPV4.number)
TABLE_IPV6 = Table("proa_outside", IPV6.number)
MARK = 0x1000000
"""As OUTSIDE_MARK in node/noded/network.py."""
NEVER_OUTSIDE = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
"""This host, links, multicast and what is reserved."""
_AFTER_SERVICES = -90
_LOOPBACK = struct.pack("=I", 1)
_TCP, _UDP = b"\x06", b"\x11"
_NO_ROUTE = 0


def plan(inside: Iterable[str], tcp_port: int = 0, udp_port: int = 0) -> list[Message]:
    """Return what makes the table, in place of any that is there; without ports nothing goes out."""
    return [
        *TABLE.removal(),
        TABLE.add(),
        *(TABLE.chain(name) for name in ("inside", "refuse")),
        TABLE.chain("prerouting", PREROUTING, _AFTER_SERVICES),
        *(TABLE.rule(chain, expressions) for chain, expressions in _rules(inside, tcp_port, udp_port)),
    ]


def plan_ipv6() -> list[Message]:
    """Return what makes the table of IPv6, by which nothing goes out yet: connections are refused at once, so that
    clients go on to IPv4 addresses."""
    to_link = [
        do.load_network(0, IPV6.destination_offset, 2),
        do.mask(0, b"\xff\xc0"),
        do.compare(0, b"\xfe\x80"),
    ]
    return [
        *TABLE_IPV6.removal(),
        TABLE_IPV6.add(),
        TABLE_IPV6.chain("refuse"),
        TABLE_IPV6.chain("prerouting", PREROUTING, _AFTER_SERVICES),
        TABLE_IPV6.rule("prerouting", [*to_link, do.decide(do.ACCEPT)]),
        TABLE_IPV6.rule("prerouting", [*do.is_for_nobody(0), do.decide(do.GOTO, "refuse")]),
        TABLE_IPV6.rule("refuse", [*_is_protocol(_TCP), do.reset()]),
        TABLE_IPV6.rule("refuse", [do.refuse(_NO_ROUTE)]),
    ]


def _rules(inside: Iterable[str], tcp_port: int, udp_port: int) -> Iterator[tuple[str, list[bytes]]]:
    for network in map(ipaddress.ip_network, sorted({*inside, *NEVER_OUTSIDE})):
        is_there = [
            do.load_network(0, IPV4.destination_offset, IPV4.address.length),
            do.mask(0, network.netmask.packed),
            do.compare(0, network.network_address.packed),
        ]
        yield "prerouting", [*do.is_for_another(1), *is_there, do.decide(do.GOTO, "inside")]
    for protocol, port in ((_TCP, tcp_port), (_UDP, udp_port)):
        if port:
            taken = [*do.give_to_port(1, IPV4.number, port), *do.set_mark(1, MARK), do.decide(do.ACCEPT)]
            yield "prerouting", [*do.is_for_another(1), *_is_protocol(protocol), *taken]
    yield "prerouting", [*do.is_for_another(1), do.decide(do.GOTO, "refuse")]
    yield "inside", [*_is_from_here(), do.decide(do.GOTO, "refuse")]
    yield "inside", [*do.has_no_route(0), do.decide(do.GOTO, "refuse")]
    yield "refuse", [*_is_from_here(), *_is_protocol(_TCP), do.reset()]
    yield "refuse", [do.refuse(_NO_ROUTE)]


def _is_from_here() -> list[bytes]:
    return [do.load_interface(0), do.compare(0, _LOOPBACK)]


def _is_protocol(number: bytes) -> list[bytes]:
    return [do.load_protocol(0), do.compare(0, number)]
