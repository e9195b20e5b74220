"""Say to a step what it gets and where it leaves what: the ExecutorInput message, and what placeholders say of it.

Source: provisionOutputs of backend/src/v2/driver/driver.go, getPlaceholders of component/launcher_v2.go, message
ExecutorInput of api/v2alpha1/pipeline_spec.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proa.ml.pipelines.artifacts.uris import local_path as find_local_path
from proa.ml.pipelines.executor.parameters import format_value, to_json
from proa.ml.pipelines.executor.placeholders import Key
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.records import Artifact, Json

WORKSPACE_PATH = "/kfp-workspace"
"""Where a run's workspace is mounted."""
OUTPUTS_FOLDER = "/tmp/kfp/outputs"  # noqa: S108
OUTPUT_FILE_NAME = "output_metadata.json"
_OUTPUT_FILE_NAMES = frozenset({"output_file", "output_metadata_uri"})
_METADATA_NAMES = frozenset({"metadata", "properties", "custom_properties"})


def make_executor_input(
    parameters: Mapping[str, Any],
    artifacts: Mapping[str, Sequence[Artifact]],
    outputs: Mapping[str, Sequence[Artifact]],
    output_parameters: Sequence[str],
    output_file: str,
) -> Json:
    """Return the message as its JSON says it."""
    inputs: Json = {}
    if parameters:
        inputs["parameterValues"] = dict(parameters)
    if artifacts:
        inputs["artifacts"] = {name: _make_list(items) for name, items in artifacts.items()}
    made: Json = {"outputFile": output_file}
    if output_parameters:
        made["parameters"] = {name: {"outputFile": f"{OUTPUTS_FOLDER}/{name}"} for name in output_parameters}
    if outputs:
        made["artifacts"] = {name: _make_list(items) for name, items in outputs.items()}
    return {"inputs": inputs, "outputs": made}


def make_runtime_artifact(artifact: Artifact) -> Json:
    """Return an artifact as a RuntimeArtifact message."""
    kind: Json = (
        {"instanceSchema": artifact.type_schema}
        if artifact.type_schema
        else {"schemaTitle": artifact.type_title, "schemaVersion": artifact.type_version}
    )
    return {
        "name": artifact.name,
        "type": kind,
        "uri": artifact.uri,
        "metadata": dict(artifact.metadata),
    }


def local_path(artifact: Mapping[str, Any]) -> str:
    """Return where a step finds or leaves a RuntimeArtifact; its URI where its scheme has no local path."""
    uri = str(artifact.get("uri", ""))
    if custom := artifact.get("customPath"):
        return str(custom)
    if artifact.get("metadata", {}).get("_kfp_workspace") is True:
        return f"{WORKSPACE_PATH}/.artifacts{find_local_path(uri)}"
    return find_local_path(uri) or uri


def look_up(executor_input: Json, path: Sequence[Key], task: str) -> str | None:
    """Return what a placeholder below `inputs` or `outputs` stands for, None for no placeholder of ours.

    Raises StepFailed where it names an input that has no value.
    """
    if not path:
        return to_json(executor_input)
    if list(path) == ["outputMetadataUri"]:
        return str(executor_input["outputs"]["outputFile"])
    if path[0] not in ("inputs", "outputs"):
        return None
    if len(path) == 2 and path[0] == "outputs" and path[1] in _OUTPUT_FILE_NAMES:
        return str(executor_input["outputs"]["outputFile"])
    if len(path) < 3:
        return None
    side, kind, name, *rest = path
    if kind == "parameters" and side == "inputs":
        return _look_up_parameter(executor_input, str(name), rest, task)
    if kind == "parameters":
        file = executor_input["outputs"].get("parameters", {}).get(name, {}).get("outputFile")
        return str(file) if rest == ["output_file"] and file else None
    if kind == "artifacts":
        return _look_up_artifact(executor_input[str(side)], str(side), str(name), rest, task)
    return None


def _make_list(items: Sequence[Artifact]) -> Json:
    return {"artifacts": [make_runtime_artifact(item) for item in items]}


def _look_up_parameter(executor_input: Json, name: str, rest: Sequence[Key], task: str) -> str:
    values = executor_input["inputs"].get("parameterValues", {})
    if values.get(name) is None:
        raise StepFailed(
            f"task '{task}': its command uses input parameter '{name}', which has no value. Pass one, give it a"
            " default, or use it inside dsl.IfPresentPlaceholder"
        )
    return format_value(_descend(values[name], rest, f"input parameter '{name}'", task))


def _look_up_artifact(part: Json, side: str, name: str, rest: Sequence[Key], task: str) -> str | None:
    items = part.get("artifacts", {}).get(name, {}).get("artifacts", [])
    if not rest:
        return to_json(items) if items or side == "inputs" else None
    if not items:
        if side == "outputs":
            return None
        raise StepFailed(
            f"task '{task}': its command uses input artifact '{name}', which is not there. Pass one, or use it inside"
            " dsl.IfPresentPlaceholder"
        )
    index = rest[0] if isinstance(rest[0], int) else 0
    field, *keys = rest[1:] if isinstance(rest[0], int) else rest
    if index >= len(items):
        raise StepFailed(
            f"task '{task}': input artifact '{name}' has {len(items)} items, and no item {index}"
        )
    artifact = items[index]
    if field == "path":
        return local_path(artifact)
    if field in _METADATA_NAMES:
        return format_value(
            _descend(artifact["metadata"], keys, f"the metadata of {side[:-1]} artifact '{name}'", task)
        )
    return str(artifact[field]) if field in ("uri", "name") else None


def _descend(value: Any, keys: Sequence[Key], what: str, task: str) -> Any:
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            raise StepFailed(f"task '{task}': {what} has no {key!r}, which its command uses") from None
    return value
