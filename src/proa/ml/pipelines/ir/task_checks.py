"""Check the tasks of a DAG: what they refer to, whether all their inputs are given, when and how often they run.

Inputs that the component does not declare are fine, as upstream's: placeholders in other inputs speak of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from proa.ml.pipelines.ir.components import (
    ParameterType,
    has_default,
    input_artifacts,
    input_parameters,
    is_optional,
    tasks_of,
)
from proa.ml.pipelines.ir.expressions import ExpressionError, check_condition
from proa.ml.pipelines.ir.graph import find_cycle
from proa.ml.pipelines.ir.input_checks import Place, check_artifact_input, check_parameter_input
from proa.ml.pipelines.ir.names import check_task_key
from proa.ml.pipelines.ir.problems import Problems
from proa.ml.pipelines.ir.tasks import (
    artifact_inputs,
    condition_of,
    dependencies,
    find_loop,
    is_exit_task,
    parameter_inputs,
    parse_duration,
)

Json = Mapping[str, Any]
MAX_RETRIES = 10_000
MAX_BACKOFF_SECONDS = 30 * 24 * 3600


def check_tasks(spec: Json, dag: Json, path: str, problems: Problems) -> None:
    """Note what is wrong with the tasks of the component `dag`."""
    tasks = tasks_of(dag)
    for key, task in tasks.items():
        place = f"{path}.tasks[{key}]"
        check_task_key(key, place, problems)
        component = _find_component(spec, task, place, problems)
        _check_dependencies(key, task, tasks, place, problems)
        _check_policies(task, place, problems)
        if component is not None:
            _check_inputs(Place(spec, dag, tasks, key, task, component, place), problems)
            _check_loop(task, component, place, problems)
            _check_condition(task, component, place, problems)
    if tasks and all(is_exit_task(task) for task in tasks.values()):
        problems.add(f"{path}.tasks", "a DAG must contain one or more non-exit tasks")
    cycle = find_cycle({key: sorted(dependencies(task)) for key, task in tasks.items()})
    if cycle:
        problems.add(f"{path}.tasks[{cycle[0]}]", f"tasks wait for one another: {' -> '.join(cycle)}")


def _find_component(spec: Json, task: Json, path: str, problems: Problems) -> Json | None:
    name = task.get("componentRef", {}).get("name", "")
    found: Json | None = spec.get("components", {}).get(name)
    if not name:
        problems.add(f"{path}.componentRef.name", "component ref name is empty")
    elif found is None:
        problems.add(f"{path}.componentRef.name", f'cannot find component ref name="{name}"')
    return found


def _check_dependencies(key: str, task: Json, tasks: Json, path: str, problems: Problems) -> None:
    for index, name in enumerate(task.get("dependentTasks", ())):
        if name not in tasks:
            problems.add(f"{path}.dependentTasks[{index}]", f'there is no task "{name}" beside it')
        elif name == key:
            problems.add(f"{path}.dependentTasks[{index}]", "a task cannot wait for itself")


def _check_policies(task: Json, path: str, problems: Problems) -> None:
    retry = task.get("retryPolicy", {})
    if not 0 <= retry.get("maxRetryCount", 0) <= MAX_RETRIES:
        problems.add(f"{path}.retryPolicy.maxRetryCount", f"must be between 0 and {MAX_RETRIES}")
    if not 0 <= retry.get("backoffFactor", 0) <= 1000:
        problems.add(f"{path}.retryPolicy.backoffFactor", "must be between 0 and 1000")
    for field in ("backoffDuration", "backoffMaxDuration"):
        if not 0 <= parse_duration(retry.get(field, "0s")) <= MAX_BACKOFF_SECONDS:
            problems.add(f"{path}.retryPolicy.{field}", f"must be between 0s and {MAX_BACKOFF_SECONDS}s")
    if task.get("iteratorPolicy", {}).get("parallelismLimit", 0) < 0:
        problems.add(f"{path}.iteratorPolicy.parallelismLimit", "must not be negative")


def _check_inputs(place: Place, problems: Problems) -> None:
    declared = input_parameters(place.component), input_artifacts(place.component)
    given = parameter_inputs(place.task), artifact_inputs(place.task)
    loop = find_loop(place.task)
    items = {loop.item_input, loop.items_input} if loop else set()
    for kind, check in (("parameters", check_parameter_input), ("artifacts", check_artifact_input)):
        definitions, sources = (declared[0], given[0]) if kind == "parameters" else (declared[1], given[1])
        for name, source in sources.items():
            path = f"{place.path}.inputs.{kind}[{name}]"
            check(place, source, definitions.get(name), path, problems)
        for name, definition in definitions.items():
            if name not in sources and name not in items and _is_required(definition):
                problems.add(
                    f"{place.path}.inputs.{kind}[{name}]", "is required: it has no value and no default"
                )


def _is_required(definition: Json) -> bool:
    if definition.get("parameterType") == ParameterType.TASK_CONFIG:
        return False
    return not is_optional(definition) and not has_default(definition)


def _check_loop(task: Json, component: Json, path: str, problems: Problems) -> None:
    loop = find_loop(task)
    if loop is None:
        return
    field = "artifactIterator" if loop.is_artifact else "parameterIterator"
    declared = input_artifacts(component) if loop.is_artifact else input_parameters(component)
    given = artifact_inputs(task) if loop.is_artifact else parameter_inputs(task)
    if not loop.item_input:
        problems.add(f"{path}.{field}.itemInput", "is empty")
    elif loop.item_input not in declared:
        problems.add(f"{path}.{field}.itemInput", f"the component has no input {loop.item_input}")
    source = "inputArtifact" if loop.is_artifact else "inputParameter"
    if loop.items_input:
        if loop.items_input not in given:
            problems.add(f"{path}.{field}.items.{source}", f"the task has no input {loop.items_input}")
    elif not loop.raw:
        problems.add(
            f"{path}.{field}.items",
            f"has neither raw nor {source}" if source[5] == "P" else f"has no {source}",
        )
    else:
        _check_raw(loop.raw, f"{path}.{field}.items.raw", problems)


def _check_raw(raw: str, path: str, problems: Problems) -> None:
    try:
        items = json.loads(raw)
    except (ValueError, RecursionError) as error:
        problems.add(path, f"is no JSON: {error}")
        return
    if not isinstance(items, list):
        problems.add(path, "is no list")


def _check_condition(task: Json, component: Json, path: str, problems: Problems) -> None:
    text = condition_of(task)
    if not text:
        return
    try:
        names = check_condition(text)
    except ExpressionError as error:
        problems.add(f"{path}.triggerPolicy.condition", str(error))
        return
    unknown = sorted(names - set(parameter_inputs(task)) - set(input_parameters(component)))
    if unknown:
        problems.add(
            f"{path}.triggerPolicy.condition", f"the task has no input parameter {', '.join(unknown)}"
        )
