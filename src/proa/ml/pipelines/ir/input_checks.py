"""Check where a task's inputs come from: another task, the DAG around it, a constant, or a task's final status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.ml.pipelines.ir.components import (
    ParameterType,
    constant_of,
    input_artifacts,
    input_parameters,
    is_artifact_list,
    is_dag,
    is_optional,
    output_artifacts,
    output_parameters,
    parameter_type,
)
from proa.ml.pipelines.ir.expressions import ExpressionError, check_selector
from proa.ml.pipelines.ir.problems import Problems
from proa.ml.pipelines.ir.tasks import find_loop, is_exit_task
from proa.ml.pipelines.ir.value_types import can_become, is_of, word_of
from proa.objects.quick_dataclass import dataclass

Json = Mapping[str, Any]
PARAMETER_SOURCES = ("taskOutputParameter", "runtimeValue", "componentInputParameter", "taskFinalStatus")


@dataclass(frozen=True, slots=True)
class Place:
    """A task of a DAG: where references of its inputs lead."""

    spec: Json
    dag: Json
    tasks: Json
    key: str
    task: Json
    component: Json
    path: str

    def find_producer(self, name: str, path: str, problems: Problems) -> Json | None:
        """Return the task beside this one that gives something; note where there is none."""
        producer: Json | None = self.tasks.get(name)
        if producer is None:
            problems.add(path, f'cannot find producer task "{name}"')
        elif name == self.key:
            problems.add(path, "a task cannot take its own output")
        return producer

    def component_of(self, task: Json) -> Json:
        """Return a task's component; {} where it is missing, which is told elsewhere."""
        found: Json = self.spec.get("components", {}).get(task.get("componentRef", {}).get("name", ""), {})
        return found


def check_parameter_input(
    place: Place, source: Json, definition: Json | None, path: str, problems: Problems
) -> None:
    """Note what is wrong with an InputParameterSpec; `definition` is the input that it is for."""
    wanted = parameter_type(definition) if definition is not None else None
    produced: ParameterType | None = None
    kind = next((field for field in PARAMETER_SOURCES if field in source), "")
    if not kind:
        problems.add(path, f"has none of {', '.join(PARAMETER_SOURCES)}")
    elif kind == "taskOutputParameter":
        produced = _check_task_output(place, source[kind], f"{path}.{kind}", problems)
    elif kind == "componentInputParameter":
        produced = _check_component_input(place, source[kind], definition, path, problems)
    elif kind == "taskFinalStatus":
        produced = ParameterType.TASK_FINAL_STATUS
        _check_final_status(place, source[kind], f"{path}.{kind}", problems)
    else:
        _check_constant(source, definition, wanted, path, problems)
    selector = source.get("parameterExpressionSelector")
    if selector:
        try:
            check_selector(selector)
        except ExpressionError as error:
            problems.add(f"{path}.parameterExpressionSelector", str(error))
    elif wanted is not None and produced is not None and not can_become(produced, wanted):
        problems.add(path, f"type mismatch: expect {wanted}, got {produced}")


def _check_task_output(place: Place, source: Json, path: str, problems: Problems) -> ParameterType | None:
    """Return the type of what a task gives, where it is sure.

    A loop gives lists of what its DAG declares, and a DAG within a loop declares a LIST of what is collected later.
    """
    producer = place.find_producer(source.get("producerTask", ""), f"{path}.producerTask", problems)
    if producer is None:
        return None
    key = source.get("outputParameterKey", "")
    definition = output_parameters(place.component_of(producer)).get(key)
    if definition is None:
        problems.add(
            f"{path}.outputParameterKey", f'task {source["producerTask"]} has no output parameter "{key}"'
        )
        return None
    kind = parameter_type(definition)
    is_collected = is_dag(place.component_of(producer)) and kind is ParameterType.LIST
    return None if is_collected or find_loop(producer) is not None else kind


def _check_component_input(
    place: Place, name: str, definition: Json | None, path: str, problems: Problems
) -> ParameterType | None:
    outer = input_parameters(place.dag).get(name)
    if outer is None:
        problems.add(f"{path}.componentInputParameter", f'parent DAG does not have input parameter "{name}"')
        return None
    return parameter_type(outer)


def _check_final_status(place: Place, source: Json, path: str, problems: Problems) -> None:
    place.find_producer(source.get("producerTask", ""), f"{path}.producerTask", problems)
    if not is_exit_task(place.task):
        problems.add(
            path, "only tasks with the strategy ALL_UPSTREAM_TASKS_COMPLETED have the status of another"
        )


def _check_constant(
    source: Json, definition: Json | None, wanted: ParameterType | None, path: str, problems: Problems
) -> None:
    value = source["runtimeValue"]
    if "runtimeParameter" in value:
        problems.add(
            f"{path}.runtimeValue.runtimeParameter", "runtime parameters are not supported: use constant"
        )
        return
    try:
        constant = constant_of(value)
    except (KeyError, StopIteration):
        problems.add(f"{path}.runtimeValue", "has no constant")
        return
    if wanted is None or definition is None or source.get("parameterExpressionSelector"):
        return
    if constant is None:
        if not is_optional(definition):
            problems.add(f"{path}.runtimeValue.constant", "got null for an input that is not optional")
    elif not is_of(constant, wanted) and wanted is not ParameterType.STRING:
        message = f"type mismatch: expect {wanted}, got {word_of(constant)}"
        problems.add(f"{path}.runtimeValue.constant", message)


def check_artifact_input(
    place: Place, source: Json, definition: Json | None, path: str, problems: Problems
) -> None:
    """Note what is wrong with an InputArtifactSpec."""
    produced: Json | None
    if "componentInputArtifact" in source:
        name = source["componentInputArtifact"]
        produced = input_artifacts(place.dag).get(name)
        if produced is None:
            problems.add(
                f"{path}.componentInputArtifact", f'parent DAG does not have input artifact "{name}"'
            )
    elif "taskOutputArtifact" in source:
        produced = _check_artifact_output(
            place, source["taskOutputArtifact"], f"{path}.taskOutputArtifact", problems
        )
    else:
        problems.add(path, "has neither taskOutputArtifact nor componentInputArtifact")
        return
    if produced is not None and definition is not None:
        is_one_of_items = (loop := find_loop(place.task)) is not None and loop.is_artifact
        if is_artifact_list(produced) and not is_artifact_list(definition) and not is_one_of_items:
            problems.add(path, "expect one artifact, got a list of them")


def _check_artifact_output(place: Place, source: Json, path: str, problems: Problems) -> Json | None:
    producer = place.find_producer(source.get("producerTask", ""), f"{path}.producerTask", problems)
    if producer is None:
        return None
    key = source.get("outputArtifactKey", "")
    definition = output_artifacts(place.component_of(producer)).get(key)
    if definition is None:
        problems.add(
            f"{path}.outputArtifactKey",
            f'cannot find output artifact key "{key}" in producer task "{source["producerTask"]}"',
        )
        return None
    return definition if find_loop(producer) is None else None
