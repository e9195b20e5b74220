"""Read components of a PipelineSpec: what they take and give, of which types, and what carries them out.

All take proto-JSON as document.py returns it, and answer with parts of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

Json = Mapping[str, Any]


class ParameterType(StrEnum):
    """Types of parameters (PipelineSpec's ParameterTypeEnum)."""

    NUMBER_DOUBLE = "NUMBER_DOUBLE"
    NUMBER_INTEGER = "NUMBER_INTEGER"
    STRING = "STRING"
    BOOLEAN = "BOOLEAN"
    LIST = "LIST"
    STRUCT = "STRUCT"
    TASK_FINAL_STATUS = "TASK_FINAL_STATUS"
    TASK_CONFIG = "TASK_CONFIG"


_PRIMITIVES = {
    "INT": ParameterType.NUMBER_INTEGER,
    "DOUBLE": ParameterType.NUMBER_DOUBLE,
    "STRING": ParameterType.STRING,
}
ROOT = "root"


def pipeline_name(spec: Json) -> str:
    """Return the pipeline's own name, "" where it has none."""
    name: str = spec.get("pipelineInfo", {}).get("name", "")
    return name


def find_component(spec: Json, name: str) -> dict[str, Any] | None:
    """Return a component by its name; the root by "root"."""
    found: dict[str, Any] | None = spec.get("components", {}).get(name)
    return spec.get("root") if found is None and name == ROOT else found


def component_of(spec: Json, task: Json) -> dict[str, Any]:
    """Return the component that a task refers to; KeyError in what was not checked."""
    component: dict[str, Any] = spec["components"][task["componentRef"]["name"]]
    return component


def tasks_of(component: Json) -> dict[str, dict[str, Any]]:
    """Return the tasks of a DAG by key; {} for what is none."""
    tasks: dict[str, dict[str, Any]] = component.get("dag", {}).get("tasks", {})
    return tasks


def is_dag(component: Json) -> bool:
    """Say whether a component has tasks of its own."""
    return "dag" in component


def executors(spec: Json) -> dict[str, dict[str, Any]]:
    """Return all ExecutorSpecs by label."""
    found: dict[str, dict[str, Any]] = spec.get("deploymentSpec", {}).get("executors", {})
    return found


def executor_of(spec: Json, component: Json) -> dict[str, Any]:
    """Return a component's ExecutorSpec; {} for a DAG."""
    return executors(spec).get(component.get("executorLabel", ""), {})


def input_parameters(component: Json) -> dict[str, dict[str, Any]]:
    """Return the declared input parameters by name."""
    found: dict[str, dict[str, Any]] = component.get("inputDefinitions", {}).get("parameters", {})
    return found


def input_artifacts(component: Json) -> dict[str, dict[str, Any]]:
    """Return the declared input artifacts by name."""
    found: dict[str, dict[str, Any]] = component.get("inputDefinitions", {}).get("artifacts", {})
    return found


def output_parameters(component: Json) -> dict[str, dict[str, Any]]:
    """Return the declared output parameters by name."""
    found: dict[str, dict[str, Any]] = component.get("outputDefinitions", {}).get("parameters", {})
    return found


def output_artifacts(component: Json) -> dict[str, dict[str, Any]]:
    """Return the declared output artifacts by name."""
    found: dict[str, dict[str, Any]] = component.get("outputDefinitions", {}).get("artifacts", {})
    return found


def parameter_type(definition: Json) -> ParameterType | None:
    """Return a declared parameter's type, from `parameterType` or the older `type`; None where it has neither."""
    word = definition.get("parameterType", "PARAMETER_TYPE_ENUM_UNSPECIFIED")
    if word != "PARAMETER_TYPE_ENUM_UNSPECIFIED":
        return ParameterType(word)
    return _PRIMITIVES.get(definition.get("type", ""))


def is_optional(definition: Json) -> bool:
    """Say whether an input may be left out."""
    return definition.get("isOptional", False) is True


def has_default(definition: Json) -> bool:
    """Say whether a parameter has a default; a default of null is one."""
    return "defaultValue" in definition


def is_artifact_list(definition: Json) -> bool:
    """Say whether an artifact is a list of them."""
    return definition.get("isArtifactList", False) is True


def constant_of(value: Json) -> Any:
    """Return what a ValueOrRuntimeParameter says: `constant`, or the older `constantValue`; KeyError for neither."""
    if "constant" in value:
        return value["constant"]
    return next(iter(value["constantValue"].values()))
