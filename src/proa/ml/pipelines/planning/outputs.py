"""Gather what a DAG gives from its tasks, and what a loop gives from its iterations, in their order.

A DAG's output with several selectors (OneOf) is that of the first task that ended well. A loop's parameters are lists,
nested where loops are; its artifacts one flat list. What no task gave is left out. Sources: GetProducerTask and
CollectInputs of backend/src/v2/driver/resolve.go (which flattens parameters too, other than its SDK's own tests and
local runner expect: List[List[int]]).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from proa.ml.pipelines.ir import components as ir
from proa.ml.pipelines.planning.node import Node
from proa.ml.pipelines.records import Artifact, TaskState, Values

Json = Mapping[str, Any]
_GOOD = frozenset({TaskState.SUCCEEDED, TaskState.CACHED})


def outputs_of(node: Node) -> Values:
    """Return the outputs of a scope whose children are over."""
    return (
        _loop_outputs(node) if node.plan.loop is not None and node.iteration is None else _dag_outputs(node)
    )


def _dag_outputs(node: Node) -> Values:
    declared = node.plan.component.get("dag", {}).get("outputs", {})
    parameters: dict[str, Any] = {}
    artifacts: dict[str, tuple[Artifact, ...]] = {}
    for name, source in declared.get("parameters", {}).items():
        selectors = source.get("valueFromOneof", {}).get("parameterSelectors") or [
            source.get("valueFromParameter", {})
        ]
        for given, key in _candidates(node, selectors, "outputParameterKey"):
            if key in given.parameters:
                parameters[name] = given.parameters[key]
                break
    for name, source in declared.get("artifacts", {}).items():
        for given, key in _candidates(node, source.get("artifactSelectors", ()), "outputArtifactKey"):
            if key in given.artifacts:
                artifacts[name] = given.artifacts[key]
                break
    return Values(parameters, artifacts)


def _candidates(node: Node, selectors: Iterable[Json], field: str) -> Iterable[tuple[Values, str]]:
    selectors = tuple(selectors)
    for selector in selectors:
        child = node.children.get(selector.get("producerSubtask", ""))
        if child is not None and (child.state in _GOOD or len(selectors) == 1):
            yield child.outputs, selector.get(field, "")


def _loop_outputs(node: Node) -> Values:
    component = node.plan.component
    if ir.is_dag(component):
        declared = component["dag"].get("outputs", {})
        names = declared.get("parameters", {}), declared.get("artifacts", {})
    else:
        names = ir.output_parameters(component), ir.output_artifacts(component)
    given = [node.children[index].outputs for index in range(len(node.items)) if index in node.children]
    return Values(
        {name: [one.parameters[name] for one in given if name in one.parameters] for name in names[0]},
        {name: tuple(item for one in given for item in one.artifacts.get(name, ())) for name in names[1]},
    )
