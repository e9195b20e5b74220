"""Ask the kernel for the connections that it tracks, and have it forget some. Pure: bytes to send, answers to read.

Layouts: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from proa.network.netfilter.messages import ACK, DUMP, attribute, attributes_in, nested, request, split

_CONNTRACK = 1
_NEW, _GET, _DELETE = 0, 1, 2
_ORIGINAL, _REPLY, _FILTER = 1, 2, 25
_BY_ADDRESS, _BY_PROTOCOL_AND_PORT = 1 << 1, 1 << 3 | 1 << 5
_FAMILIES = {4: 2, 6: 10}
_IP_KINDS = {4: (1, 2), 6: (3, 4)}


class Flow(NamedTuple):
    """A connection: where the client sent it, who answers, and how the kernel names it."""

    address: str
    port: int
    answering: str
    answering_port: int
    family: int
    original: bytes


def ask_for(address: str, protocol: int, port: int) -> bytes:
    """Return a request for the connections to this destination, and maybe others.

    A kernel older than 5.8 answers with all. With IPv6 the address is not asked for: kernels (6.18 is one) then leave
    out just those that have it.
    """
    ip = ipaddress.ip_address(address)
    destination = _IP_KINDS[ip.version][1]
    wanted = nested(
        _ORIGINAL,
        nested(1, attribute(destination, ip.packed)),
        nested(2, attribute(1, bytes([protocol])), attribute(3, struct.pack(">H", port))),
    )
    flags = _BY_PROTOCOL_AND_PORT | (_BY_ADDRESS if ip.version == 4 else 0)
    by = nested(_FILTER, attribute(1, struct.pack("=I", flags)), attribute(2, bytes(4)))
    return request(_CONNTRACK, _GET, DUMP, _FAMILIES[ip.version], wanted + by)


def flows_in(answers: bytes, protocol: int) -> Iterator[Flow]:
    """Yield the connections of that protocol in an answer."""
    for kind, _, body in split(answers):
        if kind != _CONNTRACK << 8 | _NEW:
            continue
        found = attributes_in(body[4:])
        to, back = (_tuple_in(found.get(kind, b"")) for kind in (_ORIGINAL, _REPLY))
        if to is not None and back is not None and to[0] == protocol:
            yield Flow(to[3], to[4], back[1], back[2], body[0], found[_ORIGINAL])


def _tuple_in(data: bytes) -> tuple[int, str, int, str, int] | None:
    """Return protocol, source and its port, destination and its port."""
    parts = attributes_in(data)
    ip, transport = attributes_in(parts.get(1, b"")), attributes_in(parts.get(2, b""))
    source, destination = (ip.get(v4) or ip.get(v6) for v4, v6 in ((1, 3), (2, 4)))
    if not source or not destination or not {1, 2, 3} <= transport.keys():
        return None
    ports = [struct.unpack(">H", transport[kind])[0] for kind in (2, 3)]
    ends = [str(ipaddress.ip_address(packed)) for packed in (source, destination)]
    return transport[1][0], ends[0], ports[0], ends[1], ports[1]


def forget(flows: Iterable[Flow]) -> bytes:
    """Return the requests that have the kernel forget connections; one that has ended by itself is no harm."""
    return b"".join(
        request(_CONNTRACK, _DELETE, ACK, flow.family, nested(_ORIGINAL, flow.original), number)
        for number, flow in enumerate(flows, 1)
    )
