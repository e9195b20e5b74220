"""Bound what evaluation may cost: steps, and the sizes of what they touch.

A step is one node of the tree or a tenth of a character, as in upstream's runtime cost (cel-go
interpreter/runtimecost.go, apiserver/pkg/cel/library/cost.go). Every straight-line part is charged as a whole
before it runs, a loop's body once a turn, and functions charge for what they read and make before they make it.
So the count depends on the values alone, and never on time.
"""

from __future__ import annotations

from proa.objects.cel.errors import CostExceeded

DEFAULT_COST = 100_000
"""What one expression may cost: about 20 ms. Upstream's is 1,000,000 (PerCallLimit), on a core of its own."""


class Budget:
    """What is left to spend; several expressions may share one."""

    __slots__ = ("left",)

    def __init__(self, cost: int = DEFAULT_COST) -> None:
        self.left = cost

    def charge(self, cost: int) -> None:
        """Spend; raise CostExceeded when nothing is left."""
        self.left -= cost
        if self.left < 0:
            raise CostExceeded
