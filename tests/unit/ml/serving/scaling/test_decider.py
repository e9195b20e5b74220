"""How many pods a load asks for, as Knative's rules have it: single decisions, and whole stories second by second."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from proa.ml.serving.records import Load
from proa.ml.serving.scaling.annotations import ScalingSpec
from proa.ml.serving.scaling.decider import Decider
from proa.ml.serving.scaling.observation import Observation

TEN = ScalingSpec(target=10, total=10)


@pytest.mark.parametrize(
    ("spec", "stable", "panic", "ready", "desired"),
    [
        (TEN, 0, 0, 1, 0),
        (TEN, 10, 10, 1, 1),
        (TEN, 10.1, 10.1, 1, 2),
        (TEN, 100, 100, 10, 10),
        (TEN, 20, 20, 10, 5),  # no more than half of them at once
        (TEN._replace(is_reachable=False), 0, 0, 10, 0),  # nobody can ask it: all of them
        (TEN._replace(max_up_rate=2), 100, 100, 3, 6),
        (TEN._replace(max_up_rate=1.1), 30, 30, 2, 3),  # rounded up, or it would stay as it is
        (TEN, 15, 30, 2, 2),  # below twice of what they can take: no panic
        (TEN, 15, 31, 2, 4),  # panic
        (TEN._replace(activation_scale=3), 1, 1, 1, 3),
        (TEN._replace(activation_scale=3), 0, 0, 1, 0),
        (TEN, 60, 20, 1, 6),  # in a panic the larger of both
    ],
)
def test_a_decision_is_knatives(
    spec: ScalingSpec, stable: float, panic: float, ready: int, desired: int
) -> None:
    decider = Decider(ready=1, now=0)
    assert decider.decide(spec, stable, panic, ready, now=1).desired == desired


@pytest.mark.parametrize(
    ("capacity", "panic", "ready", "excess"),
    [(0, 500, 1, 0), (-1, 0, 100, -1), (5, 0, 1, 5), (5, 12.5, 2, 2), (5, 20, 2, -5), (5, 0, 0, -5)],
)
def test_the_burst_capacity_that_is_left_is_knatives(
    capacity: float, panic: float, ready: int, excess: int
) -> None:
    decision = Decider(1, 0).decide(TEN._replace(burst_capacity=capacity), 0, panic, ready, 1)
    assert decision.excess_burst_capacity == excess


def test_in_a_panic_nothing_goes_until_a_stable_window_has_passed_without() -> None:
    decider = Decider(ready=1, now=0)
    assert decider.decide(TEN, 10, 50, 1, now=10).desired == 5
    for now in range(11, 71):
        assert decider.decide(TEN, 10, 10, 5, now=now).desired == 5
    assert decider.is_panicking
    assert decider.decide(TEN, 10, 10, 5, now=71).desired == 2
    assert not decider.is_panicking


def test_who_begins_with_several_pods_lets_none_go_before_it_knows_more() -> None:
    decider = Decider(ready=4, now=0)
    assert [decider.decide(TEN, 0, 0, 4, now=now).desired for now in (1, 30, 60)] == [4, 4, 4]
    assert decider.decide(TEN, 0, 0, 4, now=61).desired == 2


def test_scaling_down_waits_as_long_as_asked() -> None:
    spec = TEN._replace(down_delay_seconds=5.0)
    decider = Decider(ready=1, now=0)
    assert decider.decide(spec, 30, 15, 3, now=100).desired == 3
    assert [decider.decide(spec, 10, 10, 3, now=100 + n).desired for n in range(1, 7)] == [3, 3, 3, 3, 1, 1]


def story(spec: ScalingSpec, load_of: Callable[[int], float], seconds: int) -> list[int]:
    """Return the scale at each second; a pod that is asked for is there with the next second."""
    observation, decider, pods = Observation(spec), Decider(1, 0.0), 1
    counters: dict[str, Load] = {}
    scales = []
    for now in range(1, seconds + 1):
        share = load_of(now) / pods
        for n in range(pods):
            before = counters.get(f"pod-{n}", Load(f"i{n}", 0.0, 0.0, 0, 0))
            counters[f"pod-{n}"] = Load(
                before.instance,
                before.seconds + 1,
                before.busy_seconds + share,
                before.requests + round(share),
                round(share),
            )
        observation.add({f"pod-{n}": counters[f"pod-{n}"] for n in range(pods)}, None, float(now))
        means = observation.means(float(now))
        assert means is not None
        pods = max(1, decider.decide(spec, means.stable, means.panic, pods, float(now)).desired)
        scales.append(pods)
    return scales


@pytest.mark.parametrize("metric", ["concurrency", "rps"])
def test_a_load_that_stays_has_the_pods_that_it_needs(metric: str) -> None:
    scales = story(TEN._replace(metric=metric), lambda now: 35, 90)
    assert scales[-1] == 4
    assert max(scales) == 4


def test_a_load_that_doubles_slowly_is_followed_by_the_stable_window_alone() -> None:
    def load(now: int) -> float:
        return 10 if now <= 60 else 18

    scales = story(TEN, load, 200)
    assert scales[59] == 1
    # Knative: the mean of 60 s passes 10 with the first second of more than it
    assert scales[60:62] == [2, 2]
    assert scales[-1] == 2


def test_a_surge_is_answered_within_the_panic_window_and_let_go_slowly() -> None:
    spec = TEN

    def load(now: int) -> float:
        return 100 if 60 < now <= 70 else 5

    scales = story(spec, load, 260)
    # the panic window has the mean of its six seconds, one more of the surge each
    assert scales[60:66] == [math.ceil((5 * (6 - n) + 100 * n) / 60) for n in range(1, 7)]
    # it was over the threshold in second 61 alone (three pods wanted of one): a stable window later it ends
    end_of_panic = next(n for n in range(70, 260) if scales[n] < 10)
    assert end_of_panic + 1 == 61 + 60 + 1
    assert scales[end_of_panic : end_of_panic + 3] == [5, 2, 2]  # at most halves


def test_what_waits_counts_once_and_what_a_pod_took_over_no_more() -> None:
    spec = TEN._replace(metric="rps")
    observation = Observation(spec)
    observation.add({}, Load("a", 1.0, 20.0, 40, 40), 1.0)  # forty wait
    assert observation.means(1.0) == (40, 40)
    pod = Load("p", 1.0, 0.5, 40, 0)
    observation.add({"p": pod}, Load("a", 2.0, 30.0, 40, 0), 2.0)  # a pod took them
    means = observation.means(2.0)
    assert means is not None
    assert means.stable == 20  # forty in two seconds


def test_pods_that_do_not_answer_are_as_the_others() -> None:
    observation = Observation(TEN)
    observation.add({"a": Load("a", 1, 3, 3, 3), "b": None}, None, 1.0)
    assert observation.means(1.0) == (6, 6)
    observation.add({"a": None, "b": None}, None, 2.0)
    assert observation.means(2.0) == (6, 6)
    observation.add({"a": Load("a", 3, 5, 5, 1), "b": Load("b", 3, 2, 5, 1)}, None, 3.0)
    # of a the last two seconds, of b its whole life
    assert observation.means(3.0) == (pytest.approx((6 + 2 * (1 + 2 / 3)) / 3, abs=1e-5),) * 2


def test_a_pod_that_began_again_is_not_compared_with_its_former_self() -> None:
    observation = Observation(TEN)
    observation.add({"a": Load("a", 1000, 9000, 3, 4)}, None, 1.0)
    assert observation.means(1.0) == (4, 4)  # of an old one only what it has now
    observation.add({"a": Load("b", 0.5, 1.0, 3, 4)}, None, 2.0)
    assert observation.means(2.0) == (3, 3)
