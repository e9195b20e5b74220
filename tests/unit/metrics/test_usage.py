"""Rates come from what kubelets count."""

from __future__ import annotations

from typing import Any

import pytest

from proa.metrics.usage import NodeUsage, Usage
from proa.objects.meta import format_time

START = 1_000_000.0
POD = ("default", "web")


def container(
    cpu_seconds: float, memory: int = 100, started: float = START, name: str = "c"
) -> dict[str, Any]:
    return {
        "name": name,
        "startTime": format_time(started),
        "cpu": {"usageCoreNanoSeconds": round(cpu_seconds * 1e9)},
        "memory": {"workingSetBytes": memory},
    }


def summary(*containers: dict[str, Any], node_cpu_seconds: float = 0) -> dict[str, Any]:
    pods = [{"podRef": {"namespace": "default", "name": "web"}, "containers": list(containers)}]
    return {"node": container(node_cpu_seconds), "pods": pods if containers else []}


def taken(*readings: tuple[dict[str, Any], float]) -> NodeUsage:
    usage = NodeUsage(15.0)
    for read, seconds in readings:
        usage.take(read, START + seconds)
    return usage


def test_the_rate_is_what_was_used_between_the_last_two_readings() -> None:
    usage = taken(
        (summary(container(5)), 100), (summary(container(8)), 110), (summary(container(9, 300)), 120)
    )
    assert usage.pods() == {POD: {"c": Usage(START + 120, 10, 100_000_000, 300)}}


def test_a_nodes_rate_needs_two_readings() -> None:
    first = summary(node_cpu_seconds=10)
    assert taken((first, 100)).node() is None
    assert taken((first, 100), (summary(node_cpu_seconds=40), 115)).node() == Usage(
        START + 115, 15, 2_000_000_000, 100
    )


@pytest.mark.parametrize(
    ("age", "nanocores"),
    [
        pytest.param(4, None, id="starting"),
        pytest.param(12, 500_000_000, id="fresh: since its start"),
        pytest.param(60, None, id="old: nobody knows when it was busy"),
    ],
)
def test_a_container_that_is_seen_first(age: float, nanocores: int | None) -> None:
    usage = taken((summary(container(age / 2, started=START)), age))
    found = usage.pods().get(POD)
    assert (found["c"].cpu_nanocores if found else None) == nanocores


def test_a_container_that_began_anew_is_not_compared_with_the_one_before() -> None:
    again = container(6, started=START + 104)
    usage = taken((summary(container(100)), 100), (summary(again), 116))
    assert usage.pods()[POD]["c"] == Usage(START + 116, 12, 500_000_000, 100)


def test_a_pod_counts_when_all_of_its_containers_are_known() -> None:
    both = summary(container(1), container(1, name="late", started=START + 114))
    assert taken((summary(container(1)), 100), (both, 115)).pods() == {}


def test_what_the_machine_cannot_count_is_not_known() -> None:
    unknown = {"name": "c", "startTime": format_time(START), "cpu": {}, "memory": {}}
    assert taken((summary(unknown), 100), (summary(unknown), 115)).pods() == {}
