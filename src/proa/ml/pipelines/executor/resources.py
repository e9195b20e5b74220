"""What a step asks of a node: cpu, memory and accelerators, in the new fields or the old ones.

Source: getPodResource and initPodSpecPatch of backend/src/v2/driver/driver.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.ml.pipelines.executor.parameters import format_value
from proa.ml.pipelines.executor.references import Fill
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.records import Json
from proa.objects.quantity import QuantityError, parse_quantity

_FIELDS = (
    ("limits", "memory", "resourceMemoryLimit", "memoryLimit", "G"),
    ("requests", "memory", "resourceMemoryRequest", "memoryRequest", "G"),
    ("limits", "cpu", "resourceCpuLimit", "cpuLimit", ""),
    ("requests", "cpu", "resourceCpuRequest", "cpuRequest", ""),
)


def make_resources(spec: Mapping[str, Any], task: str, fill: Fill) -> Json:
    """Return a container's `resources` from the ResourceSpec; {} where it asks for nothing."""
    resources: Json = {}
    for part, resource, new, old, unit in _FIELDS:
        text = fill(str(spec.get(new) or "")) or (format_value(spec[old]) + unit if spec.get(old) else "")
        if text:
            resources.setdefault(part, {})[resource] = _check(text, f"{resource} {part[:-1]}", task)
    accelerator = spec.get("accelerator", {})
    kind = fill(str(accelerator.get("resourceType") or accelerator.get("type") or ""))
    count = fill(format_value(accelerator.get("resourceCount") or accelerator.get("count") or ""))
    if kind and count:
        resources.setdefault("limits", {})[kind] = _check(count, f"number of {kind}", task)
    return resources


def _check(text: str, what: str, task: str) -> str:
    try:
        parse_quantity(text)
    except QuantityError:
        raise StepFailed(
            f"task '{task}': its {what} is {text!r}, which is not a quantity such as 500m, 2 or 1Gi"
        ) from None
    return text
