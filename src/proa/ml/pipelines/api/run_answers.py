"""Show a run and its tasks as the API does: upstream's fields, and what we know beside them under `proa`.

Upstream shows the nodes of its workflow engine: each task, what prepared it ("train-driver") and, of one in a
container, the step itself ("executor"). Clients find tasks by these names, so they are here too; only the executor
has a pod.
Upstream: backend/src/apiserver/server/api_converter.go (toApiRun, toApiPipelineTaskDetail).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from proa.ml.pipelines.api.call import without_empty
from proa.ml.pipelines.api.times import format_time
from proa.ml.pipelines.ir.document import Package
from proa.ml.pipelines.records import Artifact, Json, Run, RunState, Task, TaskKind, TaskState, Values

UNKNOWN_ERROR = 2
"""The code of google.rpc.Status for what a program of the user's failed with."""
_STATES = {
    TaskState.CACHED.value: "SUCCEEDED",
    TaskState.NOT_TRIGGERED.value: "SKIPPED",
}
_WITH_EXECUTOR = frozenset({TaskKind.CONTAINER})


def render(run: Run) -> Json:
    """Return a run without its tasks."""
    config = {"parameters": dict(run.parameters), "pipeline_root": run.pipeline_root}
    return without_empty(
        {
            "experiment_id": run.experiment_id,
            "run_id": run.id,
            "display_name": run.display_name,
            "storage_state": run.storage_state,
            "description": run.description,
            **_source(run),
            "runtime_config": without_empty(config),
            "service_account": run.service_account,
            "created_at": format_time(run.created_at),
            "scheduled_at": format_time(run.scheduled_at),
            "finished_at": format_time(run.finished_at),
            "state": run.state.value,
            "error": _error(run.error),
            "recurring_run_id": run.recurring_run_id,
            "state_history": _history(run.states, RunState.FAILED, run.error),
            "proa": without_empty(
                {
                    "name": run.name,
                    "namespace": run.namespace,
                    "started_at": format_time(run.started_at) if run.started_at else "",
                    "retries": run.retries,
                }
            ),
        }
    )


def render_with_tasks(run: Run, tasks: Sequence[Task]) -> Json:
    """Return a run with its tasks."""
    details = render_tasks(tasks)
    return {**render(run), **({"run_details": {"task_details": details}} if details else {})}


def _source(run: Run) -> Json:
    if run.pipeline_version_id:
        reference = {"pipeline_id": run.pipeline_id, "pipeline_version_id": run.pipeline_version_id}
        return {"pipeline_version_reference": reference}
    return {"pipeline_spec": Package(dict(run.pipeline_spec), dict(run.platform_spec)).as_document()}


def render_tasks(tasks: Sequence[Task]) -> list[Json]:
    """Return the nodes of a run's tasks, each task before what belongs to it."""
    ids = {task.path: task.id for task in tasks}
    children: dict[str, list[str]] = {}
    for task in tasks:
        if task.parent is not None:
            children.setdefault(task.parent, []).append(task.id)
    nodes = []
    for task in tasks:
        below: list[Json] = [{"task_id": id} for id in children.get(task.path, ())]
        parent = ids.get(task.parent or "", "") if task.parent is not None else ""
        nodes.append(_task_node(task, parent, below))
        nodes.append(_driver_node(task, parent))
        if task.kind in _WITH_EXECUTOR and task.state != TaskState.SKIPPED:
            nodes.append(_executor_node(task))
    return nodes


def _task_node(task: Task, parent: str, below: list[Json]) -> Json:
    state = _STATES.get(task.state.value, task.state.value)
    if task.kind in _WITH_EXECUTOR:
        below = [{"pod_name": task.pod_name}] if task.pod_name else []
    return without_empty(
        {
            **_times(task),
            "run_id": task.run_id,
            "task_id": task.id,
            "display_name": task.display_name or task.name,
            "state": state,
            "state_history": _history(task.states, TaskState.FAILED, task.error),
            "error": _error(task.error),
            "inputs": _artifact_lists(task.inputs),
            "outputs": _artifact_lists(task.outputs),
            "parent_task_id": parent,
            "child_tasks": below,
            "pod_name": task.pod_name,
            "executor_detail": {"main_job": task.pod_name} if task.pod_name else {},
            "proa": _ours(task),
        }
    )


def _driver_node(task: Task, parent: str) -> Json:
    """Return what prepared a task: over as soon as the task runs or has ended."""
    is_over = task.state != TaskState.PENDING
    state = "SUCCEEDED" if is_over else "PENDING"
    ended = task.started_at or task.finished_at
    return without_empty(
        {
            "run_id": task.run_id,
            "task_id": _node_id(task, "driver"),
            "display_name": f"{task.display_name or task.name}-driver",
            "create_time": format_time(task.created_at),
            "start_time": format_time(task.created_at),
            "end_time": format_time(ended if is_over else 0),
            "state": state,
            "parent_task_id": parent,
        }
    )


def _executor_node(task: Task) -> Json:
    state = "SKIPPED" if task.state == TaskState.CACHED else _STATES.get(task.state.value, task.state.value)
    return without_empty(
        {
            **_times(task),
            "run_id": task.run_id,
            "task_id": _node_id(task, "executor"),
            "display_name": "executor",
            "state": state,
            "error": _error(task.error),
            "parent_task_id": task.id,
            "pod_name": task.pod_name,
        }
    )


def _node_id(task: Task, what: str) -> str:
    return str(uuid.uuid5(uuid.UUID(task.id), what))


def _times(task: Task) -> Json:
    return {
        "create_time": format_time(task.created_at),
        "start_time": format_time(task.started_at or task.created_at),
        "end_time": format_time(task.finished_at),
    }


def _ours(task: Task) -> Json:
    """Return what the API of upstream has no word for."""
    caching = task.caching
    return without_empty(
        {
            "path": task.path,
            "parent_path": task.parent,
            "name": task.name,
            "kind": task.kind.value,
            "state": task.state.value,
            "attempt": task.attempt,
            "iteration": None if task.iteration is None else str(task.iteration),
            "exit_code": None if task.exit_code is None else str(task.exit_code),
            "cache": {}
            if caching is None
            else without_empty(
                {
                    "outcome": caching.outcome,
                    "reason": caching.reason,
                    "from_task_id": caching.from_task_id,
                }
            ),
            "inputs": render_values(task.inputs),
            "outputs": render_values(task.outputs),
            "log": log_path(task) if has_log(task) else "",
        }
    )


def has_log(task: Task) -> bool:
    """Tell whether there is or will be a log."""
    return bool(task.log_uri or task.pod_name)


def log_path(task: Task) -> str:
    """Return where a task's log is found."""
    return f"/apis/v2beta1/runs/{task.run_id}/log?task={quote(task.path, safe='')}"


def render_values(values: Values) -> Json:
    """Return parameters and artifacts as they are."""
    artifacts = {name: [render_artifact(one) for one in found] for name, found in values.artifacts.items()}
    return without_empty({"parameters": dict(values.parameters), "artifacts": artifacts})


def render_artifact(artifact: Artifact) -> Json:
    """Return an artifact."""
    return without_empty(
        {
            "artifact_id": artifact.id,
            "name": artifact.name,
            "type": artifact.type_title,
            "uri": artifact.uri,
            "metadata": dict(artifact.metadata),
            "created_at": format_time(artifact.created_at) if artifact.created_at else "",
            "namespace": artifact.namespace,
            "run_id": artifact.run_id,
            "task_id": artifact.task_id,
        }
    )


def _artifact_lists(values: Values) -> Json:
    return {name: {"artifact_ids": [one.id for one in found]} for name, found in values.artifacts.items()}


def _error(message: str) -> Json:
    return {"code": UNKNOWN_ERROR, "message": message} if message else {}


def _history(states: Iterable[tuple[RunState | TaskState, float]], failed: str, error: str) -> list[Json]:
    return [
        without_empty(
            {
                "update_time": format_time(since),
                "state": _STATES.get(state.value, state.value),
                "error": _error(error) if state == failed else {},
            }
        )
        for state, since in states
    ]
