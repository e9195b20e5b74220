"""What a Run's status says of the run."""

from __future__ import annotations

from typing import Any

from proa.ml.pipelines.operator.run_status import Counts, make_status
from proa.ml.pipelines.records import Run, RunState, Task, TaskKind, TaskState, make_task_id


def make_run(state: RunState, **fields: Any) -> Run:
    return Run("id", "run-1", "default", "My run", state, 0.0, started_at=10.0, **fields)


def make_task(path: str, state: TaskState, kind: TaskKind = TaskKind.CONTAINER) -> Task:
    return Task("id", path, make_task_id("id", path), path, path, kind, state, "")


def test_a_running_one_counts_tasks_without_what_only_holds_others():
    counts = Counts()
    counts.put([make_task("", TaskState.RUNNING, TaskKind.DAG), make_task("a", TaskState.RUNNING)])
    counts.put([make_task("a", TaskState.SUCCEEDED), make_task("b", TaskState.RUNNING)])
    status = make_status(make_run(RunState.RUNNING), counts.states, "", {}, 3, 20.0)
    assert status["state"] == "RUNNING"
    assert status["tasks"] == {"succeeded": 1, "running": 1}
    assert status["done"] == "1/2"
    assert status["startedAt"] == "1970-01-01T00:00:10Z"
    assert status["observedGeneration"] == 3
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Completed": "False",
        "Succeeded": "Unknown",
    }


def test_one_that_failed_says_why_and_since_when():
    run = make_run(RunState.FAILED, error="task 'train': no", finished_at=30.0)
    status = make_status(run, {TaskState.FAILED: 1}, "", {}, 1, 30.0)
    assert status["message"] == "task 'train': no"
    assert status["finishedAt"] == "1970-01-01T00:00:30Z"
    assert {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]} == {
        "Completed": ("True", "Failed"),
        "Succeeded": ("False", "Failed"),
    }


def test_what_it_waits_for_is_its_message():
    status = make_status(make_run(RunState.RUNNING), {}, "the database is away", {}, 1, 0.0)
    assert status["message"] == "the database is away"


def test_saying_the_same_again_changes_nothing():
    first = make_status(make_run(RunState.RUNNING), {}, "", {}, 1, 20.0)
    assert make_status(make_run(RunState.RUNNING), {}, "", first, 1, 25.0) == first
