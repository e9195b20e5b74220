"""Find the best node for a pod without looking at all of them: one lazy heap of nodes for each shape of pod.

Theory of operation. All filters and scores see of a pod is its shape and the facts of its pre_filters, so pods
that agree in both share a `Ranking`: every usable node in a heap, best score first. When a pod is placed, only
that node's entry is out of date. The snapshot logs which nodes changed; a ranking, when asked, replays the part of
the log it has not seen, pushes a new entry for each node there, and skips entries that a newer one has
replaced. Answers are exactly those of a scan over all nodes. Equal scores are ordered by a random number.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush

from proa.objects.quick_dataclass import dataclass
from proa.scheduler.framework import MAX_SCORE, Code, Facts, Profile
from proa.scheduler.snapshot import NodeInfo, PodInfo, Snapshot

RANKINGS_KEPT = 128

Entry = tuple[int, float, int, str]
"""Negative score, random number, version of the node's entry, node name."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why no node will do: how often each reason was met, and by which plugins."""

    nodes: int
    reasons: Counter[str]
    plugins: frozenset[str]
    unresolvable: int
    """How many nodes no leaving pod could make fit."""


class Rankings:
    """The rankings in use, the longest unused forgotten first."""

    def __init__(self, profile: Profile, snapshot: Snapshot, random: Callable[[], float]) -> None:
        self._profile = profile
        self._snapshot = snapshot
        self._random = random
        self._rankings: OrderedDict[Hashable, Ranking] = OrderedDict()

    def ranking_for(self, pod: PodInfo, facts: Facts) -> Ranking:
        """Return the ranking of nodes for pods like this one."""
        key = (pod.shape, tuple(facts.items()))
        ranking = self._rankings.get(key)
        if ranking is None:
            ranking = Ranking(self._profile, self._snapshot, self._random, pod, facts)
            self._rankings[key] = ranking
            if len(self._rankings) > RANKINGS_KEPT:
                self._rankings.popitem(last=False)
        else:
            self._rankings.move_to_end(key)
        return ranking


class Ranking:
    """The nodes for pods like `pod`, best first."""

    def __init__(
        self, profile: Profile, snapshot: Snapshot, random: Callable[[], float], pod: PodInfo, facts: Facts
    ) -> None:
        self._profile = profile
        self._snapshot = snapshot
        self._random = random
        self._pod = pod
        self._facts = facts
        self._moving_filters = [(p.filter, facts.get(p.NAME)) for p in profile.moving_filters]
        self._moving_scores = [(p.score, facts.get(p.NAME), p.WEIGHT) for p in profile.moving_scores]
        self._epoch = -1
        self._position = 0
        self._fixed: dict[str, int] = {}
        self._versions: dict[str, int] = {}
        self._heap: list[Entry] = []
        self._diagnosis: Diagnosis | None = None

    def best(self) -> NodeInfo | None:
        """Return the best node that fits now."""
        self._catch_up()
        heap = self._heap
        while heap:
            _, _, version, name = heap[0]
            if self._versions[name] == version:
                return self._snapshot.nodes[name]
            heappop(heap)
        return None

    def diagnose(self) -> Diagnosis:
        """Return why no node fits, by asking each; remembered until something changes."""
        self._catch_up()
        if self._diagnosis is None:
            self._diagnosis = self._ask_all()
        return self._diagnosis

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
            if name in self._fixed:
                self._versions[name] += 1
                self._push(name)
        if len(self._heap) > 4 * len(self._fixed) + 64:
            self._heap = [entry for entry in self._heap if self._versions[entry[3]] == entry[2]]
            heapify(self._heap)

    def _rebuild(self) -> None:
        self._epoch = self._snapshot.epoch
        self._position = self._snapshot.position
        self._diagnosis = None
        self._fixed = self._score_fixed()
        self._versions = dict.fromkeys(self._fixed, 0)
        self._heap = []
        for name in self._fixed:
            self._push(name)

    def _push(self, name: str) -> None:
        score = self._score_now(self._snapshot.nodes[name])
        if score is not None:
            heappush(self._heap, (-score - self._fixed[name], self._random(), self._versions[name], name))

    def _score_now(self, node: NodeInfo) -> int | None:
        """Return the part of the score that depends on pods, None where the pod does not fit."""
        pod = self._pod
        for filter, facts in self._moving_filters:
            if filter(pod, node, facts) is not None:
                return None
        total = 0
        for score, facts, weight in self._moving_scores:
            total += weight * score(pod, node, facts)
        return total

    def _score_fixed(self) -> dict[str, int]:
        """Return, for each node that could be used if it were empty, the part of the score that stays."""
        pod, facts = self._pod, self._facts
        usable = [
            node
            for node in self._snapshot.nodes.values()
            if all(p.filter(pod, node, facts.get(p.NAME)) is None for p in self._profile.fixed_filters)
        ]
        totals = dict.fromkeys((node.name for node in usable), 0)
        for plugin in self._profile.fixed_scores:
            scores = [plugin.score(pod, node, facts.get(plugin.NAME)) for node in usable]
            for node, score in zip(usable, normalized(scores, plugin.NORMALIZE), strict=True):
                totals[node.name] += plugin.WEIGHT * score
        return totals

    def _ask_all(self) -> Diagnosis:
        reasons: Counter[str] = Counter()
        plugins: set[str] = set()
        unresolvable = 0
        for node in self._snapshot.nodes.values():
            status = self._profile.run_filters(self._pod, node, self._facts)
            if status is None:
                continue
            reasons.update(status.reasons)
            plugins.add(status.plugin)
            unresolvable += status.code is Code.UNRESOLVABLE
        return Diagnosis(len(self._snapshot.nodes), reasons, frozenset(plugins), unresolvable)


def normalized(scores: list[int], direction: str) -> list[int]:
    """Scale counts to 0..MAX_SCORE by the highest; "lowest" turns them round."""
    if not direction:
        return scores
    highest = max(scores, default=0)
    if not highest:
        return [MAX_SCORE if direction == "lowest" else 0] * len(scores)
    scaled = [score * MAX_SCORE // highest for score in scores]
    return [MAX_SCORE - score for score in scaled] if direction == "lowest" else scaled
