"""An autoscaler's answer is kept within bounds, rates and what it said lately."""

from __future__ import annotations

from typing import Any

import pytest

from proa.controllers.horizontal_pod_autoscaler.behavior import Change, History, normalize

NOW = 1_000_000.0


def behavior(up: dict[str, Any] | None = None, down: dict[str, Any] | None = None) -> dict[str, Any]:
    rules = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}
    four = {"type": "Pods", "value": 4, "periodSeconds": 15}
    return {
        "scaleUp": {**rules, "policies": [*rules["policies"], four], **(up or {})},
        "scaleDown": {**rules, **(down or {})},
    }


def pods(value: int, period: int = 60) -> dict[str, Any]:
    return {"type": "Pods", "value": value, "periodSeconds": period}


def percent(value: int, period: int = 60) -> dict[str, Any]:
    return {"type": "Percent", "value": value, "periodSeconds": period}


@pytest.mark.parametrize(
    ("desired", "current", "replicas", "reason"),
    [
        pytest.param(5, 4, 5, "DesiredWithinRange", id="within"),
        pytest.param(30, 10, 20, "ScaleUpLimit", id="twice as many at most"),
        pytest.param(9, 1, 4, "ScaleUpLimit", id="or four"),
        pytest.param(90, 40, 50, "TooManyReplicas", id="the maximum"),
        pytest.param(1, 2, 2, "TooFewReplicas", id="the minimum"),
    ],
)
def test_without_a_behavior(desired: int, current: int, replicas: int, reason: str) -> None:
    found = normalize(desired, current, 2, 50, None, History(), NOW)
    assert (found.replicas, found.limited.reason) == (replicas, reason)
    assert found.limited.status == str(reason != "DesiredWithinRange")


def test_without_a_behavior_the_highest_of_five_minutes_counts() -> None:
    history = History([Change(9, NOW - 400), Change(6, NOW - 200)])
    found = normalize(2, 6, 1, 10, None, history, NOW)
    assert (found.replicas, found.able.reason) == (6, "ScaleDownStabilized")
    later = normalize(2, 6, 1, 10, None, history, NOW + 301)
    assert (later.replicas, later.able.reason) == (2, "ReadyForNewScale")


@pytest.mark.parametrize(
    ("desired", "current", "rules", "history", "replicas", "reason"),
    [
        pytest.param(
            20, 10, behavior(up={"policies": [pods(4)]}), History(), 14, "ScaleUpLimit", id="pods up"
        ),
        pytest.param(
            20,
            10,
            behavior(up={"policies": [percent(25)]}),
            History(),
            13,
            "ScaleUpLimit",
            id="percent up, rounded up",
        ),
        pytest.param(
            20,
            10,
            behavior(up={"policies": [pods(4), percent(10)], "selectPolicy": "Min"}),
            History(),
            11,
            "ScaleUpLimit",
            id="the smallest change",
        ),
        pytest.param(
            20, 10, behavior(up={"selectPolicy": "Disabled"}), History(), 10, "ScaleUpLimit", id="no way up"
        ),
        pytest.param(
            20,
            10,
            behavior(up={"policies": [pods(4)]}),
            History(ups=[Change(3, NOW - 30)]),
            11,
            "ScaleUpLimit",
            id="what was added in the period counts",
        ),
        pytest.param(
            20,
            10,
            behavior(up={"policies": [pods(4)]}),
            History(ups=[Change(6, NOW - 30)]),
            10,
            "ScaleUpLimit",
            id="nothing more for now",
        ),
        pytest.param(
            1, 10, behavior(down={"policies": [pods(3)]}), History(), 7, "ScaleDownLimit", id="pods down"
        ),
        pytest.param(
            1,
            10,
            behavior(down={"policies": [percent(25)]}),
            History(),
            7,
            "ScaleDownLimit",
            id="percent down",
        ),
        pytest.param(
            1,
            10,
            behavior(down={"policies": [pods(3)]}),
            History(downs=[Change(2, NOW - 30)]),
            9,
            "ScaleDownLimit",
            id="what was removed in the period counts",
        ),
        pytest.param(
            1,
            10,
            behavior(down={"selectPolicy": "Disabled"}),
            History(),
            10,
            "ScaleDownLimit",
            id="no way down",
        ),
        pytest.param(0, 3, behavior(), History(), 1, "TooFewReplicas", id="the minimum"),
        pytest.param(90, 28, behavior(), History(), 50, "TooManyReplicas", id="the maximum"),
    ],
)
def test_policies(
    desired: int, current: int, rules: dict[str, Any], history: History, replicas: int, reason: str
) -> None:
    found = normalize(desired, current, 1, 50, rules, history, NOW)
    assert (found.replicas, found.limited.reason) == (replicas, reason)


@pytest.mark.parametrize(
    ("desired", "said", "replicas", "reason"),
    [
        pytest.param(8, 5, 5, "ScaleUpStabilized", id="up: the lowest of the window"),
        pytest.param(8, 2, 4, "ScaleUpStabilized", id="up: not below what there is"),
        pytest.param(2, 3, 3, "ScaleDownStabilized", id="down: the highest of the window"),
        pytest.param(2, 9, 4, "ScaleDownStabilized", id="down: not above what there is"),
    ],
)
def test_stabilization_windows(desired: int, said: int, replicas: int, reason: str) -> None:
    window = {"stabilizationWindowSeconds": 60}
    history = History([Change(said, NOW - 30), Change(1, NOW - 90), Change(40, NOW - 90)])
    found = normalize(desired, 4, 1, 50, behavior(window, window), history, NOW)
    assert (found.replicas, found.able.reason) == (replicas, reason)


def test_old_recommendations_are_forgotten() -> None:
    history = History()
    for n in range(1000):
        normalize(3, 3, 1, 5, None, history, NOW + 15 * n)
    assert len(history.recommendations) <= 22
