"""Never put more on a node than it has, and prefer nodes with more left.

Follows plugins/noderesources/fit.go and least_allocated.go.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

from proa.scheduler.framework import MAX_SCORE, Code, Event, Status
from proa.scheduler.snapshot import NodeInfo, PodInfo


class NodeResourcesFit:
    """A filter on requests and the number of pods; a score on free cpu and memory, each counting half."""

    NAME = "NodeResourcesFit"
    HELPED_BY = frozenset({Event.NODE_ADDED, Event.NODE_ALLOCATABLE, Event.POD_REMOVED})
    DEPENDS_ON_PODS = True
    WEIGHT = 1
    NORMALIZE: Literal[""] = ""
    SCORE_DEPENDS_ON_PODS = True

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Refuse a node that lacks room for one more pod or for any request, and name all that it lacks."""
        fits = len(node.pods) < node.allowed_pods
        allocatable, requested = node.allocatable, node.requested
        for resource, amount in pod.requests.items():
            if amount and amount > allocatable.get(resource, 0) - requested.get(resource, 0):
                fits = False
                break
        return None if fits else self._rejection(pod, node)

    def _rejection(self, pod: PodInfo, node: NodeInfo) -> Status:
        reasons = ["Too many pods"] if len(node.pods) >= node.allowed_pods else []
        code = Code.UNSCHEDULABLE
        for resource, amount in pod.requests.items():
            allocatable = node.allocatable.get(resource, 0)
            if amount and amount > allocatable - node.requested.get(resource, 0):
                reasons.append(f"Insufficient {resource}")
                if amount > allocatable:
                    code = Code.UNRESOLVABLE
        return Status(code, self.NAME, tuple(reasons))

    def score(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> int:
        """Return the mean share of cpu and memory that is left with the pod, as a percentage."""
        cpu = _free_percent(node.allocatable.get("cpu", 0), node.scored_cpu_millis + pod.scored_cpu_millis)
        memory = _free_percent(
            node.allocatable.get("memory", 0), node.scored_memory_bytes + pod.scored_memory_bytes
        )
        return (cpu + memory) // 2


def _free_percent(allocatable: int, requested: int) -> int:
    if not allocatable or requested > allocatable:
        return 0
    return (allocatable - requested) * MAX_SCORE // allocatable
