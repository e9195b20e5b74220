"""Decide on which node a pod runs, or why on none; nothing is done about it here.

Follows pkg/scheduler/schedule_one.go (schedulePod, findNodesThatFitPod, RunFilterPluginsWithNominatedPods).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from proa.objects.quick_dataclass import dataclass
from proa.scheduler.framework import Code, Facts, Profile, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.nominations import Nominations
from proa.scheduler.pod_info import PodInfo
from proa.scheduler.ranking import Diagnosis, Ranking
from proa.scheduler.rankings import Rankings
from proa.scheduler.snapshot import Snapshot


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """A node for a pod, and what pre-filters found out about the pod."""

    node: NodeInfo
    facts: Facts


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """No node. `ranking` is None where a pre-filter (`status`) spoke for all nodes."""

    diagnosis: Diagnosis
    ranking: Ranking | None
    status: Status | None = None


class Decider:
    """Decides by one profile."""

    def __init__(
        self, profile: Profile, snapshot: Snapshot, nominations: Nominations, random: Callable[[], float]
    ) -> None:
        self.profile = profile
        self._snapshot = snapshot
        self._nominations = nominations
        self._rankings = Rankings(profile, snapshot, random)

    def decide(self, pod: PodInfo) -> Placement | Refusal:
        """Return a node that fits, the best, or the one that is kept for the pod."""
        facts = self.profile.run_pre_filters(pod)
        if isinstance(facts, Status):
            return Refusal(self._diagnose_all(facts), None, facts)
        ranking = self._rankings.ranking_for(pod, facts)
        kept = self._nominations.node_of(pod.uid)
        if kept and ranking.fits(kept) and self.check(ranking, pod, kept) is None:
            return Placement(self._snapshot.nodes[kept], facts)
        refused: dict[str, Status] = {}
        while (node := ranking.best(refused)) is not None:
            status = self.check(ranking, pod, node.name) if self._nominations.on(node.name) else None
            if status is None:
                return Placement(node, facts)
            refused[node.name] = status
        return Refusal(_with_refused(ranking.diagnose(), refused), ranking)

    def assume(self, pod: PodInfo, placement: Placement) -> Refusal | None:
        """Have plugins take what the pod needs on its node, and count it there; return why that cannot be."""
        status = self.profile.run_reserves(pod, placement.node, placement.facts)
        if status is not None:
            return Refusal(self._diagnose_all(status), None, status)
        self._snapshot.add_pod(pod, placement.node.name, assumed=True)
        return None

    def give_back(self, pod: PodInfo, placement: Placement) -> bool:
        """Take back what was assumed; tell whether the API had not confirmed it."""
        self.profile.run_unreserves(pod, placement.facts)
        return self._snapshot.forget(pod.uid)

    def check(self, ranking: Ranking, pod: PodInfo, node_name: str) -> Status | None:
        """Return why a node, as it is now or in a trial, would not do, with the pods that it is kept for or without.

        The ranking must have been asked (`best`, `fits`) since nodes changed for good.
        """
        ahead = [
            each
            for each in self._nominations.ahead_of(pod, node_name)
            if not self._snapshot.node_of(each.uid)
        ]
        if ahead:
            node = self._snapshot.nodes[node_name]
            for other in ahead:
                self._snapshot.put(other, node)
            status = ranking.check(node_name)
            for other in ahead:
                self._snapshot.lift(other, node)
            ranking.settle(node_name)
            if status is not None:
                return status
        return ranking.check(node_name)

    def close(self) -> None:
        """Forget all rankings."""
        self._rankings.close()

    def _diagnose_all(self, status: Status) -> Diagnosis:
        nodes = self._snapshot.nodes
        reasons = Counter(dict.fromkeys(status.reasons, len(nodes)))
        hopeful = tuple(nodes) if status.code is Code.UNSCHEDULABLE else ()
        return Diagnosis(len(nodes), reasons, frozenset({status.plugin}), hopeful)


def _with_refused(diagnosis: Diagnosis, refused: dict[str, Status]) -> Diagnosis:
    """Add the nodes that would fit if they were not kept for other pods."""
    if not refused:
        return diagnosis
    reasons = Counter(diagnosis.reasons)
    for status in refused.values():
        reasons.update(status.reasons)
    plugins = diagnosis.plugins.union(status.plugin for status in refused.values())
    hopeful = [name for name, status in refused.items() if status.code is Code.UNSCHEDULABLE]
    return Diagnosis(diagnosis.nodes, reasons, plugins, (*diagnosis.hopeful, *hopeful))
