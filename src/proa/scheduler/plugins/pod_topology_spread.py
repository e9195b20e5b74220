"""Spread pods that are alike over zones, nodes or any other label of nodes (plugins/podtopologyspread).

Constraints with DoNotSchedule are a filter, those with ScheduleAnyway a score. A pod without any has the default
ones: at most 3 more on one node and 5 more in one zone than elsewhere, preferably, counting the pods of its Services
and of its owner.

Theory of operation. As with affinity, a tally says how many of the pods each node has; they are added up over
domains, each constraint counting only the nodes that its policies include. A node's key has for each constraint its
domain or, where every domain is one node, the number itself.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.node_selectors import is_picked_by
from proa.objects.quick_dataclass import dataclass
from proa.objects.tolerations import find_untolerated
from proa.scheduler.census import Tally
from proa.scheduler.framework import MAX_SCORE, Code, Event, Sizes, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.plugins.spread_constraints import REMEMBERED, Constraint, ConstraintReader, Found
from proa.scheduler.pod_info import PodInfo
from proa.scheduler.snapshot import Snapshot
from proa.scheduler.topology import Seen, Topology

NAME = "PodTopologySpread"
HOSTNAME = "kubernetes.io/hostname"
TOO_MANY = Status(Code.UNSCHEDULABLE, NAME, ("node(s) didn't match pod topology spread constraints",))
NO_LABEL = Status(
    Code.UNRESOLVABLE,
    NAME,
    ("node(s) didn't match pod topology spread constraints (missing required label)",),
)


@dataclass(frozen=True, slots=True, eq=False)
class SpreadFacts:
    """A pod's constraints, and which of them count the pod itself. Equal ones are the same object."""

    found: Found
    namespace: str
    matches_itself: tuple[bool, ...]


class PodTopologySpread:
    """A pre-filter that reads constraints, and an overview of where the pods are."""

    NAME = NAME
    HELPED_BY = frozenset(
        {
            Event.NODE_ADDED, Event.NODE_LABELS, Event.NODE_TAINTS, Event.NODE_REMOVED, Event.POD_ADDED,
            Event.POD_REMOVED,
        }
    )  # fmt: skip
    WEIGHT = 2
    FILTERS = True

    def __init__(self, reader: ConstraintReader) -> None:
        self._reader = reader
        self._facts: dict[Hashable, SpreadFacts] = {}

    def pre_filter(self, pod: PodInfo) -> SpreadFacts | None:
        """Read the constraints."""
        found = self._reader.read(pod)
        if not found.constraints:
            return None
        labels = pod.labels
        matches = tuple([constraint.selector.matches(labels) for constraint in found.constraints])
        key = (found, pod.namespace, matches)
        facts = self._facts.get(key)
        if facts is None:
            if len(self._facts) >= REMEMBERED:
                self._facts.clear()
            facts = self._facts[key] = SpreadFacts(*key)
        return facts

    def can_help(self, pod: PodInfo, event: Event, old: Object | None, new: Object | None) -> bool:
        """Tell whether a pod that came or went is one that is counted."""
        if event not in (Event.POD_ADDED, Event.POD_REMOVED):
            return True
        constraints = self._reader.read(pod).constraints
        return any(
            constraint.is_hard and constraint.selector.matches(meta.labels(other))
            for other in (old, new)
            if other is not None and meta.namespace(other) == pod.namespace
            for constraint in constraints
        )

    def overview(self, pod: PodInfo, facts: Hashable, snapshot: Snapshot) -> SpreadOverview | None:
        """Return what counts the pods in each domain."""
        return SpreadOverview(pod, facts, snapshot) if isinstance(facts, SpreadFacts) else None


class _Line:
    """The pods that one constraint counts, by domain; `histogram` says how many domains have each number."""

    __slots__ = (
        "by_domain", "by_node", "constraint", "histogram", "is_by_node", "is_unique", "matches_itself", "members",
        "most", "tally", "topology",
    )  # fmt: skip

    def __init__(
        self, constraint: Constraint, snapshot: Snapshot, namespace: str, *, matches_itself: bool
    ) -> None:
        selector = constraint.selector
        self.constraint = constraint
        self.matches_itself = matches_itself
        self.topology: Topology = snapshot.topology(constraint.topology_key)
        self.is_unique = self.topology.is_unique
        self.is_by_node = not constraint.is_hard and constraint.topology_key == HOSTNAME
        self.tally: Tally = snapshot.census.hold(
            ("alive", namespace, selector),
            frozenset((namespace,)),
            lambda kind: not kind.is_terminating and selector.matches(kind.labels),
        )
        self.by_node = self.tally.by_node
        self.by_domain: dict[str, int] = {}
        self.members: dict[str, int] = {}
        self.histogram: dict[int, int] = {}
        self.most = constraint.max_skew - matches_itself
        """How many pods a domain may have for one more to come: so many more than the emptiest has, which counts as
        empty while there are fewer domains than asked for."""

    def count(self, domain: str, number: int, sign: int) -> None:
        """Count a node with so many pods in or out of its domain; what is looked at by node need not be."""
        if self.is_by_node:
            return
        before = self.by_domain.get(domain, 0)
        self.by_domain[domain] = before + sign * number
        if not self.constraint.is_hard:
            return
        members = self.members.get(domain, 0)
        if members:
            self._file(before, -1)
        if members + sign:
            self.members[domain] = members + sign
            self._file(before + sign * number, 1)
        else:
            del self.members[domain], self.by_domain[domain]
        is_enough = len(self.members) >= self.constraint.min_domains
        least = min(self.histogram, default=0) if is_enough else 0
        self.most = self.constraint.max_skew - self.matches_itself + least

    def _file(self, number: int, sign: int) -> None:
        domains = self.histogram.get(number, 0) + sign
        if domains:
            self.histogram[number] = domains
        else:
            del self.histogram[number]


class SpreadOverview:
    """See the module's docstring. A key has a part for each hard constraint and then one for each soft one."""

    COUNTS = True

    def __init__(self, pod: PodInfo, facts: SpreadFacts, snapshot: Snapshot) -> None:
        self._pod = pod
        self._census = snapshot.census
        self._needs_all = not facts.found.is_system_default
        lines = [
            _Line(constraint, snapshot, facts.namespace, matches_itself=matches)
            for constraint, matches in zip(facts.found.constraints, facts.matches_itself, strict=True)
        ]
        self._hard = [line for line in lines if line.constraint.is_hard]
        self._soft = [line for line in lines if not line.constraint.is_hard]
        self._lines = [*self._hard, *self._soft]
        self._seen: dict[str, Seen] = {}

    def look(self, name: str, node: NodeInfo | None) -> Hashable:
        """Bring the numbers of the node's domains up to date."""
        seen = self._seen.get(name)
        if node is None:
            if seen is not None:
                self._count(seen, -1)
                del self._seen[name]
            return ()
        numbers = tuple([line.by_node.get(name, 0) for line in self._lines])
        if seen is not None:
            if seen.numbers == numbers and seen.nature == node.nature:
                return seen.key
            self._count(seen, -1)
        is_same = seen is not None and seen.nature == node.nature
        domains = seen.domains if seen is not None and is_same else self._domains_of(node)
        key = [
            _part(line, name, number, domain is not None)
            for line, number, domain in zip(self._lines, numbers, domains, strict=True)
        ]
        now = self._seen[name] = Seen(node.nature, numbers, domains, tuple(key))
        self._count(now, 1)
        return now.key

    def _count(self, seen: Seen, sign: int) -> None:
        for line, domain, number in zip(self._lines, seen.domains, seen.numbers, strict=True):
            if domain is not None:
                line.count(domain, number, sign)

    def _domains_of(self, node: NodeInfo) -> tuple[str | None, ...]:
        """Return for each constraint the domain that the node counts in, None where it does not count."""
        has_hard = all(line.constraint.topology_key in node.labels for line in self._hard)
        has_soft = not self._needs_all or all(
            line.constraint.topology_key in node.labels for line in self._soft
        )
        affine = is_picked_by(self._pod.pod["spec"], node.node)
        tainted = find_untolerated(self._pod.tolerations, node.taints) is not None
        return tuple(
            node.labels.get(line.constraint.topology_key, "")
            if (has_hard if line.constraint.is_hard else has_soft)
            and (affine or not line.constraint.honors_affinity)
            and not (tainted and line.constraint.honors_taints)
            else None
            for line in self._lines
        )

    def filter(self, key: Hashable) -> Status | None:
        """Refuse nodes whose domain would have too many more than the emptiest."""
        assert isinstance(key, tuple)
        for part, line in zip(key, self._hard, strict=False):
            if part is None:
                return NO_LABEL
            if (part if part.__class__ is int else line.by_domain.get(part, 0)) > line.most:
                return TOO_MANY
        return None

    def scores(self, groups: Sizes) -> list[int]:
        """Score nodes the higher the fewer pods their domains have, rarer domains counting for more."""
        if not self._soft:
            return [0] * len(groups)
        first = len(self._hard)
        parts = [(key[first:], size) for key, size in groups if isinstance(key, tuple)]
        scored = parts if not self._needs_all else [part for part in parts if None not in part[0]]
        lines = [
            (line.by_domain, math.log(self._domains(index, scored) + 2), line.constraint.max_skew - 1)
            for index, line in enumerate(self._soft)
        ]
        raw: list[int | None] = []
        for key, _ in parts:
            if self._needs_all and None in key:
                raw.append(None)
                continue
            score = 0.0
            for part, (by_domain, weight, tolerated) in zip(key, lines, strict=True):
                if part is not None:
                    score += (part if part.__class__ is int else by_domain.get(part, 0)) * weight + tolerated
            whole = int(score)
            raw.append(whole + (score - whole >= 0.5))
        found = [score for score in raw if score is not None]
        highest, lowest = max(found, default=0), min(found, default=0)
        if not highest:
            return [0 if score is None else MAX_SCORE for score in raw]
        return [0 if score is None else MAX_SCORE * (highest + lowest - score) // highest for score in raw]

    def _domains(self, index: int, groups: list[tuple[tuple[Hashable, ...], int]]) -> int:
        """Return over how many domains the nodes that fit are spread; those without the label are one."""
        line = self._soft[index]
        if line.constraint.topology_key == HOSTNAME:
            return sum(size for _, size in groups)
        if line.is_unique:
            labelled = sum(size for key, size in groups if key[index] is not None)
            return labelled + any(key[index] is None for key, _ in groups)
        return len({key[index] for key, _ in groups})

    def close(self) -> None:
        """Release the tallies."""
        for line in self._lines:
            self._census.release(line.tally)
        self._hard, self._soft, self._lines = [], [], []


def _part(line: _Line, name: str, number: int, is_counted: bool) -> Hashable:
    """Return what of a node one constraint looks at."""
    value = line.topology.values.get(name)
    if value is None or not (line.is_by_node or line.is_unique):
        return value
    return number if line.is_by_node or is_counted else 0
