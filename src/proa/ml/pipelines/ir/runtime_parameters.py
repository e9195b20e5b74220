"""Check a run's parameters against what its pipeline asks for. Source: validatePipelineJobInputs of v2_template.go.

Upstream's rules and words; beyond them, a NUMBER_INTEGER must be whole, and comes out as an int.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.ml.pipelines.ir.components import (
    ParameterType,
    has_default,
    input_artifacts,
    input_parameters,
    is_optional,
    parameter_type,
)
from proa.ml.pipelines.ir.document import Package
from proa.ml.pipelines.ir.problems import InvalidParameters
from proa.ml.pipelines.ir.value_types import is_of, same_number_or_value

_WORDS = {
    ParameterType.NUMBER_DOUBLE: ("double or integer", "number"),
    ParameterType.NUMBER_INTEGER: ("double or integer", "number"),
    ParameterType.STRING: ("string", "string"),
    ParameterType.BOOLEAN: ("bool", "bool"),
    ParameterType.LIST: ("list", "list"),
    ParameterType.STRUCT: ("struct", "struct"),
}


def check_runtime_parameters(package: Package, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters, numbers as their types say; raise InvalidParameters. Defaults are not filled in."""
    root = package.pipeline_spec.get("root", {})
    declared = input_parameters(root)
    extra = sorted(set(parameters) - set(declared))
    if extra:
        known = f" (it has {', '.join(declared)})" if declared else ""
        raise InvalidParameters(
            f"parameter(s) provided are not required by pipeline: {', '.join(extra)}{known}"
        )
    missing = [name for name, d in declared.items() if name not in parameters and _is_required(d)]
    if missing:
        raise InvalidParameters(
            f"parameter {missing[0]} is not optional, yet has neither default value nor user provided value"
            + (f"; nor have {', '.join(missing[1:])}" if missing[1:] else "")
        )
    required = [name for name, definition in input_artifacts(root).items() if not is_optional(definition)]
    if required:
        raise InvalidParameters(
            f"artifact {required[0]} is an input of the pipeline, and a run cannot give artifacts"
        )
    return {name: _check(name, declared[name], value) for name, value in parameters.items()}


def with_defaults(package: Package, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked parameters, with defaults, and null for what is optional and has none (argo.go: Compile)."""
    declared = input_parameters(package.pipeline_spec.get("root", {}))
    return {
        name: parameters.get(name, definition.get("defaultValue")) for name, definition in declared.items()
    }


def _is_required(definition: Mapping[str, Any]) -> bool:
    return not is_optional(definition) and not has_default(definition)


def _check(name: str, definition: Mapping[str, Any], value: Any) -> Any:
    kind = parameter_type(definition)
    if kind is None:
        raise InvalidParameters(f"input parameter {name} has unspecified type")
    words = _WORDS.get(kind)
    if words is None:
        raise InvalidParameters(
            f"input parameter {name} requires type {kind}, which is invalid for root component"
        )
    if value is None and is_optional(definition):
        return None
    if not is_of(value, kind):
        if is_of(value, ParameterType.NUMBER_DOUBLE) and kind is ParameterType.NUMBER_INTEGER:
            raise InvalidParameters(f"input parameter {name} requires type integer, but its value is {value}")
        raise InvalidParameters(
            f"input parameter {name} requires type {words[0]}, but the parameter value is not of {words[1]} value type"
        )
    literals = definition.get("literals", ())
    if literals and not any(same_number_or_value(value, literal) for literal in literals):
        raise InvalidParameters(
            f'input parameter "{name}" value {value!r} does not match any of the allowed literal values: '
            + ", ".join(repr(literal) for literal in literals)
        )
    return int(value) if kind is ParameterType.NUMBER_INTEGER else value
