"""Turn the counters of a revision's pods, and what waits for them, into the means that its scale is decided on.

Knative scrapes means and adds what its activator reports, less what came by it (pkg/autoscaler/metrics). Here each pod
tells counters, and only what waits is counted beside them, so nothing counts twice: a request waits, or a pod has it.
Pods that do not answer are taken to have what the others have, as there. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from proa.ml.serving.records import Load
from proa.ml.serving.scaling.annotations import RPS, ScalingSpec
from proa.ml.serving.scaling.window import Window

YOUNG_SECONDS = 10.0
"""A pod that is asked for the first time tells of its whole life, where that was short."""


class Means(NamedTuple):
    """Of the metric, over both windows."""

    stable: float
    panic: float


class _Rates(NamedTuple):
    concurrency: float
    requests: float


class Observation:
    """What is known of one revision's load."""

    def __init__(self, spec: ScalingSpec) -> None:
        self._spec = spec
        self._stable, self._panic = Window(spec.stable_seconds), Window(spec.panic_seconds)
        self._loads: dict[str, Load] = {}
        self._held: Load | None = None
        self._until: float | None = None

    def add(self, loads: Mapping[str, Load | None], held: Load | None, now: float) -> None:
        """Take in what pods tell, by name, None for one that did not answer, and what the activator holds."""
        told = {pod: load for pod, load in loads.items() if load is not None}
        rates = [_rates(self._loads.get(pod), load) for pod, load in told.items()]
        waiting = _waiting(self._held, held)
        kept = {pod: load for pod, load in self._loads.items() if pod in loads}
        self._loads, self._held = kept | told, held
        if loads and not rates:
            return  # the next answer is of this time, too
        share = len(loads) / len(rates) if rates else 0.0
        if self._spec.metric == RPS:
            rate = sum(rate.requests for rate in rates) * share
            arrived = waiting.requests
        else:
            rate = sum(rate.concurrency for rate in rates) * share
            arrived = waiting.concurrency
        began = self._until if self._until is not None else now - 1.0
        self._stable.add(began, now, rate + arrived)
        self._panic.add(began, now, rate + arrived)
        self._until = now

    def pause(self) -> None:
        """Take in that there is nothing to observe from now on: what comes next is of its own second."""
        self._until = self._held = None
        self._loads = {}

    def means(self, now: float) -> Means | None:
        """Return the means, None where nothing is known."""
        stable, panic = self._stable.mean(now), self._panic.mean(now)
        if stable is None:
            return None
        return Means(max(0.0, stable), max(0.0, panic or 0.0))


def _rates(before: Load | None, load: Load) -> _Rates:
    """Return the means between two samples of a pod; of one alone what it tells of now."""
    if before is None or before.instance != load.instance or before.seconds > load.seconds:
        if load.seconds > YOUNG_SECONDS or load.seconds <= 0:
            return _Rates(float(load.in_hand), 0.0)
        before = Load(load.instance, 0.0, 0.0, 0, 0)
    span = load.seconds - before.seconds
    if span <= 0:
        return _Rates(float(load.in_hand), 0.0)
    busy, requests = load.busy_seconds - before.busy_seconds, load.requests - before.requests
    return _Rates(max(0.0, busy / span), max(0.0, requests / span))


def _waiting(before: Load | None, held: Load | None) -> _Rates:
    """Return the mean of what waited, and by how much it grew a second: what a pod takes over is counted there."""
    if held is None:
        return _Rates(0.0, 0.0)
    if before is None or before.instance != held.instance or held.seconds <= before.seconds:
        return _Rates(float(held.in_hand), float(held.in_hand))
    span = held.seconds - before.seconds
    return _Rates(
        max(0.0, (held.busy_seconds - before.busy_seconds) / span), (held.in_hand - before.in_hand) / span
    )
