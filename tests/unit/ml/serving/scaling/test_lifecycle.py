"""The way to zero and back, step by step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.ml.serving.scaling.annotations import ScalingSpec
from proa.ml.serving.scaling.decider import Decision
from proa.ml.serving.scaling.lifecycle import Lifecycle, Phase, Plan, Situation, begin, plan

SPEC = ScalingSpec(max_scale=4)
NOW = 1000.0


def lifecycle(phase: Phase, ago: float = 0.0, *, was_ready: bool = True) -> Lifecycle:
    return Lifecycle(phase, NOW - ago, was_ready, was_ready)


def decide(
    before: Lifecycle,
    *,
    desired: int | None,
    replicas: int = 1,
    ready: int = 1,
    held: int = 0,
    in_path: bool = False,
    spec: ScalingSpec = SPEC,
    excess: int = 0,
) -> Plan:
    decision = None if desired is None else Decision(desired, excess)
    return plan(spec, before, Situation(replicas, ready, held, in_path), decision, NOW)


@pytest.mark.parametrize(
    ("made", "phase", "replicas", "activator"),
    [
        (decide(lifecycle(Phase.ACTIVE), desired=3), Phase.ACTIVE, 3, False),
        (decide(lifecycle(Phase.ACTIVE), desired=9), Phase.ACTIVE, 4, False),
        (decide(lifecycle(Phase.ACTIVE), desired=1), Phase.ACTIVE, None, False),
        (decide(lifecycle(Phase.ACTIVE), desired=None), Phase.ACTIVE, None, False),
        (decide(lifecycle(Phase.ACTIVE), desired=1, excess=-1), Phase.ACTIVE, None, True),
        (decide(lifecycle(Phase.ACTIVE), desired=1, ready=0), Phase.ACTIVATING, None, True),
        (decide(lifecycle(Phase.ACTIVE, 59), desired=0), Phase.ACTIVE, None, False),
        (decide(lifecycle(Phase.ACTIVE, 60), desired=0), Phase.INACTIVE, None, True),
        (decide(lifecycle(Phase.INACTIVE, 5), desired=0), Phase.INACTIVE, None, True),
        (decide(lifecycle(Phase.INACTIVE, 5), desired=0, in_path=True), Phase.INACTIVE, 0, True),
        (decide(lifecycle(Phase.INACTIVE, 30), desired=0), Phase.INACTIVE, 0, True),
        (decide(lifecycle(Phase.INACTIVE, 5), desired=2, in_path=True), Phase.ACTIVE, 2, False),
        (decide(lifecycle(Phase.INACTIVE, 40), desired=0, held=1, ready=0), Phase.ACTIVATING, None, True),
        (decide(lifecycle(Phase.INACTIVE), desired=None, replicas=0, ready=0), Phase.INACTIVE, None, True),
        (
            decide(lifecycle(Phase.INACTIVE), desired=0, replicas=0, ready=0, held=1),
            Phase.ACTIVATING,
            1,
            True,
        ),
        (decide(lifecycle(Phase.ACTIVATING, 60), desired=0, ready=0), Phase.ACTIVATING, None, True),
        (decide(lifecycle(Phase.ACTIVATING, 630), desired=0, ready=0), Phase.INACTIVE, 0, True),
        (decide(lifecycle(Phase.ACTIVATING, 630), desired=0, ready=0, held=1), Phase.ACTIVATING, None, True),
        (
            decide(lifecycle(Phase.ACTIVATING, 9e5, was_ready=False), desired=0, ready=0),
            Phase.ACTIVATING,
            None,
            True,
        ),
        (decide(lifecycle(Phase.ACTIVATING, 5), desired=1), Phase.ACTIVE, None, False),
    ],
    ids=[
        "as the load asks",
        "no more than allowed",
        "as it is",
        "nothing known",
        "short of burst capacity",
        "its pod is gone",
        "idle, not long enough",
        "idle for a stable window",
        "the activator is not in the path yet",
        "it is",
        "the grace period is over",
        "somebody asks again",
        "somebody waits for a pod that is gone",
        "at zero",
        "the first request",
        "a slow starter",
        "it takes too long, and nobody waits",
        "it takes too long, and somebody waits",
        "never ready, never reaped",
        "ready",
    ],
)
def test_each_step(made: Plan, phase: Phase, replicas: int | None, activator: bool) -> None:
    assert (made.lifecycle.phase, made.replicas, made.needs_activator) == (phase, replicas, activator)


def test_the_last_pod_is_retained_as_long_as_asked() -> None:
    spec = SPEC._replace(retention_seconds=90.0)
    early = decide(lifecycle(Phase.INACTIVE, 60), desired=0, in_path=True, spec=spec)
    assert (early.replicas, early.again_seconds) == (None, 30)
    assert decide(lifecycle(Phase.INACTIVE, 90), desired=0, in_path=True, spec=spec).replicas == 0


def test_a_new_revision_keeps_its_initial_scale_until_it_had_it() -> None:
    spec = SPEC._replace(initial_scale=3)
    new = begin(3, was_ready=False, now=NOW)
    assert decide(new, desired=1, replicas=3, ready=1, spec=spec).replicas is None
    had = decide(new, desired=1, replicas=3, ready=3, spec=spec)
    assert (had.lifecycle.phase, had.replicas) == (Phase.ACTIVE, 1)


def test_the_first_pods_after_zero_are_as_many_as_the_activation_scale() -> None:
    spec = SPEC._replace(activation_scale=2)
    assert decide(lifecycle(Phase.INACTIVE), desired=0, replicas=0, ready=0, held=1, spec=spec).replicas == 2


def test_what_an_hpa_scales_is_left_to_it_but_its_requests_are_held() -> None:
    spec = SPEC._replace(is_ours=False)
    assert decide(lifecycle(Phase.ACTIVE, 900), desired=0, spec=spec).replicas is None
    assert decide(lifecycle(Phase.ACTIVE), desired=None, ready=0, spec=spec).needs_activator


def test_a_scale_that_its_limits_hold_is_kept_without_any_load() -> None:
    spec = SPEC._replace(min_scale=2, max_scale=2)
    assert decide(lifecycle(Phase.ACTIVE), desired=None, replicas=1, spec=spec).replicas == 2


@given(
    st.sampled_from(Phase),
    st.floats(0, 2000),
    st.booleans(),
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(0, 3),
    st.booleans(),
    st.one_of(st.none(), st.integers(0, 9)),
    st.integers(0, 3),
)
def test_nothing_that_was_never_ready_or_that_somebody_waits_for_goes_to_zero(
    phase: Phase,
    ago: float,
    was_ready: bool,
    replicas: int,
    ready: int,
    held: int,
    in_path: bool,
    desired: int | None,
    least: int,
) -> None:
    spec = SPEC._replace(min_scale=least)
    before = lifecycle(phase, ago, was_ready=was_ready)
    ready = min(ready, replicas)
    made = decide(
        before, desired=desired, replicas=replicas, ready=ready, held=held, in_path=in_path, spec=spec
    )
    if made.replicas is not None:
        assert least <= made.replicas <= 4
    if made.replicas == 0:
        assert not held
        assert phase == Phase.INACTIVE or was_ready
    assert made.needs_activator or ready > 0
    again = plan(
        spec, made.lifecycle, Situation(replicas, ready, held, in_path), Decision(desired or 0, 0), NOW
    )
    assert again.replicas is None or again.replicas >= least
