"""How many replicas a metric asks for: the cases of upstream's replica calculator, in its words."""

from __future__ import annotations

from typing import Any

import pytest

from proa.controllers.horizontal_pod_autoscaler.metrics import NoMetrics, PodMetric
from proa.controllers.horizontal_pod_autoscaler.replicas import (
    Proposal,
    Tolerances,
    by_average,
    by_total,
    by_utilization,
    by_value,
    group_pods,
)
from proa.objects.meta import format_time

NOW = 1_000_000.0
LONG_AGO = NOW - 10_000


def pod(name: str, *, ready: bool = True, phase: str = "Running", **more: Any) -> dict[str, Any]:
    started, changed = more.get("started", LONG_AGO), more.get("changed", LONG_AGO)
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": format_time(changed)}
    metadata = {"name": name, **({"deletionTimestamp": "x"} if more.get("deleting") else {})}
    requests = {} if more.get("request") == "" else {"cpu": more.get("request", "1")}
    return {
        "metadata": metadata,
        "spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]},
        "status": {"phase": phase, "startTime": format_time(started), "conditions": [condition]},
    }


def pods(count: int, **more: Any) -> list[dict[str, Any]]:
    return [pod(f"p{n}", **more) for n in range(count)]


def measured(*millis: int) -> dict[str, PodMetric]:
    return {f"p{n}": PodMetric(value, NOW, 15) for n, value in enumerate(millis)}


def utilization(
    found: list[dict[str, Any]], metrics: dict[str, PodMetric], percent: int, current: int = 0
) -> Proposal:
    return by_utilization(found, metrics, current or len(found), percent, "cpu", "", Tolerances(), NOW)


@pytest.mark.parametrize(
    ("found", "metrics", "percent", "replicas", "now_percent"),
    [
        pytest.param(pods(3), measured(300, 500, 700), 30, 5, 50, id="up"),
        pytest.param(pods(5), measured(100, 300, 500, 250, 250), 50, 3, 28, id="down"),
        pytest.param(pods(3), measured(300, 310, 290), 30, 3, 30, id="on target"),
        pytest.param(pods(3), measured(320, 330, 310), 30, 3, 32, id="within the tolerance"),
        pytest.param(
            [*pods(2), pod("p2", phase="Pending")], measured(800, 1000), 30, 6, 90, id="a pending pod is idle"
        ),
        pytest.param(
            [*pods(2), pod("p2", phase="Pending")], measured(350, 350), 30, 3, 35, id="which may end the need"
        ),
        pytest.param(
            [*pods(2), pod("p2", phase="Failed")], measured(600, 600), 30, 4, 60, id="a failed pod is no pod"
        ),
        pytest.param(
            [*pods(2), pod("p2", deleting=True)],
            measured(600, 600, 600),
            30,
            4,
            60,
            id="nor is a leaving one",
        ),
        pytest.param(pods(3), measured(100, 100), 50, 3, 10, id="down: what is not measured is busy"),
        pytest.param(pods(4), measured(100, 100, 450), 100, 2, 21, id="down all the same"),
        pytest.param(pods(3), measured(700, 800), 50, 3, 75, id="up: what is not measured is idle"),
    ],
)
def test_by_utilization(
    found: list[dict[str, Any]], metrics: dict[str, PodMetric], percent: int, replicas: int, now_percent: int
) -> None:
    proposal = utilization(found, metrics, percent)
    assert (proposal.replicas, proposal.utilization) == (replicas, now_percent)


@pytest.mark.parametrize(
    ("found", "metrics", "message"),
    [
        ([], measured(1), "no pods returned by selector while calculating replica count"),
        (
            pods(1, ready=False, started=NOW - 5),
            measured(1),
            "did not receive metrics for targeted pods (pods might be unready)",
        ),
        (pods(1, request=""), measured(1), "missing request for cpu in container c of Pod p0"),
    ],
)
def test_what_cannot_be_said(found: Any, metrics: dict[str, PodMetric], message: str) -> None:
    with pytest.raises(NoMetrics, match="^" + message.replace("(", r"\(").replace(")", r"\)") + "$"):
        utilization(found, metrics, 50)


@pytest.mark.parametrize(
    ("ready", "started", "changed", "measured_at", "counts"),
    [
        pytest.param(True, 60, 50, 30, True, id="young, ready, measured since"),
        pytest.param(True, 60, 20, 15, False, id="young, ready, but the window began before"),
        pytest.param(False, 60, 50, 30, False, id="young and unready"),
        pytest.param(False, 1000, 980, 0, False, id="never ready"),
        pytest.param(False, 1000, 500, 0, True, id="unready after having been ready"),
        pytest.param(True, 1000, 500, 0, True, id="old and ready"),
    ],
)
def test_whether_a_pods_cpu_counts(
    ready: bool, started: float, changed: float, measured_at: float, counts: bool
) -> None:
    found = pod("p0", ready=ready, started=NOW - started, changed=NOW - changed)
    groups = group_pods([found], {"p0": PodMetric(1, NOW - measured_at, 15)}, "cpu", NOW)
    assert (groups.ready, "p0" in groups.unready) == (int(counts), not counts)


def test_sidecars_and_pod_level_requests_count() -> None:
    sidecar = {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}}
    found = pod("p0")
    found["spec"]["initContainers"] = [sidecar, {"name": "init"}]
    assert utilization([found], measured(1000), 50).utilization == 50
    found["spec"]["resources"] = {"requests": {"cpu": "4"}}
    assert utilization([found], measured(1000), 50).utilization == 25


def test_by_value_goes_by_the_average() -> None:
    assert by_value(pods(3), measured(10_000, 20_000, 30_000), 3, 10_000, "", Tolerances(), NOW) == Proposal(
        6, 20_000
    )


@pytest.mark.parametrize(
    ("total", "current", "target", "replicas"),
    [(20_000, 3, 10_000, 6), (10_500, 3, 10_000, 3), (5_000, 4, 10_000, 2), (25_000, 0, 10_000, 3)],
)
def test_by_total_is_in_proportion_to_what_is_ready(
    total: int, current: int, target: int, replicas: int
) -> None:
    assert by_total(total, pods(current), current, target, Tolerances()).replicas == replicas


@pytest.mark.parametrize(
    ("total", "current", "target", "expected"),
    [
        (30_000, 2, 10_000, Proposal(3, 15_000)),
        (20_500, 2, 10_000, Proposal(2, 10_250)),
        (5_000, 0, 10_000, Proposal(1, 0)),
    ],
)
def test_by_average_divides_a_total(total: int, current: int, target: int, expected: Proposal) -> None:
    assert by_average(total, current, target, Tolerances()) == expected


def test_tolerances_differ_by_direction() -> None:
    found, metrics = pods(2), measured(560, 560)
    wide = by_utilization(found, metrics, 2, 50, "cpu", "", Tolerances(up=0.5, down=0.0), NOW)
    narrow = by_utilization(found, metrics, 2, 50, "cpu", "", Tolerances(up=0.0, down=0.5), NOW)
    assert (wide.replicas, narrow.replicas) == (2, 3)
