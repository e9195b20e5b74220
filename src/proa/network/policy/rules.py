"""Write what one node's policies must be as nftables messages: few changes for a change. Pure.

Theory of operation. A table of a family (`ip`, `ip6`) has a map for each direction from a local pod's address to the
chain of its selection (`out`, `in`), and a set for each group. Packets are looked at after services have been
translated: what pods send to one another is forwarded, what they send to the node, its DNS, or other networks (which
end here, outside/rules.py) comes in. Replies pass, and so does what a pod sends to itself; then the sender's way out is
judged, then the receiver's way in. A selection's chain accepts what its rules allow and drops the rest; accepting ends
one direction only, for each has a chain of the hook's.

What a node sends to its own pods (probes, pods on the node's network) is never judged, nor what pods send to their
node; but the cluster's DNS and API, which other clusters have elsewhere, are judged though they are here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence

from proa.network.netfilter import expressions as do
from proa.network.netfilter.messages import Message
from proa.network.netfilter.tables import (
    FORWARD,
    INPUT,
    IPV4_ADDRESS,
    IPV6_ADDRESS,
    PORT,
    PROTOCOL,
    Table,
    element,
    port_key,
    protocol_key,
)
from proa.network.policy.compiled import EGRESS, MAX_PORT, Block, Group, NamedPort, Pods, Ports, Rule
from proa.network.policy.members import Member
from proa.network.policy.state import Changes, Judged, Place
from proa.network.service_rules import FAMILIES, Family

NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_EGRESS_PRIORITY, _INGRESS_PRIORITY = -6, -5
_ICMPV6 = b"\x3a"
_MAPS = {"Ingress": "in", "Egress": "out"}

Step = list[Message]
"""Messages of which all or none must be so at any time."""


class PolicyTable:
    """One family's table by this name, and what things are called in it."""

    def __init__(self, family: str, name: str) -> None:
        self._family = FAMILIES[family]
        self._address = IPV4_ADDRESS if self._family.version == 4 else IPV6_ADDRESS
        self.table = Table(name, self._family.number)
        self._groups: dict[Group, str] = {}
        self._selections: dict[Judged, str] = {}
        self._chains: dict[Judged, list[str]] = {}
        self._judged: dict[str, set[str]] = {}
        self._made = 0

    @property
    def version(self) -> int:
        """4 or 6."""
        return self._family.version

    def base(self, judged_here: Iterable[str]) -> Step:
        """Return what makes a table in which nobody is judged. `judged_here` are addresses of this node that do not
        count as its own."""
        table, family = self.table, self._family
        egress, known = _judge(family, EGRESS), [*do.is_known(0), do.decide(do.ACCEPT)]
        ingress = _judge(family, "Ingress")
        both = [_load_source(family, 0), _load_destination(family, family.words)]
        to_itself = [*both, do.look_up("selves", 0), do.decide(do.ACCEPT)]
        own = [*do.is_for_here(0), _load_destination(family, 0)]
        own += [do.compare(0, ip.packed, do.NOT_EQUAL) for ip in map(ipaddress.ip_address, judged_here)]
        rules = {
            "out_forward": [known, to_itself, egress],
            "in_forward": [known, to_itself, ingress],
            "out_input": [known, [*own, do.decide(do.ACCEPT)], egress],
        }
        if family.version == 6:  # neighbours are found by ICMP
            rules["out_input"].insert(0, [do.load_protocol(0), do.compare(0, _ICMPV6), do.decide(do.ACCEPT)])
        return [
            *table.removal(),
            table.add(),
            table.set(1, "in", [self._address], verdicts=True),
            table.set(2, "out", [self._address], verdicts=True),
            table.set(3, "selves", [self._address, self._address]),
            table.chain("out_forward", FORWARD, _EGRESS_PRIORITY),
            table.chain("in_forward", FORWARD, _INGRESS_PRIORITY),
            table.chain("out_input", INPUT, _EGRESS_PRIORITY),
            *(table.rule(chain, expressions) for chain, found in rules.items() for expressions in found),
        ]

    def steps(self, changes: Changes) -> Iterator[Step]:
        """Yield what carries out the changes, step by step."""
        for group in changes.new_groups:
            yield [self._new_group(group)]
        yield from self._members(changes)
        for judged in changes.new_selections:
            yield self._new_selection(judged)
        for place, (was, now) in changes.places.items():
            if self._is_ours(place.address):
                yield self._place(place, was, now)
        for judged in changes.gone_selections:
            del self._selections[judged]
            yield [self.table.no_chain(name) for name in self._chains.pop(judged)]
        for group in changes.gone_groups:
            yield [self.table.no_set(self._groups.pop(group))]

    def _new_group(self, group: Group) -> Message:
        self._made += 1
        name = self._groups[group] = f"group_{self._made}"
        key = [self._address, PROTOCOL, PORT] if isinstance(group, NamedPort) else [self._address]
        return self.table.set(self._made, name, key)

    def _members(self, changes: Changes) -> Iterator[Step]:
        for group, members in changes.added.items():
            for message in self.table.add_elements(self._groups[group], self._elements(members)):
                yield [message]
        for group, members in changes.removed.items():
            for message in self.table.delete_elements(self._groups[group], self._elements(members)):
                yield [message]

    def _elements(self, members: Iterable[Member]) -> list[bytes]:
        found = sorted(member for member in members if member.version == self._family.version)
        return [element(_member_key(member)) for member in found]

    def _new_selection(self, judged: Judged) -> Step:
        self._made += 1
        name = self._selections[judged] = f"selection_{self._made}"
        chains = self._chains[judged] = [name]
        messages = [self.table.chain(name)]
        for rules in sorted(judged.selection, key=repr):
            for rule in rules:
                messages += self._rule(judged.direction, rule, chains)
        return [*messages, self.table.rule(name, [do.decide(do.DROP)])]

    def _rule(self, direction: str, rule: Rule, chains: list[str]) -> Iterator[Message]:
        """Yield the messages of one `from` or `to`: peers first, then (in a chain of their own) ports."""
        name = chains[0]
        if direction == EGRESS:
            for named in rule.named:
                yield from self._named_egress(name, rule, named)
        ports = None if rule.ports is None and not rule.named else [*map(self._port, rule.ports or ())]
        if ports is not None and direction != EGRESS:
            ports += [self._named(named) for named in rule.named]
        peers = (
            [[]] if rule.peers is None else [*filter(None, (self._peer(direction, p) for p in rule.peers))]
        )
        if ports is not None and len(ports) > 1 and len(peers) > 1:
            inner = f"{name}_{len(chains)}"
            chains.append(inner)
            yield self.table.chain(inner)
            for port in ports:
                yield self.table.rule(inner, [*port, do.decide(do.ACCEPT)])
            for peer in peers:
                yield self.table.rule(name, [*peer, do.decide(do.JUMP, inner)])
            return
        for peer in peers:
            for port in [[]] if ports is None else ports:
                yield self.table.rule(name, [*peer, *port, do.decide(do.ACCEPT)])

    def _named_egress(self, name: str, rule: Rule, named: NamedPort) -> Iterator[Message]:
        """A port by name at those peers that have one: pods, also those in a block."""
        found = [*self._named(named), do.decide(do.ACCEPT)]
        if rule.peers is None or named.pods in rule.peers:
            yield self.table.rule(name, found)
            return
        for peer in rule.peers:
            if isinstance(peer, Block) and (matched := self._peer(EGRESS, peer)):
                yield self.table.rule(name, [*matched, *found])

    def _peer(self, direction: str, peer: Pods | Block) -> list[bytes]:
        """Return what goes on only with this peer; nothing for one of the other family."""
        family = self._family
        loaded = _load_destination(family, 0) if direction == EGRESS else _load_source(family, 0)
        if isinstance(peer, Pods):
            return [loaded, do.look_up(self._groups[peer], 0)]
        if peer.network.version != family.version:
            return []
        found = [loaded, *_is_in_network(peer.network)]
        for network in peer.excluded:
            if network.version == family.version:
                found += [loaded, *_is_in_network(network, do.NOT_EQUAL)]
        return found

    def _port(self, ports: Ports) -> list[bytes]:
        found = [do.load_protocol(0), do.compare(0, bytes([NUMBERS[ports.protocol]]))]
        if (ports.first, ports.last) == (0, MAX_PORT):
            return found
        found.append(do.load_destination_port(0))
        first, last = (port.to_bytes(2, "big") for port in (ports.first, ports.last))
        if first == last:
            return [*found, do.compare(0, first)]
        return [*found, do.compare(0, first, do.AT_LEAST), do.compare(0, last, do.AT_MOST)]

    def _named(self, named: NamedPort) -> list[bytes]:
        words = self._family.words
        return [
            _load_destination(self._family, 0),
            do.load_protocol(words),
            do.load_destination_port(words + 1),
            do.look_up(self._groups[named], 0),
        ]

    def _place(self, place: Place, was: Judged | None, now: Judged | None) -> Step:
        key, name = ipaddress.ip_address(place.address).packed, _MAPS[place.direction]
        directions = self._judged.setdefault(place.address, set())
        was_judged = bool(directions)
        (directions.discard if now is None else directions.add)(place.direction)
        messages: Step = []
        if was is not None:
            messages += self.table.delete_elements(name, [element(key)])
        if now is not None:
            verdict = do.verdict(do.GOTO, self._selections[now])
            messages += self.table.add_elements(name, [element(key, verdict)])
        if was_judged and not directions:
            messages += self.table.delete_elements("selves", [element(key + key)])
        elif directions and not was_judged:
            messages = [*self.table.add_elements("selves", [element(key + key)]), *messages]
        if not directions:
            del self._judged[place.address]
        return messages

    def _is_ours(self, address: str) -> bool:
        return (6 if ":" in address else 4) == self._family.version


def _judge(family: Family, direction: str) -> list[bytes]:
    loaded = _load_source(family, 0) if direction == EGRESS else _load_destination(family, 0)
    return [loaded, do.look_up_verdict(_MAPS[direction], 0)]


def _load_source(family: Family, register: int) -> bytes:
    return do.load_network(register, family.source_offset, family.address.length)


def _load_destination(family: Family, register: int) -> bytes:
    return do.load_network(register, family.destination_offset, family.address.length)


def _is_in_network(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network, how: int = do.EQUAL
) -> list[bytes]:
    return [do.mask(0, network.netmask.packed), do.compare(0, network.network_address.packed, how)]


def _member_key(member: Member) -> bytes:
    packed = ipaddress.ip_address(member.address).packed
    if not member.protocol:
        return packed
    return packed + protocol_key(NUMBERS[member.protocol]) + port_key(member.port)


def transactions(steps: Iterable[Step], max_bytes: int) -> Iterator[Sequence[Message]]:
    """Yield steps in as few transactions as they fit into."""
    pending: Step = []
    size = 0
    for step in steps:
        length = sum(len(message.attributes) + 24 for message in step)
        if pending and size + length > max_bytes:
            yield pending
            pending, size = [], 0
        pending += step
        size += length
    if pending:
        yield pending
