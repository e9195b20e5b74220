"""Score a node by the shares of its resources that would be in use: the rules that profiles choose from.

Follows plugins/noderesources (least_allocated.go, most_allocated.go, requested_to_capacity_ratio.go,
balanced_allocation.go, resource_allocation.go).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from proa.scheduler.framework import MAX_SCORE
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.pod_info import PodInfo

NATIVE = ("cpu", "memory", "ephemeral-storage")


class Weighted(NamedTuple):
    """A resource that is scored."""

    name: str
    weight: int = 1


CPU_AND_MEMORY = (Weighted("cpu"), Weighted("memory"))


class ShapePoint(NamedTuple):
    """A point of the curve that RequestedToCapacityRatio follows: percent in use, and the score there (0..10)."""

    utilization: int
    score: int


def least_allocated(requested: int, allocatable: int) -> int:
    """Return the share that is left, in percent."""
    if requested > allocatable:
        return 0
    return (allocatable - requested) * MAX_SCORE // allocatable


def most_allocated(requested: int, allocatable: int) -> int:
    """Return the share in use, in percent."""
    return min(requested, allocatable) * MAX_SCORE // allocatable


def make_ratio(shape: Sequence[ShapePoint]) -> Callable[[int, int], int]:
    """Return a score that follows a curve through the points, level before the first and after the last."""
    points = [(point.utilization, point.score * (MAX_SCORE // 10)) for point in shape]

    def score(requested: int, allocatable: int) -> int:
        used = MAX_SCORE if requested > allocatable else requested * MAX_SCORE // allocatable
        for index, (utilization, value) in enumerate(points):
            if used <= utilization:
                if not index:
                    return value
                start, low = points[index - 1]
                return low + _truncated((value - low) * (used - start), utilization - start)
        return points[-1][1]

    return score


def weighted_mean(
    pod: PodInfo,
    node: NodeInfo,
    resources: Sequence[Weighted],
    score: Callable[[int, int], int],
    *,
    skip_zero: bool = False,
) -> int:
    """Return the mean of the resources' scores; one that the node lacks does not count.

    `skip_zero`: nor does one that scores 0, and the mean is rounded (RequestedToCapacityRatio).
    """
    total = weights = 0
    for resource in resources:
        requested, allocatable = requested_with(pod, node, resource.name, assumed=True)
        if not allocatable:
            continue
        found = score(requested, allocatable)
        if found > 0 or not skip_zero:
            total += found * resource.weight
            weights += resource.weight
    if not weights:
        return 0
    return math.floor(total / weights + 0.5) if skip_zero else total // weights


def requested_with(pod: PodInfo, node: NodeInfo, resource: str, *, assumed: bool) -> tuple[int, int]:
    """Return what pods ask of a node with this one, and what the node has; (0, 0): the resource does not count.

    `assumed`: with the cpu and memory assumed of containers that ask for none.
    """
    own = pod.requests.get(resource, 0)
    if not own and resource not in NATIVE:
        return 0, 0
    allocatable = node.allocatable.get(resource, 0)
    if assumed and resource == "cpu":
        return node.scored_cpu_millis + pod.scored_cpu_millis, allocatable
    if assumed and resource == "memory":
        return node.scored_memory_bytes + pod.scored_memory_bytes, allocatable
    return node.requested.get(resource, 0) + own, allocatable


def balance(fractions: list[float]) -> int:
    """Return how near to one another shares in use are: MAX_SCORE less their standard deviation in percent."""
    deviation = 0.0
    if len(fractions) == 2:
        deviation = abs((fractions[0] - fractions[1]) / 2)
    elif len(fractions) > 2:
        mean = sum(fractions) / len(fractions)
        deviation = math.sqrt(
            sum((fraction - mean) * (fraction - mean) for fraction in fractions) / len(fractions)
        )
    return int((1 - deviation) * MAX_SCORE)


def _truncated(dividend: int, divisor: int) -> int:
    """Divide as Go does: towards zero."""
    quotient = abs(dividend) // divisor
    return quotient if dividend >= 0 else -quotient
