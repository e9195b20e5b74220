"""Never put more on a node than it has, and prefer nodes with more left, or as the profile says.

Follows plugins/noderesources/fit.go.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Literal, NamedTuple

from proa.client.protocol import Object
from proa.objects import pods
from proa.scheduler.framework import MAX_SCORE, Code, Event, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.plugins.resource_scores import (
    CPU_AND_MEMORY,
    ShapePoint,
    Weighted,
    least_allocated,
    make_ratio,
    most_allocated,
    weighted_mean,
)
from proa.scheduler.pod_info import PodInfo

STATUSES_KEPT = 1024


class Strategy(NamedTuple):
    """How nodes are scored."""

    type: Literal["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"] = "LeastAllocated"
    resources: Sequence[Weighted] = CPU_AND_MEMORY
    shape: Sequence[ShapePoint] = ()


LEAST_ALLOCATED = Strategy()


class NodeResourcesFit:
    """A filter on requests and the number of pods; a score on what is left of resources, or in use."""

    NAME = "NodeResourcesFit"
    HELPED_BY = frozenset(
        {Event.NODE_ADDED, Event.NODE_ALLOCATABLE, Event.POD_REMOVED, Event.POD_SCALED_DOWN}
    )
    DEPENDS_ON_PODS = True
    WEIGHT = 1
    NORMALIZE: Literal[""] = ""
    SCORE_DEPENDS_ON_PODS = True

    def __init__(
        self,
        strategy: Strategy = LEAST_ALLOCATED,
        ignored: frozenset[str] = frozenset(),
        ignored_groups: frozenset[str] = frozenset(),
    ) -> None:
        """`ignored` extended resources, and those of `ignored_groups` (before the "/"), are not looked at."""
        self._strategy = strategy
        self._is_plain = strategy == LEAST_ALLOCATED
        self._ignored = ignored
        self._ignored_groups = ignored_groups
        self._score: Callable[[int, int], int] = {
            "LeastAllocated": least_allocated,
            "MostAllocated": most_allocated,
        }.get(strategy.type) or make_ratio(strategy.shape)
        self._statuses: dict[tuple[Code, tuple[str, ...]], Status] = {}

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Refuse a node that lacks room for one more pod or for any request, and name all that it lacks."""
        if (
            len(node.pods) >= node.allowed_pods
            or (pod.cpu_millis and pod.cpu_millis > node.cpu_millis - node.requested_cpu_millis)
            or (pod.memory_bytes and pod.memory_bytes > node.memory_bytes - node.requested_memory_bytes)
        ):
            return self._rejection(pod, node)
        for resource, amount in pod.other_requests:
            if amount > node.allocatable.get(resource, 0) - node.requested.get(resource, 0):
                return self._rejection(pod, node)
        return None

    def _rejection(self, pod: PodInfo, node: NodeInfo) -> Status | None:
        reasons = ["Too many pods"] if len(node.pods) >= node.allowed_pods else []
        code = Code.UNSCHEDULABLE
        for resource, amount in pod.requests.items():
            allocatable = node.allocatable.get(resource, 0)
            if (
                amount
                and amount > allocatable - node.requested.get(resource, 0)
                and not self._ignores(resource)
            ):
                reasons.append(f"Insufficient {resource}")
                if amount > allocatable:
                    code = Code.UNRESOLVABLE
        if not reasons:
            return None
        key = (code, tuple(reasons))
        status = self._statuses.get(key)
        if status is None:
            if len(self._statuses) >= STATUSES_KEPT:
                self._statuses.clear()
            status = self._statuses[key] = Status(code, self.NAME, key[1])
        return status

    def _ignores(self, resource: str) -> bool:
        return resource in self._ignored or (
            "/" in resource and resource.split("/")[0] in self._ignored_groups
        )

    def score(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> int:
        """Return the mean score of the resources."""
        if self._is_plain:
            cpu, memory = node.cpu_millis, node.memory_bytes
            if cpu and memory:
                free_cpu = cpu - node.scored_cpu_millis - pod.scored_cpu_millis
                free_memory = memory - node.scored_memory_bytes - pod.scored_memory_bytes
                cpu_score = free_cpu * MAX_SCORE // cpu if free_cpu > 0 else 0
                return (cpu_score + (free_memory * MAX_SCORE // memory if free_memory > 0 else 0)) // 2
        skip_zero = self._strategy.type == "RequestedToCapacityRatio"
        return weighted_mean(pod, node, self._strategy.resources, self._score, skip_zero=skip_zero)

    def can_help(self, pod: PodInfo, event: Event, old: Object | None, new: Object | None) -> bool:
        """Tell whether the node has enough in all, or whether a pod that is gone had something that is wanted."""
        if event in (Event.NODE_ADDED, Event.NODE_ALLOCATABLE):
            if new is None:
                return True
            node = NodeInfo(new)
            return node.allowed_pods > 0 and all(
                amount <= node.allocatable.get(resource, 0) or self._ignores(resource)
                for resource, amount in pod.requests.items()
            )
        if event is Event.POD_SCALED_DOWN and old is not None and new is not None:
            before, after = pods.resource_requests(old), pods.resource_requests(new)
            return any(after.get(resource, 0) < before.get(resource, 0) for resource in pod.requests)
        return True
