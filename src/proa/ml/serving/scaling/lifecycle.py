"""Decide what becomes of a revision's scale: limits, the way to zero and back, and when the activator is in the path.

    ACTIVATING   it has fewer ready pods than it should: what waits is held, and nothing is taken away from it
    ACTIVE       it has them
    INACTIVE     nobody has asked for a stable window: the activator is in the path; once that is acknowledged, or the
                 grace period is over, and the last pod was retained as long as asked, its scale is zero

A revision that never was ready is never scaled to zero, however long it takes. Source: Knative's
pkg/reconciler/autoscaling/kpa (scaler.go, computeActiveCondition in kpa.go), where one that takes longer than its
progress deadline is. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from proa.ml.serving.scaling.annotations import GRACE_SECONDS, ScalingSpec
from proa.ml.serving.scaling.decider import Decision


class Phase(StrEnum):
    """Knative's condition Active: Unknown, True, False."""

    ACTIVATING = "Activating"
    ACTIVE = "Active"
    INACTIVE = "Inactive"


class Lifecycle(NamedTuple):
    """Where a revision is, and since when (seconds of a clock that only goes forward)."""

    phase: Phase
    since: float
    was_ready: bool
    """It had a ready pod once."""
    is_initialized: bool
    """It had as many as it should begin with."""


class Situation(NamedTuple):
    """What there is."""

    replicas: int
    """That the Deployment asks for."""
    ready: int
    held: int
    """Requests that wait for a pod."""
    is_in_path: bool
    """The cluster leads requests to the activator: somebody saw it."""


class Plan(NamedTuple):
    """`replicas` None leaves the scale as it is. Look again after `again_seconds`, 0: when something changes."""

    lifecycle: Lifecycle
    replicas: int | None
    needs_activator: bool
    again_seconds: float = 0.0


class _Wanted(NamedTuple):
    pods: int | None
    """None: nobody knows."""
    replicas: int | None
    again_seconds: float = 0.0


def begin(replicas: int, was_ready: bool, now: float) -> Lifecycle:
    """Return the lifecycle of a revision that nothing is known of but its Deployment."""
    phase = Phase.ACTIVATING if replicas else Phase.INACTIVE
    return Lifecycle(phase, now, was_ready, was_ready)


def plan(
    spec: ScalingSpec, before: Lifecycle, situation: Situation, decision: Decision | None, now: float
) -> Plan:
    """Return what to do; `decision` is None while nothing is known of the load."""
    ready = situation.ready
    lifecycle = before._replace(
        was_ready=before.was_ready or ready > 0,
        is_initialized=before.is_initialized or ready >= max(1, spec.min_scale, spec.initial_scale),
    )
    if not spec.is_ours:
        return Plan(lifecycle, None, ready == 0)
    wanted = _want(spec, lifecycle, situation, decision, now)
    phase = _next_phase(spec, lifecycle, wanted.pods, ready)
    if phase != lifecycle.phase:
        lifecycle = lifecycle._replace(phase=phase, since=now)
    is_short = decision.excess_burst_capacity < 0 if decision else spec.burst_capacity != 0
    needs_activator = ready == 0 or phase == Phase.INACTIVE or is_short
    replicas = wanted.replicas if wanted.replicas != situation.replicas else None
    again = wanted.again_seconds
    if phase == Phase.INACTIVE and situation.replicas and not again:
        again = 1.0
    return Plan(lifecycle, replicas, needs_activator, again)


def _want(
    spec: ScalingSpec, lifecycle: Lifecycle, situation: Situation, decision: Decision | None, now: float
) -> _Wanted:
    least = spec.min_scale
    if not lifecycle.is_initialized and spec.is_reachable and spec.initial_scale > 1:
        least = max(least, spec.initial_scale)
    if situation.held and not situation.replicas:
        first = _bounded(spec, least, max(1, spec.activation_scale, decision.desired if decision else 0))
        return _Wanted(first, first)
    if decision is None:
        if spec.can_change:
            kept = _bounded(spec, least, situation.replicas)
            return _Wanted(
                None, kept if kept > situation.replicas or lifecycle.phase == Phase.ACTIVE else None
            )
        return _Wanted(least, least)
    desired = _bounded(spec, least, decision.desired)
    return _Wanted(desired, desired) if desired else _towards_zero(spec, lifecycle, situation, now)


def _towards_zero(spec: ScalingSpec, lifecycle: Lifecycle, situation: Situation, now: float) -> _Wanted:
    """Take the steps to zero, each when it is due."""
    passed = now - lifecycle.since
    if lifecycle.phase == Phase.ACTIVATING:
        if not lifecycle.was_ready or situation.held:
            return _Wanted(None, None)
        left = spec.activation_seconds - passed
        return _Wanted(0, 0) if left <= 0 else _Wanted(None, None, left)
    if lifecycle.phase == Phase.ACTIVE:
        left = spec.stable_seconds - passed
        return _Wanted(0, None) if left <= 0 else _Wanted(1, 1, left)
    if situation.held:
        return _Wanted(1, None)
    left = spec.retention_seconds - passed
    if left > 0:
        return _Wanted(0, None, left)
    left = GRACE_SECONDS - passed
    return _Wanted(0, 0) if situation.is_in_path or left <= 0 else _Wanted(0, None, left)


def _next_phase(spec: ScalingSpec, lifecycle: Lifecycle, pods: int | None, ready: int) -> Phase:
    if pods == 0:
        return Phase.INACTIVE
    if pods is None and lifecycle.phase == Phase.INACTIVE:
        return Phase.INACTIVE
    threshold = max(1, spec.min_scale)
    if not lifecycle.is_initialized:
        threshold = max(threshold, spec.initial_scale)
    return Phase.ACTIVE if ready >= threshold else Phase.ACTIVATING


def _bounded(spec: ScalingSpec, least: int, pods: int) -> int:
    pods = max(least, pods)
    return min(pods, spec.max_scale) if spec.max_scale else pods
