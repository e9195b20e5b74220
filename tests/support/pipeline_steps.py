"""Runs, launches and artifacts for tests of steps."""

from __future__ import annotations

from typing import Any

from proa.ml.pipelines.planning.messages import Launch
from proa.ml.pipelines.records import Artifact, Run, RunState, TaskKind, Values

ROOT = "minio://mlpipeline/v2/artifacts"


def make_run(**changes: Any) -> Run:
    """Return a run called digits-x7 in namespace team."""
    values: dict[str, Any] = {
        "id": "r-1",
        "name": "digits-x7",
        "namespace": "team",
        "display_name": "digits of today",
        "state": RunState.RUNNING,
        "created_at": 1_700_000_000.0,
        "pipeline_spec": {"pipelineInfo": {"name": "digits"}},
    }
    return Run(**values | changes)


def make_launch(
    *,
    command: list[str] | None = None,
    args: list[str] | None = None,
    inputs: Values | None = None,
    constants: dict[str, Any] | None = None,
    component: dict[str, Any] | None = None,
    container: dict[str, Any] | None = None,
    platform: dict[str, Any] | None = None,
    **changes: Any,
) -> Launch:
    """Return the second attempt of task `train` in an iteration."""
    asked = {name: {"runtimeValue": {"constant": value}} for name, value in (constants or {}).items()}
    words = {"command": command or [], "args": args or []}
    values: dict[str, Any] = {
        "path": "loop-1[2]/train",
        "attempt": 1,
        "kind": TaskKind.CONTAINER,
        "task_spec": {"taskInfo": {"name": "train"}, "inputs": {"parameters": asked}},
        "component": component or {},
        "executor": {"container": {"image": "python:3.11", **words, **(container or {})}},
        "platform": platform or {},
        "inputs": inputs or Values(),
    }
    return Launch(**values | changes)


def make_artifact(
    name: str = "data", uri: str = f"{ROOT}/digits/r-1/load/s/data", **metadata: Any
) -> Artifact:
    """Return a Dataset that task `load` has made."""
    return Artifact(id="a-1", name=name, uri=uri, type_title="system.Dataset", metadata=metadata)
