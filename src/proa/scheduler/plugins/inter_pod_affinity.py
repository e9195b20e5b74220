"""Put pods near those they ask for, and away from those that either side cannot stand (plugins/interpodaffinity).

Required terms are a filter, on both sides for anti-affinity; preferred ones of both sides, and those that pods on
nodes require of pods like this one, are a score. "Near" means the same value of a term's label.

Theory of operation. Each term, the pod's own or that of pods on nodes which mean this one, is a `_Line`: a tally of
how many such pods each node has, added up over the domains of the term's label. A node's key has, for each label,
its domain, or, where every domain is one node (kubernetes.io/hostname), the numbers themselves, so that the nodes
with equal numbers are judged together.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass
from proa.scheduler.census import Tally, TermTally
from proa.scheduler.framework import MAX_SCORE, Code, Event, Sizes, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.pod_info import PodInfo, make_pod_info
from proa.scheduler.snapshot import Snapshot
from proa.scheduler.terms import PodTerms, Term
from proa.scheduler.topology import Seen, Topology

HARD_POD_AFFINITY_WEIGHT = 1

NAME = "InterPodAffinity"
NOT_NEAR = Status(Code.UNRESOLVABLE, NAME, ("node(s) didn't match pod affinity rules",))
NOT_APART = Status(Code.UNSCHEDULABLE, NAME, ("node(s) didn't match pod anti-affinity rules",))
NOT_WANTED = Status(Code.UNSCHEDULABLE, NAME, ("node(s) didn't satisfy existing pods anti-affinity rules",))


REMEMBERED = 4096


@dataclass(frozen=True, slots=True, eq=False)
class AffinityFacts:
    """A pod's terms, whether it meets its own required ones, and the terms of pods on nodes that mean it.

    Equal ones are the same object.
    """

    terms: PodTerms
    meets_own: bool
    about: tuple[TermTally, ...]


class InterPodAffinity:
    """A pre-filter that reads terms, and an overview of the pods that they mean."""

    NAME = NAME
    HELPED_BY = frozenset(
        {Event.NODE_ADDED, Event.NODE_LABELS, Event.POD_ADDED, Event.POD_REMOVED, Event.NAMESPACE_CHANGED}
    )
    WEIGHT = 2
    FILTERS = True

    def __init__(
        self,
        snapshot: Snapshot,
        hard_weight: int = HARD_POD_AFFINITY_WEIGHT,
        *,
        ignore_preferred: bool = False,
    ) -> None:
        """`ignore_preferred`: pods without terms of their own pay no heed to what others prefer."""
        self._census = snapshot.census
        self._hard_weight = hard_weight
        self._ignore_preferred = ignore_preferred
        self._facts: dict[Hashable, AffinityFacts] = {}

    def pre_filter(self, pod: PodInfo) -> AffinityFacts | None:
        """Find the terms."""
        terms = pod.terms
        about = self._census.terms_about(pod)
        if self._ignore_preferred and not terms.preferred:
            about = tuple(tally for tally in about if tally.key.role != "preferred")
        if not (terms.required or terms.anti or terms.preferred or about):
            return None
        meets_own = bool(terms.required) and self._census.is_meant(pod, terms.required)
        key = (id(terms), meets_own, about)  # pods of one owner share their terms
        facts = self._facts.get(key)
        if facts is None:
            if len(self._facts) >= REMEMBERED:
                self._facts.clear()
            facts = self._facts[key] = AffinityFacts(terms, meets_own, about)
        return facts

    def can_help(self, pod: PodInfo, event: Event, old: Object | None, new: Object | None) -> bool:
        """Tell whether a pod that came is wanted near, or one that went was not."""
        if event is Event.POD_ADDED and new is not None:
            came, went = make_pod_info(new), None if old is None else make_pod_info(old)
            return self._means(pod.terms.required, came) or (
                went is not None and went.kind != came.kind and self._was_unwanted(pod, went)
            )
        if event is Event.POD_REMOVED and old is not None:
            return self._was_unwanted(pod, make_pod_info(old))
        return True

    def _was_unwanted(self, pod: PodInfo, other: PodInfo) -> bool:
        """Tell whether two pods were kept apart, or one of those was there that this one had to be near to."""
        if any(self._means((term,), other) for term in pod.terms.anti):
            return True
        if any(self._means((term,), pod) for term in other.terms.anti):
            return True
        return self._means(pod.terms.required, other)

    def _means(self, terms: tuple[Term, ...], other: PodInfo) -> bool:
        return bool(terms) and self._census.is_meant(other, terms)

    def overview(self, pod: PodInfo, facts: Hashable, snapshot: Snapshot) -> AffinityOverview | None:
        """Return what counts the pods that the terms mean."""
        return (
            AffinityOverview(facts, snapshot, self._hard_weight) if isinstance(facts, AffinityFacts) else None
        )


class _Line:
    """How many pods of a kind there are, by domain; `weight` is for the score alone."""

    __slots__ = ("by_domain", "by_node", "role", "total", "weight")

    def __init__(
        self, role: Literal["near", "apart", "wanted", "score"], by_node: dict[str, int], weight: int = 0
    ) -> None:
        self.role = role
        self.weight = weight
        self.by_node = by_node
        self.by_domain: dict[str, int] = {}
        self.total = 0


class AffinityOverview:
    """See the module's docstring. A key has a domain, a tuple of numbers, or None (no such label) for each label."""

    COUNTS = True

    def __init__(self, facts: AffinityFacts, snapshot: Snapshot, hard_weight: int) -> None:
        self._snapshot = snapshot
        self._held: list[Tally] = []
        self._meets_own = facts.meets_own
        self._lines: dict[str, list[_Line]] = {}
        self._add_lines(facts, hard_weight)
        self._topologies: list[tuple[Topology, bool, list[_Line]]] = []
        for key, lines in self._lines.items():
            topology = snapshot.topology(key)
            self._topologies.append((topology, topology.is_unique, lines))
        self._near = [
            (index, at, line)
            for index, (_, _, lines) in enumerate(self._topologies)
            for at, line in enumerate(lines)
            if line.role == "near"
        ]
        self._all = [line for _, _, lines in self._topologies for line in lines]
        self._seen: dict[str, Seen] = {}

    def _add_lines(self, facts: AffinityFacts, hard_weight: int) -> None:
        census = self._snapshot.census
        if facts.terms.required:
            for key in dict.fromkeys(term.topology_key for term in facts.terms.required):
                self._add(key, _Line("near", self._hold(census.hold_terms(facts.terms.required))))
        for term in facts.terms.anti:
            self._add(term.topology_key, _Line("apart", self._hold(census.hold_term(term))))
        for term, weight in facts.terms.preferred:
            self._add(term.topology_key, _Line("score", self._hold(census.hold_term(term)), weight))
        for tally in facts.about:
            match tally.key.role:
                case "anti":
                    line = _Line("wanted", tally.by_node)
                case "required":
                    line = _Line("score", tally.by_node, hard_weight)
                case "preferred":
                    line = _Line("score", tally.by_node, tally.key.weight)
            self._add(tally.key.term.topology_key, line)

    def _add(self, topology_key: str, line: _Line) -> None:
        if line.role != "score" or line.weight:
            self._lines.setdefault(topology_key, []).append(line)

    def _hold(self, tally: Tally) -> dict[str, int]:
        self._held.append(tally)
        return tally.by_node

    def look(self, name: str, node: NodeInfo | None) -> Hashable:
        """Bring the numbers of the node's domains up to date."""
        seen = self._seen.get(name)
        if node is None:
            if seen is not None:
                self._count(seen, -1)
                del self._seen[name]
            return ()
        numbers = tuple([line.by_node.get(name, 0) for line in self._all])
        if seen is not None:
            if seen.numbers == numbers and seen.nature == node.nature:
                return seen.key
            self._count(seen, -1)
        domains = tuple([topology.values.get(name) for topology, _, _ in self._topologies])
        key: list[Hashable] = []
        first = 0
        for domain, (_, is_unique, lines) in zip(domains, self._topologies, strict=True):
            last = first + len(lines)
            key.append(numbers[first:last] if is_unique and domain is not None else domain)
            first = last
        now = self._seen[name] = Seen(node.nature, numbers, domains, tuple(key))
        self._count(now, 1)
        return now.key

    def _count(self, seen: Seen, sign: int) -> None:
        """Count a node's pods in or out of its domains."""
        at = 0
        for domain, (_, _, lines) in zip(seen.domains, self._topologies, strict=True):
            for line in lines:
                number = seen.numbers[at]
                at += 1
                if number and domain is not None:
                    line.total += sign * number
                    line.by_domain[domain] = line.by_domain.get(domain, 0) + sign * number

    def filter(self, key: Hashable) -> Status | None:
        """Refuse nodes that are not near enough, or too near."""
        assert isinstance(key, tuple)
        if self._near and not self._is_near(key):
            return NOT_NEAR
        unwanted = None
        for index, (_, _, lines) in enumerate(self._topologies):
            part = key[index]
            if part is None:
                continue
            for at, line in enumerate(lines):
                if line.role == "apart" and _number(line, part, at) > 0:
                    return NOT_APART
                if line.role == "wanted" and _number(line, part, at) > 0:
                    unwanted = NOT_WANTED
        return unwanted

    def _is_near(self, key: tuple[Hashable, ...]) -> bool:
        """The first of pods that want to be near one another may go anywhere that has the labels."""
        if any(key[index] is None for index, _, _ in self._near):
            return False
        if all(_number(line, key[index], at) > 0 for index, at, line in self._near):
            return True
        return self._meets_own and not any(line.total for _, _, line in self._near)

    def scores(self, groups: Sizes) -> list[int]:
        """Scale the sums of weights from lowest to highest."""
        sums = [self._sum(key) for key, _ in groups]
        lowest = min(sums)
        spread = max(sums) - lowest
        if not spread:
            return [0] * len(sums)
        return [int(MAX_SCORE * ((found - lowest) / spread)) for found in sums]

    def _sum(self, key: Hashable) -> int:
        assert isinstance(key, tuple)
        total = 0
        for index, (_, _, lines) in enumerate(self._topologies):
            if key[index] is not None:
                for at, line in enumerate(lines):
                    if line.weight:
                        total += line.weight * _number(line, key[index], at)
        return total

    def close(self) -> None:
        """Release the tallies."""
        for tally in self._held:
            self._snapshot.census.release(tally)
        self._held = []


def _number(line: _Line, part: Hashable, at: int) -> int:
    """Return how many pods of a line are in a domain: `part` names it, or has the numbers of all lines."""
    if isinstance(part, tuple):
        number: int = part[at]
        return number
    assert isinstance(part, str)
    return line.by_domain.get(part, 0)
