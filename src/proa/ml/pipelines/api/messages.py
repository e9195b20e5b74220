"""Read requests' bodies as the gateway reads protobuf's JSON: known fields by either name, of the right types.

What is unknown is refused by name. Read messages have snake_case names, no nulls, and times as epoch seconds.
Upstream: backend/api/v2beta1/*.proto, and google.golang.org/protobuf/encoding/protojson.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from proa.ml.pipelines.api.refusals import Refusal, invalid
from proa.ml.pipelines.api.times import parse_time
from proa.ml.pipelines.records import Json

Shape = Mapping[str, Any]
"""Field name -> "string", "bool", "int64", "time", "struct", "strings" (a map), a tuple of enum names, or a Shape."""

_REFERENCE: Shape = {"pipeline_id": "string", "pipeline_version_id": "string"}
_RUNTIME_CONFIG: Shape = {"parameters": "struct", "pipeline_root": "string"}
_STATUS: Shape = {"code": "int64", "message": "string", "details": "any"}
_STORAGE_STATES = ("STORAGE_STATE_UNSPECIFIED", "AVAILABLE", "ARCHIVED")

EXPERIMENT: Shape = {
    "experiment_id": "string",
    "display_name": "string",
    "description": "string",
    "created_at": "time",
    "namespace": "string",
    "storage_state": _STORAGE_STATES,
    "last_run_created_at": "time",
}
PIPELINE: Shape = {
    "pipeline_id": "string",
    "display_name": "string",
    "name": "string",
    "description": "string",
    "created_at": "time",
    "namespace": "string",
    "error": _STATUS,
    "tags": "strings",
}
PIPELINE_VERSION: Shape = {
    "pipeline_id": "string",
    "pipeline_version_id": "string",
    "display_name": "string",
    "name": "string",
    "description": "string",
    "created_at": "time",
    "package_url": {"pipeline_url": "string"},
    "code_source_url": "string",
    "pipeline_spec": "struct",
    "error": _STATUS,
    "tags": "strings",
}
PIPELINE_AND_VERSION: Shape = {"pipeline": PIPELINE, "pipeline_version": PIPELINE_VERSION}
_RUNTIME_STATES = (
    "RUNTIME_STATE_UNSPECIFIED", "PENDING", "RUNNING", "SUCCEEDED", "SKIPPED", "FAILED", "CANCELING", "CANCELED",
    "PAUSED",
)  # fmt: skip
RUN: Shape = {
    "experiment_id": "string",
    "run_id": "string",
    "display_name": "string",
    "storage_state": _STORAGE_STATES,
    "description": "string",
    "pipeline_version_id": "string",
    "pipeline_spec": "struct",
    "pipeline_version_reference": _REFERENCE,
    "runtime_config": _RUNTIME_CONFIG,
    "service_account": "string",
    "created_at": "time",
    "scheduled_at": "time",
    "finished_at": "time",
    "state": _RUNTIME_STATES,
    "error": _STATUS,
    "run_details": "any",
    "recurring_run_id": "string",
    "state_history": "any",
    "plugins_input": "any",
    "plugins_output": "any",
}
_TRIGGER: Shape = {
    "cron_schedule": {"start_time": "time", "end_time": "time", "cron": "string"},
    "periodic_schedule": {"start_time": "time", "end_time": "time", "interval_second": "int64"},
}
RECURRING_RUN: Shape = {
    "recurring_run_id": "string",
    "display_name": "string",
    "description": "string",
    "pipeline_version_id": "string",
    "pipeline_spec": "struct",
    "pipeline_version_reference": _REFERENCE,
    "runtime_config": _RUNTIME_CONFIG,
    "service_account": "string",
    "max_concurrency": "int64",
    "trigger": _TRIGGER,
    "mode": ("MODE_UNSPECIFIED", "ENABLE", "DISABLE"),
    "created_at": "time",
    "updated_at": "time",
    "status": ("STATUS_UNSPECIFIED", "ENABLED", "", "DISABLED"),
    "error": _STATUS,
    "no_catchup": "bool",
    "namespace": "string",
    "experiment_id": "string",
    "plugins_input": "any",
}
EMPTY: Shape = {}


def read_body(body: bytes, shape: Shape) -> Json:
    """Return a request's body as a message; raise Refusal."""
    try:
        value = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise invalid(f"the body is no JSON: {error}") from None
    return _read_message(value, shape, "")


def _read_message(value: object, shape: Shape, path: str) -> Json:
    if not isinstance(value, dict):
        raise _wrong(path, "an object", value)
    names, read = _names(tuple(shape)), {}
    for key, part in value.items():
        name = names.get(key)
        place = f"{path}.{key}" if path else key
        if name is None:
            raise invalid(f'unknown field "{place}"; known: {", ".join(shape) or "none"}')
        if name in read:
            raise invalid(f'duplicate field "{place}"')
        if part is not None:
            read[name] = _read(part, shape[name], place)
    return read


@functools.cache
def _names(fields: tuple[str, ...]) -> dict[str, str]:
    camel = {re.sub("_([a-z])", lambda found: found[1].upper(), name): name for name in fields}
    return {**camel, **{name: name for name in fields}}


def _read(value: Any, kind: Any, path: str) -> Any:
    if isinstance(kind, Mapping):
        return _read_message(value, kind, path)
    if isinstance(kind, tuple):
        return _read_enum(value, kind, path)
    return _READERS[kind](value, path)


def _read_enum(value: object, names: tuple[str, ...], path: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    if isinstance(value, str) and value in names:
        return value
    raise _wrong(path, f"one of {', '.join(filter(None, names))}", value)


def _read_string(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(path, "a string", value)
    if "\0" in value:
        raise invalid(f"invalid value for {path}: it has a NUL character")
    return value


def _read_bool(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(path, "true or false", value)
    return value


def _read_int(value: object, path: str) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,19}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise _wrong(path, "an integer", value)
    return value


def _read_struct(value: object, path: str) -> Json:
    if not isinstance(value, dict):
        raise _wrong(path, "an object", value)
    return value


def _read_strings(value: object, path: str) -> dict[str, str]:
    return {key: _read_string(part, f"{path}.{key}") for key, part in _read_struct(value, path).items()}


_READERS: Mapping[str, Callable[[Any, str], Any]] = {
    "string": _read_string,
    "bool": _read_bool,
    "int64": _read_int,
    "time": parse_time,
    "struct": _read_struct,
    "strings": _read_strings,
    "any": lambda value, _: value,
}


def _wrong(path: str, wanted: str, value: object) -> Refusal:
    shown = orjson.dumps(value).decode()
    return invalid(f"invalid value for {path or 'the body'}: expected {wanted}, got {shown[:60]}")
