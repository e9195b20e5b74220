"""When a step's pod is over, although our finalizer keeps it there to see."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.pipelines.operator.pod_states import has_started, is_ours, is_over, may_be_stuck

DELETED = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
NO_GRACE = {**DELETED, "deletionGracePeriodSeconds": 0}


def make_pod(phase: str = "Running", node: str = "n", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", **metadata}, "spec": {"nodeName": node}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        pytest.param(make_pod(), False, id="runs"),
        pytest.param(make_pod("Succeeded"), True, id="succeeded"),
        pytest.param(make_pod("Failed"), True, id="failed"),
        pytest.param(make_pod(**DELETED), False, id="deleted, its node still ends it"),
        pytest.param(make_pod(**NO_GRACE), True, id="deleted, and its node has ended it or is gone"),
        pytest.param(make_pod("Pending", "", **DELETED), True, id="deleted before it had a node"),
        pytest.param(make_pod("Pending", ""), False, id="waits for a node"),
    ],
)
def test_a_pod_is_over_when_nothing_of_it_can_run(pod: dict[str, Any], expected: bool):
    assert is_over(pod) is expected


def test_it_has_started_when_the_users_container_has():
    pod = make_pod()
    pod["status"]["containerStatuses"] = [{"name": "deliver", "state": {"running": {}}}]
    assert not has_started(pod)
    pod["status"]["containerStatuses"].append({"name": "main", "state": {"running": {}}})
    assert has_started(pod)


def test_a_pod_of_another_attempt_is_not_ours():
    notes = {"pipelines.proa.dev/task-path": "a", "pipelines.proa.dev/attempt": "1"}
    pod = make_pod(labels={"pipeline/runid": "r"}, annotations=notes)
    assert is_ours(pod, "r", "a", 1)
    assert not is_ours(pod, "r", "a", 0)
    assert not is_ours(pod, "other", "a", 1)


def test_a_want_of_room_is_no_reason_to_give_up():
    pod = make_pod("Pending", "")
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient cpu"}
    pod["status"]["conditions"] = [condition]
    assert not may_be_stuck(pod)
    condition["message"] = 'persistentvolumeclaim "data" not found'
    assert may_be_stuck(pod)
