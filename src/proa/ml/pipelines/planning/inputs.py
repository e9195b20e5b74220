"""Find the inputs of a task: from the DAG around it, from the tasks beside it, from the document, or by default.

Source: resolveInputs of backend/src/v2/driver/resolve.go. Beyond it, an input whose upstream task gave nothing has its
default (a task that ignores failures upstream), and the constants of DAGs are filled with their own inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from proa.ml.pipelines.ir import components as ir
from proa.ml.pipelines.ir.components import ParameterType
from proa.ml.pipelines.ir.expressions import ExpressionError, evaluate_condition, select
from proa.ml.pipelines.ir.tasks import artifact_inputs, parameter_inputs
from proa.ml.pipelines.planning.constants import fill
from proa.ml.pipelines.planning.conversion import InputError, convert
from proa.ml.pipelines.planning.final_status import make_final_status
from proa.ml.pipelines.planning.node import Node
from proa.ml.pipelines.records import NO_VALUES, Artifact, Run, TaskKind, Values

_MISSING: Any = object()
Json = Mapping[str, Any]


def root_inputs(run: Run, component: Json) -> Values:
    """Return a run's parameters with their defaults; null for what is optional and has none."""
    declared = ir.input_parameters(component)
    values = {name: definition.get("defaultValue") for name, definition in declared.items()} | dict(
        run.parameters
    )
    return Values(
        {name: _convert_root(name, value, declared.get(name, {})) for name, value in values.items()}
    )


def resolve_inputs(node: Node, run: Run) -> Values:
    """Return the inputs of a task of a DAG, of their declared types; raise InputError. A loop has no item yet."""
    plan = node.plan
    declared = ir.input_parameters(plan.component)
    sources = parameter_inputs(plan.spec)
    found: dict[str, Any] = {}
    for name, source in sources.items():
        if ir.parameter_type(declared.get(name, {})) is ParameterType.TASK_CONFIG:
            continue  # only who makes the pod knows it
        value = _find_parameter(node, source, run)
        selector = source.get("parameterExpressionSelector")
        if value is not _MISSING:
            found[name] = _select(name, selector, value) if selector else value
    if node.kind is not TaskKind.CONTAINER:
        _fill_constants(node, sources, found, run)
    item = plan.loop.item_input if plan.loop is not None else None
    for name, definition in declared.items():
        if name != item:
            _complete(node, name, definition, found)
    return Values(found, _find_artifacts(node))


def iteration_inputs(node: Node, item: Any) -> Values:
    """Return the inputs of one iteration: the loop's, with the item instead of the items; raise InputError."""
    loop, around = node.plan.loop, node.parent
    if loop is None or around is None:
        return NO_VALUES
    parameters, artifacts = dict(around.inputs.parameters), dict(around.inputs.artifacts)
    if loop.is_artifact:
        if loop.items_input != loop.item_input:
            artifacts.pop(loop.items_input, None)
        artifacts[loop.item_input] = (item,)
    else:
        parameters.pop(loop.items_input, None)
        definition = ir.input_parameters(node.plan.component).get(loop.item_input, {})
        parameters[loop.item_input] = convert(loop.item_input, item, definition)
    return Values(parameters, artifacts)


def items_of(node: Node) -> list[Any]:
    """Return what a loop with its inputs loops over; raise InputError."""
    loop = node.plan.loop
    if loop is None:
        return []
    if loop.is_artifact:
        return list(node.inputs.artifacts.get(loop.items_input, ()))
    items = loop.raw_items() if loop.raw else node.inputs.parameters.get(loop.items_input)
    if isinstance(items, str):
        try:
            items = orjson.loads(items)
        except orjson.JSONDecodeError:
            raise InputError(
                f'it loops over input "{loop.items_input}", which is neither a list nor the JSON of one'
            ) from None
    if not isinstance(items, list | tuple):
        raise InputError(
            f'it loops over input "{loop.items_input}", which is no list: it has no value, or another type'
        )
    return list(items)


def holds(condition: str, inputs: Values) -> bool:
    """Say whether a task runs; raise InputError for a condition that cannot be worked out."""
    artifacts = {
        name: [_runtime_artifact(item) for item in items] for name, items in inputs.artifacts.items()
    }
    try:
        return evaluate_condition(condition, inputs.parameters, artifacts)
    except ExpressionError as error:
        raise InputError(f"its condition cannot be worked out: {error}") from None


def _convert_root(name: str, value: Any, definition: Json) -> Any:
    return None if value is None else convert(name, value, definition)


def _find_parameter(node: Node, source: Json, run: Run) -> Any:
    """Return what an InputParameterSpec stands for, `_MISSING` for nothing; null is nothing as well."""
    if "runtimeValue" in source:
        return ir.constant_of(source["runtimeValue"])
    if "componentInputParameter" in source:
        value = _find_in_scope(node.parent, source["componentInputParameter"])
    elif "taskOutputParameter" in source:
        output = source["taskOutputParameter"]
        producer = _sibling(node, output["producerTask"])
        value = producer.outputs.parameters.get(output["outputParameterKey"]) if producer else None
    elif "taskFinalStatus" in source:
        value = make_final_status(_sibling(node, source["taskFinalStatus"].get("producerTask", "")), run)
    else:
        value = None
    return _MISSING if value is None else value


def _find_in_scope(scope: Node | None, name: str) -> Any:
    if scope is None:
        return None
    value = scope.inputs.parameters.get(name)
    if value is None and scope.kind is TaskKind.ITERATION and scope.parent is not None:
        return scope.parent.inputs.parameters.get(name)  # the items themselves
    return value


def _sibling(node: Node, key: str) -> Node | None:
    return node.parent.children.get(key) if node.parent is not None else None


def _select(name: str, selector: str, value: Any) -> Any:
    try:
        return select(selector, value)
    except ExpressionError as error:
        raise InputError(
            f'resolving parameter "{name}": evaluation of parameter expression selector "{selector}" failed: {error}'
        ) from None


def _fill_constants(node: Node, sources: Mapping[str, Json], found: dict[str, Any], run: Run) -> None:
    given = dict(found)
    for name, source in sources.items():
        if "runtimeValue" in source and name in found:
            found[name] = fill(found[name], given, run, node.path)


def _complete(node: Node, name: str, definition: Json, found: dict[str, Any]) -> None:
    """Give an input its type, or its default; an optional one may stay away."""
    if name in found:
        found[name] = convert(name, found[name], definition)
    elif definition.get("defaultValue") is not None:
        found[name] = definition["defaultValue"]
    elif not (
        ir.is_optional(definition)
        or ir.has_default(definition)
        or ir.parameter_type(definition) is ParameterType.TASK_CONFIG
    ):
        raise InputError(
            f'{_why_missing(node, name)}neither value nor default value provided for parameter "{name}"'
        )


def _why_missing(node: Node, name: str) -> str:
    source = parameter_inputs(node.plan.spec).get(name, {})
    if "taskOutputParameter" in source:
        output = source["taskOutputParameter"]
        return f"task '{output['producerTask']}' gave no output '{output['outputParameterKey']}', so that there is "
    if "componentInputParameter" in source:
        return f"the pipeline's input '{source['componentInputParameter']}' was left out, so that there is "
    return ""


def _find_artifacts(node: Node) -> dict[str, tuple[Artifact, ...]]:
    declared = ir.input_artifacts(node.plan.component)
    found: dict[str, tuple[Artifact, ...]] = {}
    for name, source in artifact_inputs(node.plan.spec).items():
        items = _find_artifact(node, source)
        if items is not None:
            found[name] = items
        elif not ir.is_optional(declared.get(name, {})):
            raise InputError(f'input artifact "{name}" is not there: {_origin(source)}')
    return found


def _find_artifact(node: Node, source: Json) -> tuple[Artifact, ...] | None:
    if "taskOutputArtifact" in source:
        output = source["taskOutputArtifact"]
        producer = _sibling(node, output["producerTask"])
        return producer.outputs.artifacts.get(output["outputArtifactKey"]) if producer else None
    name, scope = source.get("componentInputArtifact", ""), node.parent
    items = scope.inputs.artifacts.get(name) if scope is not None else None
    if items is None and scope is not None and scope.kind is TaskKind.ITERATION and scope.parent is not None:
        return scope.parent.inputs.artifacts.get(name)
    return items


def _origin(source: Json) -> str:
    if "taskOutputArtifact" in source:
        output = source["taskOutputArtifact"]
        return f"task '{output['producerTask']}' gave no artifact '{output['outputArtifactKey']}'"
    return f"the pipeline has no artifact '{source.get('componentInputArtifact', '')}'"


def _runtime_artifact(artifact: Artifact) -> dict[str, Any]:
    kind = (
        {"instance_schema": artifact.type_schema}
        if artifact.type_schema
        else {"schema_title": artifact.type_title}
    )
    return {"name": artifact.name, "uri": artifact.uri, "type": kind, "metadata": dict(artifact.metadata)}
