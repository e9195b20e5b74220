"""Let more important pods take the place of less important ones (plugins/defaultpreemption).

What is evicted for whom is worked out in preemption.py; this plugin says whether a profile does so, and within which
limits.
"""

from __future__ import annotations

from proa.scheduler.framework import Event

NAME = "DefaultPreemption"


class DefaultPreemption:
    """A plugin without points of its own: as many nodes with victims are enough as the larger of the two says."""

    NAME = NAME
    HELPED_BY: frozenset[Event] = frozenset()

    def __init__(self, percent: int = 10, absolute: int = 100) -> None:
        self.percent = percent
        self.absolute = absolute

    def enough_of(self, nodes: int) -> int:
        """Return how many candidates to find among so many nodes."""
        return min(max(nodes * self.percent // 100, self.absolute), nodes)
