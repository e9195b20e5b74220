"""Check the outputs of DAGs: each is declared, and each selector leads to an output of a task of its."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.ml.pipelines.ir.components import (
    ParameterType,
    output_artifacts,
    output_parameters,
    parameter_type,
    tasks_of,
)
from proa.ml.pipelines.ir.problems import Problems
from proa.ml.pipelines.ir.tasks import find_loop
from proa.ml.pipelines.ir.value_types import can_become

Json = Mapping[str, Any]


def check_dag_outputs(spec: Json, component: Json, path: str, problems: Problems) -> None:
    """Note what is wrong with the outputs of a component that is a DAG; `path` is the component's."""
    outputs = component["dag"].get("outputs", {})
    artifacts, parameters = outputs.get("artifacts", {}), outputs.get("parameters", {})
    place = f"{path}.dag.outputs"
    for name, output in artifacts.items():
        selectors = output.get("artifactSelectors", ())
        if not selectors:
            problems.add(f"{place}.artifacts[{name}].artifactSelectors", "is empty")
        for index, selector in enumerate(selectors):
            where = f"{place}.artifacts[{name}].artifactSelectors[{index}]"
            _find_output(spec, component, selector, "artifact", where, problems)
    for name, output in parameters.items():
        _check_parameter(spec, component, name, output, f"{place}.parameters[{name}]", problems)
    for kind, declared, given in (
        ("artifacts", output_artifacts(component), artifacts),
        ("parameters", output_parameters(component), parameters),
    ):
        for name in declared.keys() - given.keys():
            problems.add(f"{place}.{kind}[{name}]", "is declared in outputDefinitions, and no task gives it")
        for name in given.keys() - declared.keys():
            problems.add(f"{place}.{kind}[{name}]", "is not declared in outputDefinitions")


def _check_parameter(
    spec: Json, component: Json, name: str, output: Json, path: str, problems: Problems
) -> None:
    if "valueFromParameter" in output:
        selectors = [(f"{path}.valueFromParameter", output["valueFromParameter"])]
    else:
        listed = output.get("valueFromOneof", {}).get("parameterSelectors", ())
        where = f"{path}.valueFromOneof.parameterSelectors"
        selectors = [(f"{where}[{index}]", selector) for index, selector in enumerate(listed)]
        if not selectors:
            problems.add(path, "has neither valueFromParameter nor valueFromOneof with selectors")
    wanted = parameter_type(output_parameters(component).get(name, {}))
    for place, selector in selectors:
        definition = _find_output(spec, component, selector, "parameter", place, problems)
        produced = parameter_type(definition) if definition is not None else None
        if wanted is None or produced is None or wanted is ParameterType.LIST:
            continue  # what is collected of a loop is declared a LIST by the DAGs inside it already
        if not can_become(produced, wanted):
            problems.add(place, f"type mismatch: {name} is declared {wanted}, got {produced}")


def _find_output(
    spec: Json, component: Json, selector: Json, kind: str, path: str, problems: Problems
) -> Json | None:
    """Return the definition of what a selector leads to; None where it leads nowhere, or through a loop."""
    name = selector.get("producerSubtask", "")
    task = tasks_of(component).get(name)
    if task is None:
        problems.add(f"{path}.producerSubtask", f'the DAG has no task "{name}"')
        return None
    field = "outputArtifactKey" if kind == "artifact" else "outputParameterKey"
    key = selector.get(field, "")
    producer = spec.get("components", {}).get(task.get("componentRef", {}).get("name", ""), {})
    outputs = output_artifacts(producer) if kind == "artifact" else output_parameters(producer)
    if key not in outputs:
        problems.add(f"{path}.{field}", f'task {name} has no output {kind} "{key}"')
        return None
    return outputs[key] if find_loop(task) is None else None
