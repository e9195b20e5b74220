"""Read what a step that ended well has left, and hold it against what its component declares.

The executor output comes first, then a file a parameter. What is missing, mistyped or too large fails the step with a
message that says what to do. Source: getExecutorOutputFile, collectOutputParameters and mergeRuntimeArtifacts of
backend/src/v2/component/launcher_v2.go.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from proa.ml.pipelines.artifacts import uris
from proa.ml.pipelines.artifacts.protocol import ArtifactError
from proa.ml.pipelines.executor.parameters import check_value, parse_text, quote
from proa.ml.pipelines.executor.step import Step
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.planning.messages import Launch
from proa.ml.pipelines.records import Artifact, Json, Values

Read = Callable[[str, int], Awaitable[bytes | None]]
"""Return a file of the container by its path, None where there is none; more bytes than allowed raise ArtifactError."""

MAX_OUTPUT_FILE = 8 * 1024 * 1024
MAX_PARAMETER_FILE = 1024 * 1024
MAX_METADATA = 1024 * 1024
"""Bytes of one artifact's metadata, as JSON."""


async def read_outputs(launch: Launch, step: Step, read: Read) -> Values:
    """Return a step's outputs. Raises StepFailed, which another attempt may mend: a step need not do the same twice."""
    message = await _read_executor_output(step, read)
    declared = launch.component.get("outputDefinitions", {})
    given = _member(step, message, "parameterValues", "parameter_values")
    parameters = {
        name: await _find_parameter(step, name, spec, given, read)
        for name, spec in declared.get("parameters", {}).items()
    }
    return Values(
        parameters={name: value for name, value in parameters.items() if value is not None},
        artifacts=_find_artifacts(step, message),
    )


async def _read_executor_output(step: Step, read: Read) -> Json:
    data = await _read(step, read, step.output_file, MAX_OUTPUT_FILE, "its executor output")
    if not data:
        return {}
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise _failed(
            step,
            f"the executor output that it wrote to {step.output_file} is not a JSON object. Leave that file to"
            " the SDK's executor, or write {} to it",
        )
    return message


async def _find_parameter(
    step: Step, name: str, spec: Mapping[str, Any], given: Mapping[str, Any], read: Read
) -> Any:
    kind = str(spec.get("parameterType", "STRING"))
    if given.get(name) is not None:
        try:
            return check_value(given[name], kind)
        except ValueError as error:
            raise _mistyped(step, name, kind, error, "Return") from None
    file = step.parameter_files[name]
    data = await _read(step, read, file, MAX_PARAMETER_FILE, f"output parameter '{name}'")
    if data is None and spec.get("isOptional"):
        return None
    if data is None:
        raise _failed(
            step,
            f"no output was written for parameter '{name}' (declared {kind}). Return it from the function, or"
            f" write it to {file} (dsl.OutputPath in Python, its placeholder in other containers)",
        )
    try:
        return parse_text(data.decode(), kind)
    except UnicodeDecodeError:
        raise _failed(
            step,
            f"what it wrote to {file} for output parameter '{name}' is not UTF-8 text. Pass data as artifacts",
        ) from None
    except ValueError as error:
        raise _mistyped(step, name, kind, error, f"Write to {file}") from None


def _mistyped(step: Step, name: str, kind: str, error: ValueError, verb: str) -> StepFailed:
    return _failed(
        step,
        f"output parameter '{name}' is declared {kind}, but {error}. {verb} a value of that type, or declare"
        " another",
    )


def _find_artifacts(step: Step, message: Json) -> dict[str, tuple[Artifact, ...]]:
    told = _member(step, message, "artifacts")
    found: dict[str, tuple[Artifact, ...]] = {}
    for name, artifacts in step.outputs.items():
        entry = told.get(name)
        items = entry.get("artifacts") if isinstance(entry, dict) else None
        overrides = items[0] if isinstance(items, list) and items else {}
        if not isinstance(overrides, dict):
            raise _failed(step, f"what it says of output artifact '{name}' is not a JSON object")
        found[name] = (_merge(step, artifacts[0], overrides), *artifacts[1:])
    return found


def _merge(step: Step, artifact: Artifact, told: Json) -> Artifact:
    """Return an artifact with the metadata that the step gave it, and where it put it, if elsewhere than asked."""
    metadata = told.get("metadata") or {}
    if not isinstance(metadata, dict) or len(json.dumps(metadata)) > MAX_METADATA:
        raise _failed(
            step,
            f"the metadata of output artifact '{artifact.name}' is not a JSON object of at most {MAX_METADATA} bytes."
            " Write what is larger into the artifact itself",
        )
    custom = told.get("customPath", told.get("custom_path"))
    uri = _find_uri(step, artifact, told.get("uri"), custom)
    return replace(artifact, uri=uri, metadata={**artifact.metadata, **metadata})


def _find_uri(step: Step, artifact: Artifact, uri: Any, custom: Any) -> str:
    """Return an artifact's URI: the step's own, where it names one. A path (of a mounted volume, say) stays one."""
    if custom and isinstance(custom, str):
        return _uri_of_custom_path(step, artifact, custom)
    if not uri or uri == artifact.uri:
        return artifact.uri
    if not isinstance(uri, str) or len(uri) > uris.MAX_URI_LENGTH:
        raise _failed(step, f"the URI of output artifact '{artifact.name}' is {quote(uri)}, which is none")
    try:
        return str(uris.parse(uri)) if uri.partition("://")[0] in uris.LOCAL_FOLDERS else uri
    except ArtifactError as error:
        raise _failed(step, f"output artifact '{artifact.name}': {error}") from None


def _uri_of_custom_path(step: Step, artifact: Artifact, path: str) -> str:
    uri = uris.uri_of_path(path)
    try:
        if uri and uris.parse(uri).is_within(uris.parse(step.task_root)):
            return str(uris.parse(uri))
    except ArtifactError:
        uri = ""
    raise _failed(
        step,
        f"output artifact '{artifact.name}' was left at {quote(path)}, and only what is below"
        f" {uris.local_path(step.task_root)} is kept. Write it to the path that the artifact has, or name a URI that"
        " you wrote to yourself",
    )


def _member(step: Step, message: Json, *names: str) -> Json:
    found: Any = next((message[name] for name in names if name in message), {})
    if not isinstance(found, dict):
        raise _failed(step, f"'{names[0]}' of its executor output is not a JSON object")
    return found


async def _read(step: Step, read: Read, path: str, limit: int, what: str) -> bytes | None:
    try:
        return await read(path, limit)
    except ArtifactError as error:
        raise _failed(step, f"{what} cannot be read: {error}. Pass what is large as an artifact") from None


def _failed(step: Step, text: str) -> StepFailed:
    return StepFailed(f"task '{step.task}': {text}", can_retry=True, reason="BadOutput")
