"""Say which elements of nftables' sets a service port is, and how one state of a set becomes another: pure.

The sets are service_rules.py's. An element that several services have (two with the same externalIP and port) is the
first one's, and the next one's when that goes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from proa.network.data_path import Endpoint, ServiceKey, ServicePort
from proa.network.netfilter.expressions import GOTO, value, verdict
from proa.network.netfilter.messages import (
    CREATE,
    DELETE_ELEMENTS,
    NEW_ELEMENTS,
    Message,
    items,
    nested,
    text,
)
from proa.network.service_rules import (
    LOCAL_OFFSET,
    TABLE,
    Family,
    Plan,
    element_key,
    number_bytes,
    plan_name,
    port_bytes,
)

_VERDICT_MAPS = ("services", "outside")
_ELEMENTS_A_MESSAGE = 400
"""A list of elements is one attribute, which has at most 64 KiB."""


class Key(NamedTuple):
    """An element: its set, and its key, the last one of an interval."""

    set: str
    key: bytes
    last: bytes = b""


Elements = dict[Key, bytes]
"""What each element of a map leads to (a verdict is encoded already); b"" for those of sets."""
NumberOf = Callable[[Plan], int]
Orders = dict[tuple[str, str, str], tuple[Endpoint, ...]]
"""In which order a service's endpoints are numbered: by port name, protocol, and for whom they are."""


def order_of(before: Sequence[Endpoint], now: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Return the endpoints of now in an order in which as few as can be have another number than before."""
    wanted = set(now)
    kept = [endpoint if endpoint in wanted else None for endpoint in before]
    new = [endpoint for endpoint in now if endpoint not in set(before)]
    while None in kept:
        hole = kept.index(None)
        if new:
            kept[hole] = new.pop(0)
        else:
            last = kept.pop()
            if hole < len(kept):
                kept[hole] = last
    return tuple([endpoint for endpoint in kept if endpoint is not None] + new)


def elements_of(
    family: Family, ports: Iterable[ServicePort], number_of: NumberOf, before: Orders
) -> tuple[Elements, Orders]:
    """Return a service's elements, and the order that its endpoints have in them."""
    found: Elements = {}
    orders: Orders = {}
    for port in ports:
        if port.family == family.name:
            _Port(family, port, number_of, before, orders, found).add()
    return found, orders


class _Port:
    """One port being written down: `add` puts its elements into `found`, its order into `orders`."""

    def __init__(
        self,
        family: Family,
        port: ServicePort,
        number_of: NumberOf,
        before: Orders,
        orders: Orders,
        found: Elements,
    ) -> None:
        self._family = family
        self._port = port
        self._number_of = number_of
        self._before = before
        self._orders = orders
        self._found = found

    def add(self) -> None:
        port = self._port
        for address in port.addresses:
            key = self._key(address, port.port)
            self._lead("services", key, "inside", port.endpoints, Plan(len(port.endpoints)))
        for address in (*port.external_addresses, *port.balancer_addresses, *port.host_addresses):
            self._lead_external(self._key(address, port.port), is_node_port=False)
        if port.node_port:
            self._lead_external(self._key("", port.node_port), is_node_port=True)
        for address in port.balancer_addresses if port.source_ranges else ():
            self._guard(self._key(address, port.port))
        for endpoint in {*port.endpoints, *port.node_port_endpoints, *port.cluster_endpoints}:
            self._found[Key("hairpins", ipaddress.ip_address(endpoint.address).packed * 2)] = b""

    def _key(self, address: str, number: int) -> bytes:
        return element_key(self._family, self._port.protocol, address, number)

    def _lead_external(self, key: bytes, *, is_node_port: bool) -> None:
        port, to_outside = self._port, self._port.node_port_endpoints
        plan = Plan(len(to_outside), 0, is_node_port, not port.is_external_local)
        if not port.is_external_local:
            self._lead("services", key, "outside", to_outside, plan)
            return
        everywhere = port.cluster_endpoints
        self._lead("services", key, "cluster", everywhere, plan._replace(size=len(everywhere)))
        self._lead("outside", key, "outside", to_outside, plan._replace(offset=LOCAL_OFFSET))

    def _lead(self, map: str, key: bytes, kind: str, endpoints: Sequence[Endpoint], plan: Plan) -> None:
        port = self._port
        if not endpoints:
            is_served = port.endpoints or port.node_port_endpoints or port.cluster_endpoints
            self._found[Key("dropped" if is_served else "refused", key)] = b""
            return
        number = self._number_of(plan._replace(affinity_seconds=port.affinity_seconds))
        self._found[Key(map, key)] = verdict(GOTO, plan_name(number))
        name = (port.name, port.protocol, kind)
        order = self._orders[name] = order_of(self._before.get(name, ()), endpoints)
        for index, endpoint in enumerate(order, plan.offset):
            target = ipaddress.ip_address(endpoint.address).packed + port_bytes(endpoint.port)
            self._found[Key("endpoints", key + number_bytes(index))] = target
            if port.affinity_seconds:
                self._found[Key("live", key + target)] = b""

    def _guard(self, key: bytes) -> None:
        self._found[Key("guarded", key)] = b""
        for cidr in self._port.source_ranges:
            network = ipaddress.ip_network(cidr, strict=False)
            if network.version == self._family.version:
                first, last = network.network_address.packed, network.broadcast_address.packed
                self._found[Key("allowed", key + first, key + last)] = b""


class Claims:
    """Which service each element is of; the first that asks has it."""

    def __init__(self) -> None:
        self._claims: dict[Key, tuple[tuple[ServiceKey, bytes], ...]] = {}

    def change(self, changes: Mapping[ServiceKey, tuple[Elements, Elements]]) -> tuple[Elements, Elements]:
        """Note what services had and have; return the elements that go, and those that come (or change)."""
        before: dict[Key, bytes | None] = {}
        for service, (old, new) in changes.items():
            for key in old.keys() | new.keys():
                if old.get(key) == new.get(key):
                    continue
                claims = self._claims.get(key, ())
                before.setdefault(key, claims[0][1] if claims else None)
                self._claims[key] = _with_claim(claims, service, new.get(key))
        removed: Elements = {}
        added: Elements = {}
        for key, was in before.items():
            claims = self._claims[key]
            now = claims[0][1] if claims else None
            if not claims:
                del self._claims[key]
            if was == now:
                continue
            if was is not None:
                removed[key] = was
            if now is not None:
                added[key] = now
        return removed, added


def _with_claim(
    claims: tuple[tuple[ServiceKey, bytes], ...], service: ServiceKey, data: bytes | None
) -> tuple[tuple[ServiceKey, bytes], ...]:
    if data is None:
        return tuple(claim for claim in claims if claim[0] != service)
    if any(claim[0] == service for claim in claims):
        return tuple((owner, data if owner == service else theirs) for owner, theirs in claims)
    return (*claims, (service, data))


def messages_of(family: Family, removed: Elements, added: Elements) -> list[Message]:
    """Return what brings a table from some elements to others, in an order that is right at every step.

    New endpoints come before the plans that count them; what is removed goes last.
    """
    replaced = removed.keys() & added.keys()
    rank = {"endpoints": 0, "live": 0}
    coming = sorted(
        (key for key in added if key not in replaced), key=lambda key: (rank.get(key.set, 1), key.set)
    )
    changing = sorted(replaced, key=lambda key: key.set)
    going = sorted((key for key in removed if key not in replaced), key=lambda key: key.set)
    messages: list[Message] = []
    messages += _in_lists(family, NEW_ELEMENTS, coming, added)
    for some in _split(changing):
        messages += _in_lists(family, DELETE_ELEMENTS, some, {})
        messages += _in_lists(family, NEW_ELEMENTS, some, added)
    messages += _in_lists(family, DELETE_ELEMENTS, going, {})
    return messages


def _in_lists(family: Family, kind: int, keys: Sequence[Key], data: Elements) -> Iterator[Message]:
    for some in _split(keys):
        name = some[0].set
        entries = items(3, (_element(key, data.get(key, b"")) for key in some))
        doing = f"{'add to' if kind == NEW_ELEMENTS else 'delete from'} {name}"
        flags = CREATE if kind == NEW_ELEMENTS else 0
        yield Message(kind, flags, family.number, text(1, TABLE) + text(2, name) + entries, doing)


def _split(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Yield runs of elements of one set, none too long."""
    begin = 0
    for end in range(1, len(keys) + 1):
        if end == len(keys) or keys[end].set != keys[begin].set or end - begin == _ELEMENTS_A_MESSAGE:
            yield keys[begin:end]
            begin = end


def _element(key: Key, data: bytes) -> bytes:
    encoded = nested(1, value(key.key))
    if key.last:
        encoded += nested(10, value(key.last))
    if not data:
        return encoded
    return encoded + nested(2, data if key.set in _VERDICT_MAPS else value(data))
