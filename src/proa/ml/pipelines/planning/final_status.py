"""Tell an exit task how the task before it ended: the struct that the SDK reads as PipelineTaskFinalStatus.

Its states are the words of upstream's driver (TaskFinalStatus in backend/src/v2/driver/resolve.go), which are those of
ml-metadata's executions: COMPLETE, not SUCCEEDED. `error` is filled in, which upstream leaves empty.
"""

from __future__ import annotations

from typing import Any

from proa.ml.pipelines.planning.node import Node
from proa.ml.pipelines.records import GOOD_TASK_STATES, Run, TaskState

CODE_CANCELLED = 1
CODE_UNKNOWN = 2
"""Codes of google.rpc.Code."""

_WORDS = {
    TaskState.SUCCEEDED: "COMPLETE",
    TaskState.CACHED: "CACHED",
    TaskState.FAILED: "FAILED",
    TaskState.SKIPPED: "CANCELED",
    TaskState.NOT_TRIGGERED: "CANCELED",
    TaskState.CANCELED: "CANCELED",
}


def make_final_status(producer: Node | None, run: Run) -> dict[str, Any] | None:
    """Return how a task ended; None for no task."""
    if producer is None or producer.state is None:
        return None
    return {
        "state": _WORDS.get(producer.state, "CANCELED"),
        "pipelineJobResourceName": run.name,
        "pipelineTaskName": producer.plan.key,
        "error": _make_error(producer),
    }


def _make_error(producer: Node) -> dict[str, Any]:
    if producer.state in GOOD_TASK_STATES:
        return {}
    code = CODE_UNKNOWN if producer.state is TaskState.FAILED else CODE_CANCELLED
    return {"code": code, "message": producer.task.error if producer.task is not None else ""}
