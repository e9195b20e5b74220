"""What a run, a task and an artifact are: the words that planner, operator, database and API share.

Names and states are those of the v2beta1 API (backend/api/v2beta1/run.proto). Times are seconds since the epoch.
Values of parameters are decoded JSON. Records are frozen: a change is a new record (`dataclasses.replace`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from proa.objects.quick_dataclass import dataclass

Json = dict[str, Any]


class RunState(StrEnum):
    """How far a run is."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    CANCELING = "CANCELING"
    CANCELED = "CANCELED"
    PAUSED = "PAUSED"


FINAL_RUN_STATES = frozenset({RunState.SUCCEEDED, RunState.SKIPPED, RunState.FAILED, RunState.CANCELED})


class TaskState(StrEnum):
    """How far a task is. NOT_TRIGGERED: what it waits for failed; SKIPPED: its condition is false."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    CACHED = "CACHED"
    SKIPPED = "SKIPPED"
    NOT_TRIGGERED = "NOT_TRIGGERED"
    FAILED = "FAILED"
    CANCELING = "CANCELING"
    CANCELED = "CANCELED"


FINAL_TASK_STATES = frozenset(TaskState) - {TaskState.PENDING, TaskState.RUNNING, TaskState.CANCELING}
GOOD_TASK_STATES = frozenset({TaskState.SUCCEEDED, TaskState.CACHED, TaskState.SKIPPED})


class TaskKind(StrEnum):
    """What a task is: only CONTAINER has a pod; DAG, LOOP and ITERATION have children."""

    CONTAINER = "container"
    IMPORTER = "importer"
    CREATE_PVC = "create-pvc"
    DELETE_PVC = "delete-pvc"
    DAG = "dag"
    LOOP = "loop"
    ITERATION = "iteration"


def make_task_id(run_id: str, path: str) -> str:
    """Return the id of the task at `path`: a UUID that whoever makes the record again makes too."""
    return str(uuid5(NAMESPACE_URL, f"pipelines.proa.dev/{run_id}/{path}"))


@dataclass(frozen=True, slots=True)
class Artifact:
    """One artifact. `type_title` is a schemaTitle ("system.Model"), or "" where `type_schema` (instanceSchema) says."""

    id: str
    name: str
    uri: str
    type_title: str = "system.Artifact"
    type_version: str = "0.0.1"
    type_schema: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    namespace: str = ""
    run_id: str = ""
    task_id: str = ""
    """What produced it; "" for an imported one."""
    created_at: float = 0.0
    tag: str = ""
    """What `ArtifactStore.stat` said of its content when it was recorded; "" where nothing was there."""


@dataclass(frozen=True, slots=True)
class Values:
    """Inputs or outputs of a task. An artifact that is no list is a list of one; an optional one left out is absent."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)


NO_VALUES = Values()


@dataclass(frozen=True, slots=True)
class Caching:
    """What the cache said of a task: `outcome` is "hit", "miss" or "off", and `reason` a sentence for people."""

    outcome: str
    reason: str
    fingerprint: str = ""
    from_task_id: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """One instance of a task of a run.

    `path` names it in its run: task keys of the DAGs that lead to it, iterations in brackets:
    `exit-handler-1/for-loop-2[3]/train`. The root DAG is "". `attempt` counts from 0.
    """

    run_id: str
    path: str
    id: str
    """`make_task_id` of run and path."""
    name: str
    """Its key in its DAG; "root" for the root."""
    display_name: str
    kind: TaskKind
    state: TaskState
    parent: str | None
    """Its parent's path; None for the root."""
    attempt: int = 0
    pod_name: str = ""
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    inputs: Values = NO_VALUES
    outputs: Values = NO_VALUES
    error: str = ""
    exit_code: int | None = None
    caching: Caching | None = None
    iteration: int | None = None
    states: tuple[tuple[TaskState, float], ...] = ()
    """The states that it had, and since when: state_history of the API."""
    log_uri: str = ""
    """Where the last attempt's log is kept; "" while its pod has it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a pipeline. `id` is a UUID; its custom resource is `name` in `namespace`."""

    id: str
    name: str
    namespace: str
    display_name: str
    state: RunState
    created_at: float
    description: str = ""
    experiment_id: str = ""
    pipeline_id: str = ""
    pipeline_version_id: str = ""
    recurring_run_id: str = ""
    pipeline_spec: Mapping[str, Any] = field(default_factory=dict)
    """The PipelineSpec document; database listings leave it empty unless asked for it."""
    platform_spec: Mapping[str, Any] = field(default_factory=dict)
    """The platform document that goes with it ({"platforms": {"kubernetes": ...}}); {} for none."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Runtime parameters as asked for, without defaults."""
    pipeline_root: str = ""
    service_account: str = ""
    storage_state: str = "AVAILABLE"
    scheduled_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    error: str = ""
    states: tuple[tuple[RunState, float], ...] = ()
    cache_enabled: bool | None = None
    """What the whole run was asked; None leaves it to each task's cachingOptions."""
    retries: int = 0
    """How often it was asked to go on after it had failed (:retry)."""


@dataclass(frozen=True, slots=True)
class RecurringRun:
    """What makes runs at times: by `cron` (six fields), else each `interval_seconds`, else once, at its creation."""

    id: str
    display_name: str
    namespace: str
    created_at: float
    description: str = ""
    experiment_id: str = ""
    pipeline_id: str = ""
    pipeline_version_id: str = ""
    """"" with a pipeline_id: its latest version whenever a run is made."""
    pipeline_spec: Mapping[str, Any] = field(default_factory=dict)
    """The document itself, where no pipeline is referred to."""
    platform_spec: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """As asked for: macros such as [[ScheduledTime]] stand in them until a run is made."""
    pipeline_root: str = ""
    service_account: str = ""
    cron: str = ""
    interval_seconds: int = 0
    start_time: float = 0.0
    end_time: float = 0.0
    """Both as the trigger has them; 0 for none."""
    max_concurrency: int = 1
    no_catchup: bool = False
    """Of times that were missed only the latest gets a run; otherwise each does, one by one."""
    is_enabled: bool = True
    updated_at: float = 0.0
    last_scheduled_at: float = 0.0
    """The scheduled time of the last run that it made; 0 before the first."""
    last_index: int = 0
    """How many runs it has made: the [[Index]] of the last one."""
    error: str = ""
    """Why the run that was due could not be made; it is tried again. "" once one could."""
    due_at: float | None = None
    """When to look at it next, as `recurring.plan` said: an index of the database. None for never."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """A folder of runs; `name` is unique in its namespace."""

    id: str
    name: str
    namespace: str
    created_at: float
    description: str = ""
    storage_state: str = "AVAILABLE"
    last_run_created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A name under which versions of a pipeline are kept; `name` is unique in its namespace."""

    id: str
    name: str
    namespace: str
    created_at: float
    display_name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PipelineVersion:
    """One uploaded document; `name` is unique in its pipeline."""

    id: str
    pipeline_id: str
    name: str
    created_at: float
    display_name: str = ""
    description: str = ""
    code_source_url: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    pipeline_spec: Mapping[str, Any] = field(default_factory=dict)
    """The PipelineSpec document; database listings leave it empty unless asked for it."""
    platform_spec: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metric:
    """One finite number of a system.Metrics artifact that a task of a run made."""

    name: str
    value: float
    task_id: str
    artifact_id: str


@dataclass(frozen=True, slots=True)
class Use:
    """A task that has an artifact as an input or output, under that name."""

    run_id: str
    task_id: str
    path: str
    artifact_id: str
    name: str
    is_output: bool
