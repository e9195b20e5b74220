"""Resolve what the Kubernetes platform document refers to: inputs of the DAG, outputs of siblings, constants.

Source: resolveInputParameter and resolveInputParameterStr of backend/src/v2/driver/resolve.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proa.ml.pipelines.executor.parameters import quote
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.planning.messages import Launch

Fill = Callable[[str], str]
"""Puts values in the place of a string's placeholders."""


def find_value(launch: Launch, reference: Mapping[str, Any], task: str, fill: Fill) -> Any:
    """Return what an InputParameterSpec stands for; None for an optional one that was left out."""
    if name := reference.get("componentInputParameter"):
        return launch.scope.parameters.get(name)
    if output := reference.get("taskOutputParameter"):
        return _find_output(launch, output, task)
    runtime = reference.get("runtimeValue", {})
    constant = runtime.get("constant")
    return fill(constant) if isinstance(constant, str) else constant


def find_name(
    launch: Launch, entry: Mapping[str, Any], parameter: str, old_field: str, task: str, fill: Fill
) -> str:
    """Return an object's name by the field that takes references, or the old one; "" for an optional one left out.

    Raises StepFailed where neither field says it, or what it says is no name.
    """
    if parameter not in entry:
        if name := entry.get(old_field):
            return str(name)
        raise StepFailed(f"task '{task}': the platform document says neither {old_field} nor {parameter}")
    value = find_value(launch, entry[parameter], task, fill)
    if value is None:
        return ""
    if not isinstance(value, str) or not value:
        raise StepFailed(f"task '{task}': {parameter} is {quote(value)}, and not a name")
    return value


def _find_output(launch: Launch, output: Mapping[str, Any], task: str) -> Any:
    producer, key = output.get("producerTask", ""), output.get("outputParameterKey", "")
    values = (launch.siblings or {}).get(producer)
    if values is None or key not in values.parameters:
        raise StepFailed(
            f"task '{task}': its platform document wants output '{key}' of task '{producer}', which has none"
        )
    return values.parameters[key]
