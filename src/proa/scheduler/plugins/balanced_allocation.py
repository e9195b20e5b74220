"""Prefer nodes on which cpu and memory are used alike (plugins/noderesources/balanced_allocation.go)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

from proa.scheduler.framework import MAX_SCORE, Event
from proa.scheduler.snapshot import NodeInfo, PodInfo


class BalancedAllocation:
    """A score: the nearer the two used shares are to one another, the higher."""

    NAME = "NodeResourcesBalancedAllocation"
    HELPED_BY: frozenset[Event] = frozenset()
    WEIGHT = 1
    NORMALIZE: Literal[""] = ""
    SCORE_DEPENDS_ON_PODS = True

    def score(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> int:
        """Return 100 less half the difference of the shares, in percent."""
        difference = abs(_share(pod, node, "cpu") - _share(pod, node, "memory"))
        return int((1.0 - difference / 2.0) * MAX_SCORE)


def _share(pod: PodInfo, node: NodeInfo, resource: str) -> float:
    allocatable = node.allocatable.get(resource, 0)
    if not allocatable:
        return 0.0
    return min((node.requested.get(resource, 0) + pod.requests.get(resource, 0)) / allocatable, 1.0)
