"""Bound what the search for devices may cost: a pod whose claims ask for the impossible must not hold up the others."""

from __future__ import annotations

MAX_DEVICES = 50_000
MAX_COST = 2_500_000


class TimedOut(Exception):
    """The search for devices has cost what it may."""


class SelectorError(Exception):
    """An expression is wrong, or fails for a device; the message says which."""


class Effort:
    """What the search for one pod's devices may still cost, on all nodes together.

    `devices` are those to look at, `cost` the steps of expressions (objects/cel/budget.py); each comes to some 0.5 s.
    """

    __slots__ = ("cost", "devices")

    def __init__(self, devices: int = MAX_DEVICES, cost: int = MAX_COST) -> None:
        self.devices = devices
        self.cost = cost

    def look_at_device(self) -> None:
        """Count a device that is looked at; raise TimedOut."""
        self.devices -= 1
        if self.devices < 0:
            raise TimedOut

    def check_cost(self) -> None:
        """Raise TimedOut where nothing is left for expressions."""
        if self.cost <= 0:
            raise TimedOut
