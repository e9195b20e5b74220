"""What the planner hears (events) and what it asks for (actions): the whole vocabulary between it and the operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.ml.pipelines.records import NO_VALUES, RunState, Task, TaskKind, Values
from proa.objects.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Started:
    """An attempt runs (its container does, not only its pod exists)."""

    path: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Succeeded:
    """An attempt ended well, or was answered from the cache. Its outputs are whole and durable."""

    path: str
    attempt: int
    outputs: Values = NO_VALUES
    is_cached: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt failed, or could not be made. Where not `can_retry`, another attempt would fail as well."""

    path: str
    attempt: int
    message: str
    can_retry: bool = True


@dataclass(frozen=True, slots=True)
class BackoffOver:
    """The time has come for the attempt that a `Wait` spoke of."""

    path: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """An attempt whose `Stop` was asked for has ended."""

    path: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Terminate:
    """Someone asked for the run to end (CANCELED), or its time is over (FAILED): `message` says which and why.

    Exit tasks (ALL_UPSTREAM_TASKS_COMPLETED) still run when its time is over; not when it is canceled.
    """

    state: RunState
    message: str


Event = Started | Succeeded | Failed | BackoffOver | Stopped | Terminate


@dataclass(frozen=True, slots=True)
class Launch:
    """Make this attempt. What has no pod (importer, PVC tasks) is carried out by the operator itself.

    `task_spec`, `component` and `executor` are the PipelineTaskSpec, ComponentSpec and ExecutorSpec of the IR;
    `platform` is the task's KubernetesExecutorConfig (or CreatePvc, DeletePvc), {} for none. Inputs have their
    defaults and are of their declared types. `scope` are the inputs of the DAG around it, and `siblings` the outputs
    of the tasks that stand beside it: the platform's componentInputParameter and taskOutputParameter refer to them.
    """

    path: str
    attempt: int
    kind: TaskKind
    task_spec: Mapping[str, Any]
    component: Mapping[str, Any]
    executor: Mapping[str, Any]
    platform: Mapping[str, Any]
    inputs: Values
    scope: Values = NO_VALUES
    siblings: Mapping[str, Values] | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Send BackoffOver for this attempt after so many seconds."""

    path: str
    attempt: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """End this attempt, then send Stopped."""

    path: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Record:
    """Remember this task as it is now. Comes before the action that the change leads to."""

    task: Task


@dataclass(frozen=True, slots=True)
class Finish:
    """The run is over."""

    state: RunState
    error: str = ""


Action = Launch | Wait | Stop | Record | Finish
