"""How a trial stands: what its run's conditions say, and how long one that cannot start may wait."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.tuning.operator import trial_plan
from proa.ml.tuning.operator.pod_trouble import Trouble, describe_failure, find_trouble
from proa.ml.tuning.operator.trial_plan import End
from proa.objects import meta

NOW = 1_750_000_000.0
DEADLINE = 600.0
TROUBLE = Trouble("Unschedulable", "no room")


def make_trial(*conditions: tuple[str, str, str, float], ended: float | None = None) -> dict[str, Any]:
    """Return a trial with conditions: type, status, reason, seconds before now."""
    made = [
        {"type": type, "status": status, "reason": reason, "lastUpdateTime": meta.format_time(NOW - ago)}
        for type, status, reason, ago in conditions
    ]
    done = {} if ended is None else {"completionTime": meta.format_time(NOW - ended)}
    return {"metadata": {"name": "t"}, "status": {"conditions": made, **done}}


STUCK = ("Running", "True", "Unschedulable", 500.0)


@pytest.mark.parametrize(
    ("others", "left"),
    [
        ([], 100),
        ([make_trial(("Running", "True", "TrialRunning", 900))], DEADLINE),
        ([make_trial(("Running", "True", "ImagePullBackOff", 900))], 100),
        ([make_trial(("Running", "False", "QuotaExceeded", 900))], 100),
        ([make_trial(("Succeeded", "True", "TrialSucceeded", 50), ended=50)], 550),
        ([make_trial(("Failed", "True", "Unschedulable", 50), ended=50)], 100),
        ([make_trial(("Succeeded", "True", "TrialSucceeded", 900), ended=900)], 100),
    ],
    ids=[
        "alone",
        "another runs",
        "another is stuck",
        "another waits",
        "one ended since",
        "one failed",
        "ended before",
    ],
)
def test_a_trial_in_trouble_waits_while_others_move(others: list[dict[str, Any]], left: float):
    assert trial_plan.seconds_left(make_trial(STUCK), others, DEADLINE, NOW) == left


def test_time_is_up_and_never_below_nothing():
    assert trial_plan.seconds_left(make_trial(STUCK), [], 499, NOW) == 0


@pytest.mark.parametrize(
    ("status", "state", "message"),
    [
        ({}, "running", ""),
        ({"conditions": [{"type": "Complete", "status": "True", "message": "done"}]}, "succeeded", "done"),
        ({"conditions": [{"type": "Complete", "status": "False"}]}, "running", ""),
        ({"conditions": [{"type": t, "status": "True"} for t in ("Complete", "Failed")]}, "failed", ""),
    ],
    ids=["nothing yet", "complete", "not complete", "failure is asked first"],
)
def test_a_run_is_judged_by_its_conditions(status: dict[str, Any], state: str, message: str):
    when = {
        f"{word}Condition": f'status.conditions.#(type=="{type}")#|#(status=="True")#'
        for word, type in (("success", "Complete"), ("failure", "Failed"))
    }
    verdict = trial_plan.judge({"status": status}, when)
    assert (verdict.state, verdict.message) == (state, message)


def test_conditions_follow_one_another_and_saying_it_twice_changes_nothing():
    trial: dict[str, Any] = {"metadata": {"name": "t"}}
    pending = trial_plan.waiting(trial, TROUBLE, NOW)
    started = trial_plan.running({**trial, "status": pending}, None, NOW + 60)
    stuck = trial_plan.running({**trial, "status": started}, TROUBLE, NOW + 120)
    again = trial_plan.running({**trial, "status": stuck}, Trouble("Unschedulable", "other words"), NOW + 180)
    assert again == stuck
    over = trial_plan.ended({**trial, "status": stuck}, End(trial_plan.Type.FAILED, "it did"), NOW + 240)
    told = [(c["type"], c["status"], c["reason"]) for c in over["conditions"]]
    assert told == [
        ("Created", "True", "TrialCreated"),
        ("Running", "False", "Unschedulable"),
        ("Failed", "True", "TrialFailed"),
    ]
    assert stuck["conditions"][-1]["lastTransitionTime"] == meta.format_time(NOW + 60)
    assert (over["startTime"], over["completionTime"]) == (meta.format_time(NOW), meta.format_time(NOW + 240))


def make_pod(phase: str, **fields: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": phase, **fields},
    }


def waiting(reason: str, message: str = "") -> list[dict[str, Any]]:
    return [{"name": "main", "state": {"waiting": {"reason": reason, "message": message}}}]


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (make_pod("Pending", containerStatuses=waiting("ContainerCreating")), "", ""),
        (make_pod("Pending", containerStatuses=waiting("ErrImagePull", "gone")), "ImagePullBackOff", "gone"),
        (
            make_pod("Pending", containerStatuses=waiting("ErrImageNeverPull")),
            "ErrImageNeverPull",
            "imagePullPolicy",
        ),
        (make_pod("Pending", initContainerStatuses=waiting("CrashLoopBackOff")), "CrashLoopBackOff", "log"),
        (
            make_pod(
                "Pending",
                conditions=[
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"}
                ],
            ),
            "Unschedulable",
            "pod p finds no node: 0/1",
        ),
        (make_pod("Succeeded", containerStatuses=waiting("CrashLoopBackOff")), "", ""),
    ],
    ids=["on its way", "no image", "never pulled", "collector", "no node", "over"],
)
def test_what_keeps_a_pod_from_starting_is_told(pod: dict[str, Any], reason: str, words: str):
    found = find_trouble([pod])
    assert (found.reason if found else "") == reason
    assert words in (found.message if found else "")


@pytest.mark.parametrize(
    ("said", "helps"),
    [
        ("1 Insufficient cpu", "lower the requests"),
        ('persistentvolumeclaim "data" not found', "make what the pod's volumes refer to"),
        ("1 node(s) didn't match Pod's node affinity/selector", "correct nodeSelector"),
        ("1 node(s) had untolerated taint(s)", "add tolerations"),
    ],
)
def test_what_would_help_fits_what_the_scheduler_says(said: str, helps: str):
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": f"{said}."}
    found = find_trouble([make_pod("Pending", conditions=[condition])])
    assert found is not None
    assert f"{said}; {helps}" in found.message


def test_a_failure_is_told_by_the_container_or_by_the_pod():
    killed = [{"name": "main", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]
    assert describe_failure([make_pod("Failed", containerStatuses=killed)], "main") == (
        "pod p: container main ended with exit code 137 (OOMKilled)"
    )
    evicted = make_pod("Failed", reason="Evicted", message="The node was low on memory.")
    assert describe_failure([evicted], "main") == "pod p: Evicted: The node was low on memory."
    assert describe_failure([], "main") == ""
