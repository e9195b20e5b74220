"""Decide how many pods the load of a revision asks for: the stable window's answer, or in a panic the panic window's.

Source: Knative's pkg/autoscaler/scaling/autoscaler.go. No I/O: what was observed and the time are arguments.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from proa.ml.serving.scaling.annotations import MAX_INT32, ScalingSpec
from proa.ml.serving.scaling.window import MaxWindow


class Decision(NamedTuple):
    """`desired` pods, before limits of the scale; how many more requests than wished for the ready ones could take."""

    desired: int
    excess_burst_capacity: int


class Decider:
    """What one revision's decisions remember: whether there is a panic, and what scale-down waits for.

    One that begins with more than one ready pod begins in a panic: it has no history, and lets nothing go until it has.
    """

    def __init__(self, ready: int, now: float) -> None:
        self._panic_since: float | None = now if ready > 1 else None
        self._panic_pods = ready
        self._delay: MaxWindow | None = None
        self._delay_seconds = 0.0

    @property
    def is_panicking(self) -> bool:
        """Tell whether the scale may only grow."""
        return self._panic_since is not None

    def decide(self, spec: ScalingSpec, stable: float, panic: float, ready: int, now: float) -> Decision:
        """Return the decision for the means of both windows."""
        pods = max(1, ready)
        most = math.ceil(spec.max_up_rate * pods)
        least = math.floor(pods / spec.max_down_rate) if spec.is_reachable else 0
        by_stable, by_panic = math.ceil(stable / spec.target), math.ceil(panic / spec.target)
        stable_pods = _activated(spec, by_stable, min(max(by_stable, least), most))
        panic_pods = _activated(spec, by_panic, min(max(by_panic, least), most))
        self._panic(spec, by_panic / pods >= spec.panic_threshold, now)
        desired = stable_pods
        if self._panic_since is not None:
            desired = self._panic_pods = max(self._panic_pods, stable_pods, panic_pods)
        desired = self._delayed(spec, min(desired, MAX_INT32), now)
        return Decision(desired, _excess(spec, panic, ready))

    def _panic(self, spec: ScalingSpec, is_over: bool, now: float) -> None:
        if is_over:
            self._panic_since = now
        elif self._panic_since is not None and self._panic_since + spec.stable_seconds < now:
            self._panic_since, self._panic_pods = None, 0

    def _delayed(self, spec: ScalingSpec, desired: int, now: float) -> int:
        """Return the most that was desired for as long as scaling down shall wait."""
        if self._delay_seconds != spec.down_delay_seconds:
            self._delay_seconds = spec.down_delay_seconds
            self._delay = MaxWindow(self._delay_seconds) if self._delay_seconds else None
        if self._delay is None or not spec.is_reachable:
            return desired
        return self._delay.record(now, desired)


def _activated(spec: ScalingSpec, asked: int, pods: int) -> int:
    """Return the pods, no fewer than the activation scale where the load asks for any."""
    return max(pods, spec.activation_scale) if spec.activation_scale > 1 and asked > 0 else pods


def _excess(spec: ScalingSpec, panic: float, ready: int) -> int:
    if spec.burst_capacity == 0:
        return 0
    if spec.burst_capacity < 0:
        return -1
    return math.floor(ready * spec.total - spec.burst_capacity - panic)
