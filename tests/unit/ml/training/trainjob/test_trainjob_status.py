"""A TrainJob's status, from its JobSet and its pods."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.training.trainjob.status import Problem, Seen, make_status, seconds_left
from proa.objects import meta

NOW = 1_800_000_000.0
Object = dict[str, Any]


def make_trainjob(status: Object | None = None, **spec: Any) -> Object:
    metadata = {"name": "tune", "creationTimestamp": meta.format_time(NOW)}
    return {"metadata": metadata, "spec": spec, "status": status or {}}


def make_jobset(**condition: str) -> Object:
    counts = {"ready": 0, "succeeded": 1, "failed": 0, "active": 0, "suspended": 0}
    return {
        "status": {
            "conditions": [{"status": "True", **condition}] if condition else [],
            "replicatedJobsStatus": [{"name": "node", **counts, "jobRestarts": [1]}],
        }
    }


def make_pod(
    phase: str = "Pending", *, condition: Object | None = None, state: Object | None = None
) -> Object:
    containers = [{"name": "node", **state}] if state else []
    return {
        "metadata": {"name": "tune-node-0-0-x"},
        "status": {
            "phase": phase,
            "conditions": [condition] if condition else [],
            "containerStatuses": containers,
        },
    }


def said(status: Object) -> dict[str, tuple[str, str]]:
    return {entry["type"]: (entry["status"], entry["reason"]) for entry in status["conditions"]}


def test_while_all_is_well_there_is_no_condition_but_counts() -> None:
    status = make_status(make_trainjob(), Seen(make_jobset(), [make_pod("Running")]), NOW)

    assert status["conditions"] == []
    assert status["jobsStatus"] == [
        {"name": "node", "active": 0, "failed": 0, "ready": 0, "succeeded": 1, "suspended": 0}
    ]


@pytest.mark.parametrize(
    ("theirs", "ours"), [("Completed", "Complete"), ("Failed", "Failed")], ids=["complete", "failed"]
)
def test_the_jobsets_end_is_the_trainjobs(theirs: str, ours: str) -> None:
    status = make_status(make_trainjob(), Seen(make_jobset(type=theirs, reason="R", message="m")), NOW)

    assert said(status) == {ours: ("True", "R")}


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        ({"exitCode": 137, "reason": "OOMKilled"}, "exit code 137 (OOMKilled); its log says more"),
        (
            {"exitCode": 128, "reason": "StartError", "message": 'exec: "nope": not found\n'},
            'exit code 128 (StartError): exec: "nope": not found',
        ),
    ],
    ids=["killed", "never started"],
)
def test_a_failure_says_which_container_ended_how(ended: Object, words: str) -> None:
    ended = {"terminated": {**ended, "finishedAt": "2026"}}
    pods = [make_pod("Failed", state={"state": ended})]

    status = make_status(
        make_trainjob(), Seen(make_jobset(type="Failed", reason="R", message="m"), pods), NOW
    )

    assert status["conditions"][0]["message"] == (
        f"m: container node of Pod tune-node-0-0-x ended with {words}"
    )


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (
            make_pod(
                condition={
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "x",
                }
            ),
            "Unschedulable",
        ),
        (make_pod(state={"state": {"waiting": {"reason": "ErrImagePull", "message": "x"}}}), "ErrImagePull"),
        (
            make_pod(
                "Running",
                state={
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"exitCode": 3}},
                },
            ),
            "CrashLoopBackOff",
        ),
    ],
    ids=["unplaced", "no image", "crashes"],
)
def test_what_keeps_pods_from_going_on_is_said_for_as_long_as_it_does(pod: Object, reason: str) -> None:
    trainjob = make_trainjob()
    status = make_status(trainjob, Seen(make_jobset(), [pod]), NOW)
    assert said(status) == {"Stalled": ("True", reason)}

    later = make_status({**trainjob, "status": status}, Seen(make_jobset(), [pod]), NOW + 60)
    assert later == status

    well = make_status({**trainjob, "status": status}, Seen(make_jobset(), [make_pod("Running")]), NOW)
    assert well["conditions"] == []


def test_what_stalls_the_jobset_stalls_the_trainjob() -> None:
    status = make_status(make_trainjob(), Seen(make_jobset(type="Stalled", reason="Q", message="quota")), NOW)

    assert said(status) == {"Stalled": ("True", "Q")}


def test_a_problem_of_its_own_is_a_failure_where_waiting_cannot_help() -> None:
    waiting = make_status(make_trainjob(), Seen(None, (), Problem("R", "m")), NOW)
    final = make_status(make_trainjob(), Seen(None, (), Problem("R", "m", is_final=True)), NOW)

    assert (said(waiting), said(final)) == ({"Stalled": ("True", "R")}, {"Failed": ("True", "R")})


def test_resting_and_resuming_are_said() -> None:
    resting = make_status(make_trainjob(suspend=True), Seen(make_jobset()), NOW)
    assert said(resting) == {"Suspended": ("True", "Suspended")}

    resumed = make_status(make_trainjob(resting, suspend=False), Seen(make_jobset()), NOW)
    assert said(resumed) == {"Suspended": ("False", "Resumed")}


def test_a_deadline_counts_from_the_start_or_from_when_it_was_resumed() -> None:
    trainjob = make_trainjob(activeDeadlineSeconds=30)
    assert seconds_left(trainjob, NOW + 10) == 20.0
    assert said(make_status(trainjob, Seen(make_jobset()), NOW + 30)) == {
        "Failed": ("True", "DeadlineExceeded")
    }

    resting = make_trainjob(suspend=True, activeDeadlineSeconds=30)
    assert seconds_left(resting, NOW + 99) is None
    status = make_status(resting, Seen(make_jobset()), NOW)
    resumed = make_trainjob(status, suspend=False, activeDeadlineSeconds=30)
    assert said(make_status(resumed, Seen(make_jobset()), NOW + 100)) == {"Suspended": ("False", "Resumed")}


def test_what_completed_in_time_completed() -> None:
    jobset = make_jobset(type="Completed", reason="R", message="m")

    status = make_status(make_trainjob(activeDeadlineSeconds=30), Seen(jobset), NOW + 99)

    assert said(status) == {"Complete": ("True", "R")}
