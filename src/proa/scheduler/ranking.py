"""Find the best node for a pod without looking at all of them: a few lazy heaps of nodes for each shape of pod.

Theory of operation. All that filters and scores see of a pod is its shape and the facts of its pre_filters, so pods
that agree in both share a `Ranking`. What they see of a node is of three kinds: its own part of the score, which
changes when a pod comes or goes there; counts that are scaled over all nodes that fit; and the keys of overviews,
which say what the node has to do with other nodes (its zone, how many pods of a kind it has). Nodes that agree in the
last two form a `Group`, in which the own part alone decides: a heap, best first. There are few groups, so each
decision judges all of them, exactly as upstream judges all nodes that fit.

When a pod is placed, only that node's entry is out of date. The snapshot logs which nodes changed; a ranking, when
asked, replays the part of the log it has not seen, gives each node there a new entry (in another group, it may be),
and skips entries that a newer one has replaced. Answers are those of a scan over all nodes. Equal scores are ordered
by a random number.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from heapq import heapify, heappop, heappush
from typing import Any

from proa.objects.quick_dataclass import dataclass
from proa.scheduler.framework import Choosy, Code, Facts, Overview, Profile, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.pod_info import PodInfo
from proa.scheduler.ranking_groups import Entry, Group, GroupKey, Known, normalized
from proa.scheduler.snapshot import Snapshot

NOT_NAMED = Status(Code.UNRESOLVABLE, "NodeAffinity", ("node(s) didn't satisfy plugin(s) [NodeAffinity]",))
"""For the nodes that a pod's node affinity does not name, where it names some: they are not looked at."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why no node will do: how often each reason was met, and by which plugins."""

    nodes: int
    reasons: Counter[str]
    plugins: frozenset[str]
    hopeful: tuple[str, ...] = ()
    """The nodes that could fit if pods left them."""


_NUMBERS = itertools.count()


class Ranking:
    """The nodes for pods like `pod`, best first. `number` is its alone."""

    def __init__(
        self, profile: Profile, snapshot: Snapshot, random: Callable[[], float], pod: PodInfo, facts: Facts
    ) -> None:
        self.number = next(_NUMBERS)
        self._profile = profile
        self._snapshot = snapshot
        self._random = random
        self._pod = pod
        self._facts = facts
        weights = profile.weights
        self._fixed_filters = _concerned(profile.fixed_filters, pod, facts)
        self._moving_filters = _concerned(profile.moving_filters, pod, facts)
        self._fixed_scores = [(p.score, facts.get(p.NAME), weights[p.NAME]) for p in profile.fixed_scores]
        self._moving_scores = [(p.score, facts.get(p.NAME), weights[p.NAME]) for p in profile.moving_scores]
        self._scaled = [(p.score, facts.get(p.NAME)) for p in profile.scaled_scores]
        self._scales = [(p.NORMALIZE, weights[p.NAME]) for p in profile.scaled_scores]
        self._overviews: list[tuple[Overview, bool, int]] = []
        """Those that count nothing come first; each with whether it filters, and its score's weight."""
        self._plain: list[Overview] = []
        self._counting: list[Overview] = []
        self._epoch = -1
        self._position = 0
        self._version = 0
        self._known: dict[str, Known] = {}
        self._groups: dict[GroupKey, Group] = {}
        self._diagnosis: Diagnosis | None = None

    # Asking

    def best(self, without: Iterable[str] = ()) -> NodeInfo | None:
        """Return the best node that fits now, but none of those `without`."""
        self._catch_up()
        withdrawn = [name for name in without if name in self._known]
        for name in withdrawn:
            self._leave_group(self._known[name])
        found = self._find_best()
        for name in withdrawn:
            self._look(name)
        return found

    def fits(self, name: str) -> bool:
        """Tell whether a node fits now."""
        self._catch_up()
        return name in self._known and self._status_of(self._known[name]) is None

    def check(self, name: str) -> Status | None:
        """Return why a node would not do as it is in a trial. Look again (`settle`) when the trial is undone.

        No changes may be outstanding: `best` or `fits` was called before the trial.
        """
        known, node = self._known[name], self._snapshot.nodes[name]
        keys = (*known.counts, *[overview.look(name, node) for overview in self._counting])
        status = known.rejection or self._first_moving(node)
        return self._first_overview(keys) if status is None else status

    def settle(self, name: str) -> None:
        """Take in that a trial on a node is undone."""
        for overview in self._counting:
            overview.look(name, self._snapshot.nodes[name])

    def diagnose(self) -> Diagnosis:
        """Return why no node fits; remembered until something changes."""
        self._catch_up()
        if self._diagnosis is None:
            self._diagnosis = self._explain()
        return self._diagnosis

    def status_of(self, name: str) -> Status | None:
        """Return why a node does not fit."""
        self._catch_up()
        known = self._known.get(name)
        if known is None:
            return NOT_NAMED if name in self._snapshot.nodes else None
        return self._status_of(known)

    def close(self) -> None:
        """Let go of what overviews hold."""
        for overview, _, _ in self._overviews:
            overview.close()
        self._overviews, self._plain, self._counting = [], [], []
        self._epoch = -1

    @property
    def looks_beyond_node(self) -> bool:
        """Tell whether what pods are elsewhere can keep these pods from a node."""
        return any(filters for _, filters, _ in self._overviews)

    # Following the log

    def _catch_up(self) -> None:
        snapshot = self._snapshot
        if self._epoch != snapshot.epoch or self._position < snapshot.changes_dropped:
            self._rebuild()
            return
        if self._position == snapshot.position:
            return
        changed = snapshot.changes[self._position - snapshot.changes_dropped :]
        self._position = snapshot.position
        self._diagnosis = None
        for name in changed if len(changed) == 1 else dict.fromkeys(changed):
            self._look(name)

    def _rebuild(self) -> None:
        """Begin anew. Making overviews may move the epoch on, where they ask for a label not asked for before."""
        self.close()
        pod, facts = self._pod, self._facts
        for plugin, filters, weight in self._profile.overseers:
            overview = plugin.overview(pod, facts.get(plugin.NAME), self._snapshot)
            if overview is not None:
                self._overviews.append((overview, filters, weight))
        self._overviews.sort(key=lambda entry: entry[0].COUNTS)
        for overview, _, _ in self._overviews:
            (self._counting if overview.COUNTS else self._plain).append(overview)
        self._epoch = self._snapshot.epoch
        self._position = self._snapshot.position
        self._diagnosis = None
        self._known = {}
        self._groups = {}
        only = pod.only_nodes
        for name in self._snapshot.nodes if only is None or self._counting else sorted(only):
            self._look(name)

    def _look(self, name: str) -> None:
        """Take in a node as it is now."""
        node = self._snapshot.nodes.get(name)
        if self._pod.only_nodes is not None and name not in self._pod.only_nodes:
            for overview in self._counting:
                overview.look(name, node)
            return
        known = self._known.get(name)
        if known is None:
            if node is None:
                return
            known = self._known[name] = Known()
        else:
            if known.rejection is not None and node is not None and known.nature == node.nature:
                for overview in self._counting:
                    overview.look(name, node)
                return
            self._leave_group(known)
        if node is None:
            del self._known[name]
            for overview in self._counting:
                overview.look(name, None)
            return
        if known.nature != node.nature:
            self._look_at_nature(known, node)
        key = known.counts
        if self._counting:
            key += tuple([overview.look(name, node) for overview in self._counting])
        status = known.rejection
        if status is None:
            pod = self._pod
            for filter, facts in self._moving_filters:
                status = filter(pod, node, facts)
                if status is not None:
                    break
            else:
                score = known.own
                for plugin_score, facts, weight in self._moving_scores:
                    score += weight * plugin_score(pod, node, facts)
                self._join_group(known, key, score, name)
        known.status = status

    def _look_at_nature(self, known: Known, node: NodeInfo) -> None:
        """Take in all of a node that does not depend on pods."""
        pod = self._pod
        known.nature = node.nature
        known.rejection = None
        for filter, facts in self._fixed_filters:
            known.rejection = filter(pod, node, facts)
            if known.rejection is not None:
                return
        known.own = sum([weight * score(pod, node, facts) for score, facts, weight in self._fixed_scores])
        counts = [score(pod, node, facts) for score, facts in self._scaled]
        known.counts = (*counts, *[overview.look(node.name, node) for overview in self._plain])

    def _first_moving(self, node: NodeInfo) -> Status | None:
        for filter, facts in self._moving_filters:
            status: Status | None = filter(self._pod, node, facts)
            if status is not None:
                return status
        return None

    def _join_group(self, known: Known, key: GroupKey, score: int, name: str) -> None:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key)
        self._version += 1
        known.version = self._version
        known.group = group
        group.size += 1
        entry = (-score, self._random(), known.version, name)
        heap = group.heap
        heappush(heap, entry)
        if group.top is None:
            if group.size == 1:
                group.top = entry
        elif entry < group.top:
            group.top = entry
        if len(heap) > 4 * group.size + 64:
            group.heap = [each for each in heap if self._is_current(each, group)]
            heapify(group.heap)

    def _leave_group(self, known: Known) -> None:
        group = known.group
        known.group = None
        if group is not None:
            group.size -= 1
            if not group.size:
                del self._groups[group.key]
            elif group.top is not None and group.top[2] == known.version:
                group.top = None

    def _is_current(self, entry: Entry, group: Group) -> bool:
        known = self._known.get(entry[3])
        return known is not None and known.version == entry[2] and known.group is group

    # Judging

    def _find_best(self) -> NodeInfo | None:
        groups = self._fitting_groups()
        if not groups:
            return None
        tops = [group.top or self._find_top(group) for group in groups]
        if len(groups) == 1:
            return self._snapshot.nodes[tops[0][3]]
        totals = self._totals(groups)
        ranked = [(top[0] - total, top[1], top[3]) for top, total in zip(tops, totals, strict=True)]
        return self._snapshot.nodes[min(ranked)[2]]

    def _fitting_groups(self) -> list[Group]:
        groups = [*self._groups.values()]
        for index, (overview, filters, _) in enumerate(self._overviews, len(self._scaled)):
            if filters:
                refuse = overview.filter
                groups = [group for group in groups if refuse(group.key[index]) is None]
        return groups

    def _totals(self, groups: list[Group]) -> list[int]:
        """Return what each group's nodes have in common of the score, but for what all groups have in common."""
        totals = [0] * len(groups)
        for index, (direction, weight) in enumerate(self._scales):
            counts: list[int] = [group.key[index] for group in groups]  # type: ignore[misc]
            if counts.count(counts[0]) < len(counts):
                for at, score in enumerate(normalized(counts, direction)):
                    totals[at] += weight * score
        for index, (overview, _, weight) in enumerate(self._overviews, len(self._scales)):
            if weight:
                sizes = [(group.key[index], group.size) for group in groups]
                first = sizes[0][0]
                if any(key != first for key, _ in sizes):
                    for at, score in enumerate(overview.scores(sizes)):
                        totals[at] += weight * score
        return totals

    def _find_top(self, group: Group) -> Entry:
        """Find the best entry of a group: it has one, for it has nodes."""
        heap = group.heap
        while not self._is_current(heap[0], group):
            heappop(heap)
        group.top = heap[0]
        return heap[0]

    def _status_of(self, known: Known) -> Status | None:
        """Return why a node does not fit, asking overviews where nothing else speaks against it."""
        return known.status if known.group is None else self._first_overview(known.group.key)

    def _first_overview(self, key: GroupKey) -> Status | None:
        for index, (overview, filters, _) in enumerate(self._overviews, len(self._scaled)):
            if filters and (status := overview.filter(key[index])) is not None:
                return status
        return None

    def _explain(self) -> Diagnosis:
        found: dict[int, Status] = {}
        counts: Counter[int] = Counter()
        hopeful: list[str] = []
        of_group: dict[GroupKey, Status | None] = {}
        for name, known in self._known.items():
            if known.group is None:
                status = known.status
            else:
                key = known.group.key
                if key not in of_group:
                    of_group[key] = self._status_of(known)
                status = of_group[key]
            if status is not None:
                found[id(status)] = status
                counts[id(status)] += 1
                if status.code is Code.UNSCHEDULABLE:
                    hopeful.append(name)
        if unknown := len(self._snapshot.nodes) - len(self._known):
            found[id(NOT_NAMED)] = NOT_NAMED
            counts[id(NOT_NAMED)] = unknown
        reasons: Counter[str] = Counter()
        for identity, count in counts.items():
            for reason in found[identity].reasons:
                reasons[reason] += count
        plugins = frozenset(status.plugin for status in found.values())
        return Diagnosis(len(self._snapshot.nodes), reasons, plugins, tuple(hopeful))


def _concerned(filters: Iterable[Any], pod: PodInfo, facts: Facts) -> list[tuple[Any, Hashable]]:
    """Return the filters that have something to say of these pods, each with its facts."""
    found = [(p, facts.get(p.NAME)) for p in filters]
    return [(p.filter, of) for p, of in found if not isinstance(p, Choosy) or p.concerns(pod, of)]
