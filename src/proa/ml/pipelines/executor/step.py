"""Make of a launch the step that a pod carries out: its command with everything substituted, and where outputs go.

Source: backend/src/v2/driver/{container,driver,resolve}.go and backend/src/v2/component/launcher_v2.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from proa.ml.pipelines.artifacts import uris
from proa.ml.pipelines.artifacts.protocol import ArtifactError
from proa.ml.pipelines.executor.executor_input import (
    OUTPUT_FILE_NAME,
    WORKSPACE_PATH,
    local_path,
    look_up,
    make_executor_input,
)
from proa.ml.pipelines.executor.parameters import to_json
from proa.ml.pipelines.executor.placeholders import Key, expand_structures, substitute
from proa.ml.pipelines.executor.pod_parts import PodParts, make_pod_parts
from proa.ml.pipelines.executor.resources import make_resources
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.executor.task_config import split
from proa.ml.pipelines.planning.messages import Launch
from proa.ml.pipelines.records import Artifact, Json, Run, make_task_id
from proa.objects.quick_dataclass import dataclass

LONGEST_WORD = 128 * 1024 - 1
"""Bytes of one word of a command: MAX_ARG_STRLEN of the kernel, less the zero at its end."""
_WORKSPACE_PLACEHOLDER = "{{$.workspace_path}}"


@dataclass(frozen=True, slots=True)
class Step:
    """An attempt, ready to be made a pod of. Words of command and args are as Kubernetes expands them ($$ is $)."""

    task: str
    """Its name as messages have it."""
    image: str
    command: Sequence[str]
    args: Sequence[str]
    executor_input: Json
    task_root: str
    """The URI below which it may write."""
    output_file: str
    """Where it leaves its executor output."""
    outputs: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)
    """Output artifacts as they are before it has run."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Their local paths, by output."""
    parameter_files: Mapping[str, str] = field(default_factory=dict)
    parts: PodParts = field(default_factory=PodParts)


def make_step(run: Run, launch: Launch, pipeline_root: str, salt: str) -> Step:
    """Return the step of a launch; raise StepFailed where it cannot be made, which another attempt would not mend."""
    try:
        return _StepMaker(run, launch, pipeline_root, salt).make()
    except (ArtifactError, ValueError) as error:
        raise StepFailed(f"task '{task_name(launch)}': {error}") from error


def task_name(launch: Launch) -> str:
    """Return what a person calls the task: its display name, which is its key unless its author gave one."""
    return str(launch.task_spec.get("taskInfo", {}).get("name") or task_key(launch.path))


def task_key(path: str) -> str:
    """Return the key of a task in its DAG: `train` of `exit-handler-1/for-loop-2[3]/train`."""
    return path.rpartition("/")[2].partition("[")[0]


def find_workspace(run: Run) -> Mapping[str, Any]:
    """Return what the run's pipeline says of its workspace, {} where it has none."""
    config = run.platform_spec.get("platforms", {}).get("kubernetes", {}).get("pipelineConfig", {})
    found: Mapping[str, Any] = config.get("workspace") or {}
    return found


def workspace_claim_name(run: Run) -> str:
    """Return the name of the claim that is the run's workspace."""
    return f"{run.name}-kfp-workspace"


class _StepMaker:
    def __init__(self, run: Run, launch: Launch, pipeline_root: str, salt: str) -> None:
        self._run, self._launch, self._root = run, launch, pipeline_root
        self._task = task_name(launch)
        self._container: Mapping[str, Any] = launch.executor["container"]
        pipeline = str(run.pipeline_spec.get("pipelineInfo", {}).get("name", ""))
        self._task_root = uris.make_task_root(pipeline_root, pipeline, run.id, task_key(launch.path), salt)
        self._of_run = _driver_values(run, launch, pipeline_root)
        self._outputs = _make_outputs(run, launch, self._task_root)

    def make(self) -> Step:
        values = self._fill_constants()
        parts = self._make_parts(values)
        parts, config = split(self._launch.component, parts)
        for name, spec in self._launch.component.get("inputDefinitions", {}).get("parameters", {}).items():
            if spec.get("parameterType") == "TASK_CONFIG":
                values[name] = config
        message = self._make_input(values)
        present = {*values, *(name for name, items in self._launch.inputs.artifacts.items() if items)}
        return Step(
            task=self._task,
            image=self._make_fill(message)(str(self._container.get("image", ""))),
            command=self._words("command", message, present),
            args=self._words("args", message, present),
            executor_input=message,
            task_root=self._task_root,
            output_file=message["outputs"]["outputFile"],
            outputs=self._outputs,
            paths={
                name: local_path(found["artifacts"][0])
                for name, found in message["outputs"].get("artifacts", {}).items()
            },
            parameter_files={
                name: found["outputFile"] for name, found in message["outputs"].get("parameters", {}).items()
            },
            parts=parts,
        )

    def _fill_constants(self) -> dict[str, Any]:
        """Return input parameters with the placeholders of constants filled in.

        Those of other inputs are looked for only in what the pipeline's author wrote, never in what a task returned.
        """
        given = self._launch.inputs.parameters
        values = {name: value for name, value in given.items() if value is not None}
        fill = self._make_fill(self._make_input(values))
        asked = self._launch.task_spec.get("inputs", {}).get("parameters", {})
        for name, value in values.items():
            is_constant = "constant" in asked.get(name, {}).get("runtimeValue", {})
            values[name] = _map_strings(value, fill if is_constant else self._fill_driver)
        return values

    def _make_parts(self, values: dict[str, Any]) -> PodParts:
        fill = self._make_fill(self._make_input(values))
        env = [
            {
                "name": entry["name"],
                "value": substitute(entry.get("value", ""), fill.look_up, for_command=True),
            }
            for entry in self._container.get("env", [])
        ]
        resources = make_resources(self._container.get("resources", {}), self._task, fill)
        claim = workspace_claim_name(self._run) if self._needs_workspace(values) else ""
        return make_pod_parts(self._launch, self._task, env, resources, claim, fill)

    def _make_input(self, values: Mapping[str, Any]) -> Json:
        parameters = self._launch.component.get("outputDefinitions", {}).get("parameters", {})
        folder = uris.local_path(self._task_root)
        return make_executor_input(
            values,
            self._launch.inputs.artifacts,
            self._outputs,
            list(parameters),
            f"{folder}/{OUTPUT_FILE_NAME}",
        )

    def _make_fill(self, message: Json) -> _Fill:
        return _Fill(self._of_run, message, self._task)

    def _fill_driver(self, text: str) -> str:
        return substitute(text, self._of_run.get)

    def _words(self, name: str, message: Json, present: set[str]) -> list[str]:
        fill = self._make_fill(message)
        words = expand_structures(self._container.get(name, []), present)
        words = [substitute(word, fill.look_up, for_command=True) for word in words]
        for word in words:
            if (size := len(word.encode())) > LONGEST_WORD:
                raise StepFailed(
                    f"task '{self._task}': its inputs make one word of its command {size} bytes long, and Linux allows"
                    f" {LONGEST_WORD}. Pass what is large as an artifact, not as a parameter"
                )
        return words

    def _needs_workspace(self, values: Mapping[str, Any]) -> bool:
        if not find_workspace(self._run):
            return False
        if any(WORKSPACE_PATH in to_json(value) for value in values.values()):
            return True
        found = (item for items in self._launch.inputs.artifacts.values() for item in items[:1])
        return any(item.metadata.get("_kfp_workspace") is True for item in found)


class _Fill:
    """Fills the placeholders of a template with values of the run and of the step's ExecutorInput."""

    def __init__(self, of_run: Mapping[tuple[Key, ...], str], message: Json, task: str) -> None:
        self._of_run, self._message, self._task = of_run, message, task

    def __call__(self, template: str) -> str:
        return substitute(template, self.look_up)

    def look_up(self, path: tuple[Key, ...]) -> str | None:
        found = self._of_run.get(path)
        return look_up(self._message, path, self._task) if found is None else found


def _driver_values(run: Run, launch: Launch, pipeline_root: str) -> dict[tuple[Key, ...], str]:
    created = _format_time(run.created_at)
    values = {
        "pipeline_job_name": run.display_name,
        "pipeline_job_resource_name": run.name,
        "pipeline_job_uuid": run.id,
        "pipeline_task_name": task_key(launch.path),
        "pipeline_task_uuid": make_task_id(run.id, launch.path),
        "pipeline_root": pipeline_root,
        "pipeline_job_create_time_utc": created,
        "pipeline_job_schedule_time_utc": _format_time(run.scheduled_at) if run.scheduled_at else created,
        "workspace_path": WORKSPACE_PATH,
    }
    return {(name,): value for name, value in values.items()}


def _make_outputs(run: Run, launch: Launch, task_root: str) -> dict[str, tuple[Artifact, ...]]:
    task_id = make_task_id(run.id, launch.path)
    made: dict[str, tuple[Artifact, ...]] = {}
    for name, spec in launch.component.get("outputDefinitions", {}).get("artifacts", {}).items():
        kind = spec.get("artifactType", {})
        made[name] = (
            Artifact(
                id=str(uuid5(NAMESPACE_URL, f"{task_id}/{launch.attempt}/{name}")),
                name=name,
                uri=f"{task_root}/{name}",
                type_title=kind.get("schemaTitle", "" if "instanceSchema" in kind else "system.Artifact"),
                type_version=kind.get("schemaVersion", "0.0.1"),
                type_schema=kind.get("instanceSchema", ""),
                metadata=spec.get("metadata", {}),
                namespace=run.namespace,
                run_id=run.id,
                task_id=task_id,
            ),
        )
        uris.parse(made[name][0].uri)
    return made


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map_strings(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _map_strings(item, change) for key, item in value.items()}
    return value


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
