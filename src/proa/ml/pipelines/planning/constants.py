"""Fill the placeholders of constants that no pod sees: those of DAGs, loops, importers and claims.

The constants of a container's task stay as they are: executor/step.py fills them when its pod is made. Values that are
filled in are never looked through for placeholders again. Source: resolveInputParameter of
backend/src/v2/driver/resolve.go, getPlaceholders of component/launcher_v2.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from proa.ml.pipelines.planning.conversion import to_text
from proa.ml.pipelines.records import Run, make_task_id

WORKSPACE_PATH = "/kfp-workspace"
_PLACEHOLDER = re.compile(r"\{\{\$\.(?:inputs\.parameters\[(?:'([^'\]]*)'|\"([^\"\]]*)\")\]|([a-z_]+))\}\}")


def fill(constant: Any, parameters: Mapping[str, Any], run: Run, path: str) -> Any:
    """Return a constant with its placeholders filled, also within lists and structs; unknown ones stay."""
    return _map_strings(
        constant, lambda text: _PLACEHOLDER.sub(lambda m: _look_up(m, parameters, run, path), text)
    )


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value) if "{{$" in value else value
    if isinstance(value, list | tuple):
        return [_map_strings(item, change) for item in value]
    if isinstance(value, Mapping):
        return {key: _map_strings(item, change) for key, item in value.items()}
    return value


def _look_up(match: re.Match[str], parameters: Mapping[str, Any], run: Run, path: str) -> str:
    name = match[1] or match[2]
    if name is not None:
        return to_text(parameters[name]) if name in parameters else match[0]
    found = _of_run(match[3], run, path)
    return match[0] if found is None else found


def _of_run(word: str, run: Run, path: str) -> str | None:
    match word:
        case "pipeline_job_name":
            return run.display_name
        case "pipeline_job_resource_name":
            return run.name
        case "pipeline_job_uuid":
            return run.id
        case "pipeline_task_name":
            return path.rpartition("/")[2].partition("[")[0]
        case "pipeline_task_uuid":
            return make_task_id(run.id, path)
        case "pipeline_job_create_time_utc":
            return _format_time(run.created_at)
        case "pipeline_job_schedule_time_utc":
            return _format_time(run.scheduled_at or run.created_at)
        case "workspace_path":
            return WORKSPACE_PATH
    return None


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
