"""Check what components declare: names, types, defaults and literals of inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.ml.pipelines.ir.components import is_optional, parameter_type
from proa.ml.pipelines.ir.names import check_value_name
from proa.ml.pipelines.ir.problems import Problems
from proa.ml.pipelines.ir.value_types import is_of, word_of

Json = Mapping[str, Any]


def check_definitions(component: Json, path: str, problems: Problems) -> None:
    """Note what is wrong in inputDefinitions and outputDefinitions."""
    for part in ("inputDefinitions", "outputDefinitions"):
        definitions = component.get(part, {})
        parameters, artifacts = definitions.get("parameters", {}), definitions.get("artifacts", {})
        for name, definition in parameters.items():
            place = f"{path}.{part}.parameters[{name}]"
            check_value_name(name, place, problems)
            _check_parameter(definition, place, problems)
        for name, definition in artifacts.items():
            place = f"{path}.{part}.artifacts[{name}]"
            check_value_name(name, place, problems)
            if name in parameters:
                problems.add(place, "is a parameter's name as well")
            check_artifact_type(definition.get("artifactType", {}), f"{place}.artifactType", problems)
            check_properties(definition, place, problems)


def _check_parameter(definition: Json, path: str, problems: Problems) -> None:
    kind = parameter_type(definition)
    if kind is None:
        problems.add(f"{path}.parameterType", "has unspecified type")
        return
    literals = definition.get("literals", [])
    for index, literal in enumerate(literals):
        if not is_of(literal, kind):
            problems.add(f"{path}.literals[{index}]", f"{word_of(literal)} is not of type {kind}")
    default = definition.get("defaultValue")
    if default is None:
        if "defaultValue" in definition and not is_optional(definition):
            problems.add(f"{path}.defaultValue", "null is the default of optional parameters only")
    elif not is_of(default, kind):
        problems.add(f"{path}.defaultValue", f"{word_of(default)} is not of type {kind}")
    elif literals and default not in literals:
        problems.add(f"{path}.defaultValue", "does not match any of the allowed literal values")


def check_artifact_type(schema: Json, path: str, problems: Problems) -> None:
    """Note an ArtifactTypeSchema that names no type."""
    if "schemaUri" in schema:
        problems.add(f"{path}.schemaUri", "SchemaUri is unsupported: use schemaTitle or instanceSchema")
    elif not schema.get("schemaTitle") and not schema.get("instanceSchema"):
        problems.add(path, "has neither schemaTitle nor instanceSchema")


def check_properties(holder: Json, path: str, problems: Problems) -> None:
    """Note properties that ask for runtime parameters, which version 2.1.0 no longer has."""
    for part in ("properties", "customProperties"):
        for name, value in holder.get(part, {}).items():
            check_constant(value, f"{path}.{part}[{name}]", problems)


def check_constant(value: Json, path: str, problems: Problems) -> None:
    """Note a ValueOrRuntimeParameter that is no constant."""
    if "runtimeParameter" in value:
        problems.add(f"{path}.runtimeParameter", "runtime parameters are not supported: use constant")
    elif "constant" not in value and not value.get("constantValue"):
        problems.add(path, "has no constant")
