"""Prefer nodes on which resources are used alike (plugins/noderesources/balanced_allocation.go)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

from proa.scheduler.framework import MAX_SCORE, Event
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.plugins.resource_scores import CPU_AND_MEMORY, Weighted, balance, requested_with
from proa.scheduler.pod_info import PodInfo


class BalancedAllocation:
    """A score: the nearer the used shares are to one another, the higher. Pods that request nothing have none."""

    NAME = "NodeResourcesBalancedAllocation"
    HELPED_BY: frozenset[Event] = frozenset()
    WEIGHT = 1
    NORMALIZE: Literal[""] = ""
    SCORE_DEPENDS_ON_PODS = True

    def __init__(self, resources: Sequence[Weighted] = CPU_AND_MEMORY) -> None:
        self._resources = tuple(resource.name for resource in resources)
        self._is_plain = self._resources == ("cpu", "memory")

    def score(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> int:
        """Return 100 less the standard deviation of the shares, in percent."""
        if self._is_plain:
            cpu, memory = pod.cpu_millis, pod.memory_bytes
            if not (cpu or memory):
                return 0
            all_cpu, all_memory = node.cpu_millis, node.memory_bytes
            if all_cpu and all_memory:
                first = (node.requested_cpu_millis + cpu) / all_cpu
                second = (node.requested_memory_bytes + memory) / all_memory
                if first > 1.0:
                    first = 1.0
                if second > 1.0:
                    second = 1.0
                return int((1 - abs((first - second) / 2)) * MAX_SCORE)
        wanted = pod.requests
        if not any(wanted.get(name) for name in self._resources):
            return 0
        amounts = [requested_with(pod, node, name, assumed=False) for name in self._resources]
        return balance([min(used / available, 1.0) for used, available in amounts if available])
