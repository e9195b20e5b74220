"""Say which nftables rules carry services: tables, sets and chains, few and the same however many services there are.

Theory of operation. All that is one service's is elements of sets and maps (service_elements.py), so that a change
costs what changes. The table `proa` of a family (`ip`, `ip6`) has

- `services`: (protocol, address, port) -> the chain of a plan; a NodePort has the address 0. `outside` is asked first
  for what comes from outside of the cluster, where a service's policy is Local. A plan says how many endpoints there
  are, where their numbers begin, whether to masquerade, and for how long a client stays with its endpoint (ClientIP
  affinity): services share plans.
- `endpoints`: (protocol, address, port, number) -> the endpoint's address and port.
- `affinity`: (client, protocol, address, port) -> endpoint, filled by the rules themselves, counts only as long as
  `live` has the endpoint.
- `hairpins`: (pod, pod): what a pod sends to itself through a service is masqueraded.
- `refused` and `dropped`: (protocol, address, port) that nobody, or nobody for those outside, serves.
- `guarded`, `allowed`: (protocol, address, port) of load balancers, and with which clients' networks they may be used.

A packet's parts are always in the same registers, so that each key is a run of them: client, protocol, address, port,
endpoint or number, its port. Chains hook in at nat prerouting and output (-100), nat postrouting (100), filter input,
forward and output (0), and filter prerouting and output (-110, for `guarded`). Follows pkg/proxy/nftables/proxier.go.
The kernel can do more than nft can say: `nft list` before 1.1 aborts at the rules of affinity.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from proa.network.netfilter import expressions as do
from proa.network.netfilter.messages import (
    APPEND,
    CREATE,
    DELETE_TABLE,
    NEW_CHAIN,
    NEW_RULE,
    NEW_SET,
    NEW_TABLE,
    Message,
    items,
    nested,
    text,
    u32,
)
from proa.objects.quick_dataclass import dataclass

TABLE = "proa"
MASQUERADE_MARK = 0x4000
LOCAL_OFFSET = 1 << 20
"""Where the numbers of endpoints begin that are for those outside of the cluster only."""
MAX_REMEMBERED_CLIENTS = 65536
_INTERVAL, _MAP, _TIMEOUT, _EVAL, _CONCATENATED = 0x4, 0x8, 0x10, 0x20, 0x80
_VERDICTS = 0xFFFFFF00
_PREROUTING, _INPUT, _FORWARD, _OUTPUT, _POSTROUTING = range(5)
_TCP = b"\x06"
_LOOPBACK = struct.pack("=I", 1)


class Plan(NamedTuple):
    """How an endpoint is chosen: one of `size`, numbered from `offset` on; see above."""

    size: int
    offset: int = 0
    is_node_port: bool = False
    masquerades: bool = False
    affinity_seconds: int = 0


class _Type(NamedTuple):
    """A type of nft's: its number there, and bytes."""

    number: int
    length: int


_PROTOCOL, _PORT, _MARK = _Type(12, 1), _Type(13, 2), _Type(19, 4)
"""A number is a mark: nft lists no set of plain integers, and aborts."""


@dataclass(frozen=True, slots=True)
class Family:
    """An address family as netfilter sees it: its number, where a header has the addresses, and their type."""

    name: str
    number: int
    source_offset: int
    destination_offset: int
    address: _Type
    port_unreachable: int

    @property
    def version(self) -> int:
        """The family as `ipaddress` has it."""
        return 4 if self.address.length == 4 else 6

    @property
    def words(self) -> int:
        """How many registers an address takes."""
        return self.address.length // 4


IPV4 = Family("IPv4", 2, 12, 16, _Type(7, 4), 3)
IPV6 = Family("IPv6", 10, 8, 24, _Type(8, 16), 4)
FAMILIES = {family.name: family for family in (IPV4, IPV6)}


class _Registers(NamedTuple):
    """Where a packet's parts are."""

    client: int
    protocol: int
    address: int
    port: int
    endpoint: int
    endpoint_port: int


def _registers(family: Family) -> _Registers:
    words = family.words
    return _Registers(0, words, words + 1, 2 * words + 1, 2 * words + 2, 3 * words + 2)


def base(family: Family, node_ip: str, cluster_cidr: str) -> list[Message]:
    """Return what makes an empty data path, replacing any that is there. "" as `cluster_cidr` is every network."""
    table = text(1, TABLE)
    return [
        *removal(family),
        Message(NEW_TABLE, CREATE, family.number, table, "add table"),
        *_sets(family),
        *_chains(family),
        *(_rule(family, chain, expressions) for chain, expressions in _rules(family, node_ip, cluster_cidr)),
    ]


def removal(family: Family) -> list[Message]:
    """Return what removes the data path, whether there is one or not."""
    table = text(1, TABLE)
    return [
        Message(NEW_TABLE, CREATE, family.number, table, "add table"),
        Message(DELETE_TABLE, 0, family.number, table, "delete table"),
    ]


def _sets(family: Family) -> Iterator[Message]:
    where = (_PROTOCOL, family.address, _PORT)
    target = (family.address, _PORT)
    yield _set(family, 1, "services", where, verdicts=True)
    yield _set(family, 2, "outside", where, verdicts=True)
    yield _set(family, 3, "endpoints", (*where, _MARK), data=target)
    yield _set(
        family,
        4,
        "affinity",
        (family.address, *where),
        data=target,
        flags=_TIMEOUT | _EVAL,
        size=MAX_REMEMBERED_CLIENTS,
    )
    yield _set(family, 5, "live", (*where, *target))
    yield _set(family, 6, "hairpins", (family.address, family.address))
    yield _set(family, 7, "refused", where)
    yield _set(family, 8, "dropped", where)
    yield _set(family, 9, "guarded", where)
    yield _set(family, 10, "allowed", (*where, family.address), flags=_INTERVAL)


def _set(
    family: Family,
    number: int,
    name: str,
    key: Sequence[_Type],
    *,
    data: Sequence[_Type] = (),
    verdicts: bool = False,
    flags: int = 0,
    size: int = 0,
) -> Message:
    flags |= _MAP if data or verdicts else 0
    flags |= _CONCATENATED if len(key) > 1 and flags & _INTERVAL else 0
    described = u32(1, size) if size else b""
    if flags & _CONCATENATED:
        described += items(2, (u32(1, part.length) for part in key))
    parts = [text(1, TABLE), text(2, name), u32(3, flags), u32(4, _type_of(key)), u32(5, _length_of(key))]
    if verdicts:
        parts += [u32(6, _VERDICTS), u32(7, 16)]
    elif data:
        parts += [u32(6, _type_of(data)), u32(7, _length_of(data))]
    parts += [nested(9, described)] if described else []
    return Message(NEW_SET, CREATE, family.number, b"".join((*parts, u32(10, number))), f"add set {name}")


def _type_of(parts: Sequence[_Type]) -> int:
    number = 0
    for part in parts:
        number = number << 6 | part.number
    return number


def _length_of(parts: Sequence[_Type]) -> int:
    return sum((part.length + 3) & ~3 for part in parts)


def _chains(family: Family) -> Iterator[Message]:
    for name in ("choose", "choose_outside", "check", "refuse", "guard"):
        yield _chain(family, name)
    for name, kind, hook, priority in (
        ("prerouting", "nat", _PREROUTING, -100),
        ("output", "nat", _OUTPUT, -100),
        ("postrouting", "nat", _POSTROUTING, 100),
        ("filter_input", "filter", _INPUT, 0),
        ("filter_forward", "filter", _FORWARD, 0),
        ("filter_output", "filter", _OUTPUT, 0),
        ("guard_prerouting", "filter", _PREROUTING, -110),
        ("guard_output", "filter", _OUTPUT, -110),
    ):
        yield _chain(family, name, nested(4, u32(1, hook), u32(2, priority)) + text(7, kind))


def _chain(family: Family, name: str, hook: bytes = b"") -> Message:
    attributes = text(1, TABLE) + text(3, name) + hook
    return Message(NEW_CHAIN, CREATE, family.number, attributes, f"add chain {name}")


def _rule(family: Family, chain: str, expressions: Sequence[bytes]) -> Message:
    attributes = text(1, TABLE) + text(2, chain) + items(4, expressions)
    return Message(NEW_RULE, CREATE | APPEND, family.number, attributes, f"add rule to {chain}")


def _rules(family: Family, node_ip: str, cluster_cidr: str) -> Iterator[tuple[str, list[bytes]]]:
    at = _registers(family)
    own = ipaddress.ip_address(node_ip).packed
    direct, by_node_port = _load_key(family), _load_node_port_key(family, own)
    from_outside = _comes_from_outside(family, own, cluster_cidr)
    for key in (direct, by_node_port):
        yield "choose_outside", [*from_outside, *key, do.look_up_verdict("outside", at.protocol)]
        dropped = [do.look_up("dropped", at.protocol), do.decide(do.ACCEPT)]
        yield "choose_outside", [*from_outside, *key, *dropped]  # not those that are for who is inside
    for key in (direct, by_node_port):
        yield "choose", [*key, do.look_up_verdict("services", at.protocol)]
    yield "prerouting", [do.decide(do.JUMP, "choose_outside")]
    yield "prerouting", [do.decide(do.JUMP, "choose")]
    yield "output", [do.decide(do.JUMP, "choose")]
    yield "postrouting", [*do.has_mark(0, MASQUERADE_MARK), do.masquerade()]
    both = [
        _load_client(family),
        do.load_network(at.protocol, family.destination_offset, family.address.length),
    ]
    yield "postrouting", [*both, do.look_up("hairpins", at.client), do.masquerade()]
    for key in (direct, by_node_port):
        yield "check", [*key, do.look_up("refused", at.protocol), do.decide(do.GOTO, "refuse")]
        yield "check", [*key, do.look_up("dropped", at.protocol), do.decide(do.DROP)]
    yield "refuse", [do.load_protocol(at.protocol), do.compare(at.protocol, _TCP), do.reset()]
    yield "refuse", [do.refuse(family.port_unreachable)]
    for name in ("filter_input", "filter_forward", "filter_output"):
        yield name, [*do.is_new(0), do.decide(do.JUMP, "check")]
    guarded = [*direct, do.look_up("guarded", at.protocol)]
    client = do.load_network(at.endpoint, family.source_offset, family.address.length)
    yield "guard", [*guarded, client, do.look_up("allowed", at.protocol), do.decide(do.ACCEPT)]
    yield "guard", [*guarded, do.decide(do.DROP)]
    if family.version == 4:
        yield "guard_prerouting", [*_is_for_loopback_from_elsewhere(family), do.decide(do.DROP)]
    for name in ("guard_prerouting", "guard_output"):
        yield name, [*do.is_new(0), do.decide(do.JUMP, "guard")]


def _is_for_loopback_from_elsewhere(family: Family) -> list[bytes]:
    """Go on only with what no honest neighbour sends; route_localnet would have it delivered (CVE-2020-8558)."""
    return [
        do.load_network(0, family.destination_offset, 1),
        do.compare(0, b"\x7f"),
        do.load_interface(0),
        do.compare(0, _LOOPBACK, do.NOT_EQUAL),
    ]


def _load_client(family: Family) -> bytes:
    return do.load_network(_registers(family).client, family.source_offset, family.address.length)


def _load_key(family: Family) -> list[bytes]:
    at = _registers(family)
    return [
        do.load_protocol(at.protocol),
        do.load_network(at.address, family.destination_offset, family.address.length),
        do.load_destination_port(at.port),
    ]


def _load_node_port_key(family: Family, own: bytes) -> list[bytes]:
    """Go on only with what is for the node's own address, which a NodePort's key has not."""
    at = _registers(family)
    protocol, address, port = _load_key(family)
    return [address, do.compare(at.address, own), protocol, do.load(at.address, bytes(len(own))), port]


def _comes_from_outside(family: Family, own: bytes, cluster_cidr: str) -> list[bytes]:
    network = ipaddress.ip_network(cluster_cidr)
    client = _load_client(family)
    return [
        client,
        do.compare(0, own, do.NOT_EQUAL),
        do.mask(0, network.netmask.packed),
        do.compare(0, network.network_address.packed, do.NOT_EQUAL),
    ]


def plan_chain(family: Family, number: int, plan: Plan) -> list[Message]:
    """Return what makes a plan's chain."""
    name = plan_name(number)
    rules = [_rule(family, name, expressions) for expressions in _plan_rules(family, plan)]
    return [_chain(family, name), *rules]


def plan_name(number: int) -> str:
    """Return what a plan's chain is called."""
    return f"plan_{number}"


def _plan_rules(family: Family, plan: Plan) -> Iterator[list[bytes]]:
    at = _registers(family)
    key = _load_key(family)
    if plan.is_node_port:
        key[1] = do.load(at.address, bytes(family.address.length))
    chosen = [
        *key,
        do.choose(at.endpoint, plan.size, plan.offset),
        do.look_up("endpoints", at.protocol, at.endpoint),
    ]
    goes = do.translate(family.number, at.endpoint, at.endpoint_port)
    if plan.masquerades:
        yield do.set_mark(0, MASQUERADE_MARK)
    if seconds := plan.affinity_seconds:
        known = [do.look_up("affinity", at.client, at.endpoint), do.look_up("live", at.protocol)]
        again = do.remember("affinity", at.client, at.endpoint, seconds)
        yield [_load_client(family), *key, *known, again, goes]
        yield [_load_client(family), *chosen, do.forget("affinity", at.client, at.endpoint), again, goes]
    yield [*chosen, goes]


def element_key(family: Family, protocol: str, address: str, port: int) -> bytes:
    """Return (protocol, address, port) as sets have it; "" is a NodePort's address."""
    number = {"TCP": 6, "UDP": 17}[protocol]
    packed = ipaddress.ip_address(address).packed if address else bytes(family.address.length)
    return struct.pack("=Bxxx", number) + packed + port_bytes(port)


def port_bytes(port: int) -> bytes:
    """Return a port as sets have it."""
    return struct.pack(">Hxx", port)


def number_bytes(number: int) -> bytes:
    """Return a number, or a mark, as sets have it."""
    return struct.pack("=I", number)
