"""Find the pods to evict so that a more important one fits: the fewest and least important, on one node.

Each node that could fit if pods left it is tried: all less important pods are taken off it, and then put back, the
most important first, for as long as the pod fits; those whose budget (PodDisruptionBudget) would be broken are put
back before the others. What remains are the node's victims. Nothing is evicted here.
Follows pkg/scheduler/framework/preemption and plugins/defaultpreemption.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass
from proa.scheduler.budgets import Budget, split_by_budgets
from proa.scheduler.decision import Decider, Refusal
from proa.scheduler.failure import no_victims
from proa.scheduler.framework import Code, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.nominations import Nominations
from proa.scheduler.plugins.default_preemption import NAME, DefaultPreemption
from proa.scheduler.pod_info import PodInfo
from proa.scheduler.ranking import Ranking
from proa.scheduler.snapshot import Snapshot

NEVER = "not eligible due to preemptionPolicy=Never."
WAITS = "not eligible due to a terminating pod on the nominated node."
NO_VICTIMS = Status(Code.UNRESOLVABLE, NAME, ("No preemption victims found for incoming pod",))
LOWEST_PRIORITY = -(2**31)
SEARCHES_KEPT = 16


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A node and the pods to evict from it, the most important first."""

    node_name: str
    victims: tuple[PodInfo, ...]
    broken_budgets: int


class Failure(NamedTuple):
    """Why nothing is evicted; `keeps_nomination`: the node that was kept for the pod still is."""

    message: str
    keeps_nomination: bool


class Preemption:
    """Searches for one profile. `current` returns a pod as it is now; `budgets` all PodDisruptionBudgets."""

    def __init__(
        self,
        decider: Decider,
        snapshot: Snapshot,
        nominations: Nominations,
        budgets: Callable[[], Iterable[Object]],
        current: Callable[[PodInfo], Object],
        random: Callable[[], float],
    ) -> None:
        self._decider = decider
        self._snapshot = snapshot
        self._nominations = nominations
        self._budgets = budgets
        self._current = current
        self._random = random
        self._tried: OrderedDict[Hashable, dict[str, _Tried]] = OrderedDict()
        plugin = decider.profile.plugin(NAME)
        self._plugin = plugin if isinstance(plugin, DefaultPreemption) else DefaultPreemption()

    def find(self, pod: PodInfo, refusal: Refusal) -> Candidate | Failure:
        """Return the best node to evict pods from, or why there is none."""
        why_not = self._find_objection(pod, refusal)
        if why_not:
            return Failure(why_not, keeps_nomination=True)
        hopeful, ranking = refusal.diagnosis.hopeful, refusal.ranking
        if not hopeful or ranking is None:
            return Failure(no_victims(refusal.diagnosis.nodes, Counter()), keeps_nomination=False)
        found, reasons = self._try_nodes(pod, ranking, hopeful)
        if not found:
            return Failure(no_victims(refusal.diagnosis.nodes, reasons), keeps_nomination=False)
        return self._choose(found)

    def _find_objection(self, pod: PodInfo, refusal: Refusal) -> str:
        """Return why a pod may not have others evicted, "" where it may."""
        if pod.pod["spec"].get("preemptionPolicy") == "Never":
            return NEVER
        kept = self._nominations.node_of(pod.uid)
        node = self._snapshot.nodes.get(kept)
        if node is None:
            return ""
        status = refusal.ranking.status_of(kept) if refusal.ranking else refusal.status
        if status is not None and status.code is Code.UNRESOLVABLE:
            return ""
        is_waiting = any(
            other.priority < pod.priority and is_preempted(self._current(other))
            for other in node.pods.values()
        )
        return WAITS if is_waiting else ""

    def _try_nodes(
        self, pod: PodInfo, ranking: Ranking, names: Sequence[str]
    ) -> tuple[list[Candidate], Counter[str]]:
        """Try nodes, from a random one on, until there are enough candidates of which one breaks no budget."""
        enough = self._plugin.enough_of(len(names))
        start = int(self._random() * len(names))
        budgets = [Budget(budget) for budget in self._budgets()]
        tried = self._tried_for(pod, ranking, budgets)
        found: list[Candidate] = []
        reasons: Counter[str] = Counter()
        has_harmless = False
        for name in (*names[start:], *names[:start]):
            node = self._snapshot.nodes[name]
            kept_for = tuple(each.uid for each in self._nominations.ahead_of(pod, name))
            known = tried.get(name)
            if known is None or (known.changed_at, known.kept_for) != (node.changed_at, kept_for):
                answer = self._try_node(pod, ranking, node, budgets)
                known = tried[name] = _Tried(node.changed_at, kept_for, answer)
            answer = known.answer
            if isinstance(answer, Status):
                reasons.update(answer.reasons)
                continue
            found.append(answer)
            has_harmless = has_harmless or not answer.broken_budgets
            if has_harmless and len(found) >= enough:
                break
        return found, reasons

    def _tried_for(self, pod: PodInfo, ranking: Ranking, budgets: Sequence[Budget]) -> dict[str, _Tried]:
        """Return what is known of nodes for pods like this one; nothing, where other nodes' pods matter too."""
        if ranking.looks_beyond_node:
            return {}
        key = (ranking.number, pod.priority, tuple(budget.version for budget in budgets))
        known = self._tried.setdefault(key, {})
        self._tried.move_to_end(key)
        if len(self._tried) > SEARCHES_KEPT:
            self._tried.popitem(last=False)
        return known

    def _try_node(
        self, pod: PodInfo, ranking: Ranking, node: NodeInfo, budgets: list[Budget]
    ) -> Candidate | Status:
        less_important = [other for other in node.pods.values() if other.priority < pod.priority]
        if not less_important:
            return NO_VICTIMS
        lift, put = self._hands(ranking, node)
        for other in less_important:
            lift(other)
        victims: list[PodInfo] = [*less_important]
        try:
            status = self._decider.check(ranking, pod, node.name)
            if status is not None:
                return status
            ordered = sorted(less_important, key=self._importance)
            breaking, harmless = split_by_budgets(ordered, budgets)
            victims = []
            for group in (breaking, harmless):
                victims += self._spare(pod, ranking, node, group)
            if not victims:
                return NO_VICTIMS
            broken = len([victim for victim in victims if victim in breaking])
            return Candidate(node.name, tuple(sorted(victims, key=self._importance)), broken)
        finally:
            for other in victims:
                put(other)
            ranking.settle(node.name)

    def _spare(self, pod: PodInfo, ranking: Ranking, node: NodeInfo, others: list[PodInfo]) -> list[PodInfo]:
        """Put back as many pods as can stay, in their order; return the rest.

        Where the pod looks at nothing but the node, more pods never make it fit: as many as fit are put back at once,
        and their number is sought by halves.
        """
        lift, put = self._hands(ranking, node)
        victims: list[PodInfo] = []
        step = len(others) if not ranking.looks_beyond_node else 1
        at = 0
        while at < len(others):
            batch = others[at : at + step]
            for other in batch:
                put(other)
            if self._decider.check(ranking, pod, node.name) is None:
                at += len(batch)
                continue
            for other in batch:
                lift(other)
            if len(batch) == 1:
                victims += batch
                at += 1
            step = max(1, len(batch) // 2)
        return victims

    def _hands(
        self, ranking: Ranking, node: NodeInfo
    ) -> tuple[Callable[[PodInfo], None], Callable[[PodInfo], None]]:
        """Return what takes a pod off a node and what puts it back; nobody else need know where nobody looks."""
        if ranking.looks_beyond_node:
            return lambda pod: self._snapshot.lift(pod, node), lambda pod: self._snapshot.put(pod, node)
        return node.remove, node.add

    def _importance(self, pod: PodInfo) -> tuple[int, str]:
        """Return what sorts the more important pod first: higher priority, then longer running."""
        return -pod.priority, started_at(self._current(pod))

    def _choose(self, found: list[Candidate]) -> Candidate:
        """Return the candidate that does the least harm (pickOneNodeForPreemption)."""

        def harm(candidate: Candidate) -> tuple[int, int, int, int]:
            priorities = [victim.priority for victim in candidate.victims]
            total = sum(priority - LOWEST_PRIORITY for priority in priorities)
            return candidate.broken_budgets, max(priorities), total, len(priorities)

        least = min(map(harm, found))
        best = [candidate for candidate in found if harm(candidate) == least]
        return max(best, key=self._youth) if len(best) > 1 else best[0]

    def _youth(self, candidate: Candidate) -> str:
        """Return when the first of the most important victims started: the later, the less is lost."""
        highest = max(victim.priority for victim in candidate.victims)
        return min(started_at(self._current(v)) for v in candidate.victims if v.priority == highest)


class _Tried(NamedTuple):
    """What was found out of a node, when it last changed before that, and the pods that it was kept for."""

    changed_at: int
    kept_for: tuple[str, ...]
    answer: Candidate | Status


def started_at(pod: Object) -> str:
    """Return status.startTime; a pod that has not started yet counts as started last."""
    return (pod.get("status") or {}).get("startTime") or "9999"


def is_preempted(pod: Object) -> bool:
    """Tell whether a pod is going because the scheduler evicted it."""
    if not meta.is_deleting(pod):
        return False
    condition = meta.find_condition(pod, "DisruptionTarget") or {}
    return (condition.get("status"), condition.get("reason")) == ("True", "PreemptionByScheduler")
