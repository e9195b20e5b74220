"""Find the pods to evict so that a more important one fits: the fewest and least important, on one node.

Each node that could fit if pods left it is tried: all less important pods are taken off it, and then put back, the
most important first, for as long as the pod fits; those whose budget (PodDisruptionBudget) would be broken are put
back before the others. What remains are the node's victims. Nothing is evicted here.
Follows pkg/scheduler/framework/preemption and plugins/defaultpreemption.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass
from proa.objects.selectors import LabelSelector, selector_from_dict
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
        found: list[Candidate] = []
        reasons: Counter[str] = Counter()
        has_harmless = False
        for name in (*names[start:], *names[:start]):
            answer = self._try_node(pod, ranking, self._snapshot.nodes[name], budgets)
            if isinstance(answer, Status):
                reasons.update(answer.reasons)
                continue
            found.append(answer)
            has_harmless = has_harmless or not answer.broken_budgets
            if has_harmless and len(found) >= enough:
                break
        return found, reasons

    def _try_node(
        self, pod: PodInfo, ranking: Ranking, node: NodeInfo, budgets: list[Budget]
    ) -> Candidate | Status:
        less_important = [other for other in node.pods.values() if other.priority < pod.priority]
        if not less_important:
            return NO_VICTIMS
        for other in less_important:
            self._snapshot.lift(other, node)
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
                self._snapshot.put(other, node)
            ranking.settle(node.name)

    def _spare(self, pod: PodInfo, ranking: Ranking, node: NodeInfo, others: list[PodInfo]) -> list[PodInfo]:
        """Put back as many pods as can stay, in their order; return the rest.

        Where the pod looks at nothing but the node, more pods never make it fit: as many as fit are put back at once,
        and their number is sought by halves.
        """
        victims: list[PodInfo] = []
        step = len(others) if not ranking.looks_beyond_node else 1
        at = 0
        while at < len(others):
            batch = others[at : at + step]
            for other in batch:
                self._snapshot.put(other, node)
            if self._decider.check(ranking, pod, node.name) is None:
                at += len(batch)
                continue
            for other in batch:
                self._snapshot.lift(other, node)
            if len(batch) == 1:
                victims += batch
                at += 1
            step = max(1, len(batch) // 2)
        return victims

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


class Budget:
    """A PodDisruptionBudget, its selector read."""

    __slots__ = ("allowed", "disrupted", "namespace", "selector")

    def __init__(self, budget: Object) -> None:
        status = budget.get("status") or {}
        self.namespace = meta.namespace(budget)
        self.selector: LabelSelector = selector_from_dict(budget["spec"].get("selector"))
        self.allowed: int = status.get("disruptionsAllowed") or 0
        self.disrupted = status.get("disruptedPods") or {}

    def covers(self, pod: PodInfo) -> bool:
        """Tell whether evicting the pod spends from the budget; an empty selector covers none."""
        if self.namespace != pod.namespace or self.selector.is_everything or pod.name in self.disrupted:
            return False
        return bool(pod.labels) and self.selector.matches(pod.labels)


def split_by_budgets(
    ordered: Sequence[PodInfo], budgets: Sequence[Budget]
) -> tuple[list[PodInfo], list[PodInfo]]:
    """Return the pods whose eviction would break a budget after those before them, and the others."""
    left = [budget.allowed for budget in budgets]
    breaking: list[PodInfo] = []
    harmless: list[PodInfo] = []
    for pod in ordered:
        is_broken = False
        for index, budget in enumerate(budgets):
            if budget.covers(pod):
                left[index] -= 1
                is_broken = is_broken or left[index] < 0
        (breaking if is_broken else harmless).append(pod)
    return breaking, harmless


def started_at(pod: Object) -> str:
    """Return status.startTime; a pod that has not started yet counts as started last."""
    return (pod.get("status") or {}).get("startTime") or "9999"


def is_preempted(pod: Object) -> bool:
    """Tell whether a pod is going because the scheduler evicted it."""
    if not meta.is_deleting(pod):
        return False
    condition = meta.find_condition(pod, "DisruptionTarget") or {}
    return (condition.get("status"), condition.get("reason")) == ("True", "PreemptionByScheduler")
