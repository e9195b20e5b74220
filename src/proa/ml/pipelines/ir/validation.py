"""Say whether a pipeline can run, before it does: references, types, circles, expressions, and what is not supported.

`check` looks at what document.py has read; everything that is wrong is told at once, with its place. What is valid and
cannot run is refused by name (docs/compatibility.md). Follows upstream's checks at upload
(template/v2_template.go), at compilation (v2/compiler) and in the driver (v2/driver/resolve.go), which upstream makes
only once the run is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.ml.pipelines.ir.component_checks import check_definitions
from proa.ml.pipelines.ir.components import executors, find_component, is_dag, pipeline_name, tasks_of
from proa.ml.pipelines.ir.document import Package
from proa.ml.pipelines.ir.executor_checks import check_executor
from proa.ml.pipelines.ir.graph import count_expanded, find_cycle
from proa.ml.pipelines.ir.kubernetes_checks import check_platform
from proa.ml.pipelines.ir.names import check_pipeline_name, check_value_name
from proa.ml.pipelines.ir.output_checks import check_dag_outputs
from proa.ml.pipelines.ir.problems import Problems
from proa.ml.pipelines.ir.task_checks import check_tasks

SCHEMA_VERSION = "2.1.0"
MAX_TASKS = 50_000
"""Of a pipeline with all nested ones written out; iterations of loops come on top."""
MAX_DEPTH = 50

Json = Mapping[str, Any]


def check(package: Package) -> None:
    """Raise InvalidPipeline with all that is wrong."""
    spec, problems = package.pipeline_spec, Problems()
    _check_header(spec, problems)
    problems.raise_any()
    for label, executor in executors(spec).items():
        check_executor(executor, f"deploymentSpec.executors[{label}]", problems)
    for path, component in components_of(spec):
        _check_component(spec, path, component, problems)
    problems.raise_any()
    _check_expansion(spec, problems)
    check_platform(package, problems)
    problems.raise_any()


def components_of(spec: Json) -> list[tuple[str, Json]]:
    """Return all components with their places."""
    found = [(f"components[{name}]", component) for name, component in spec.get("components", {}).items()]
    return [*found, ("root", spec.get("root", {}))]


def _check_header(spec: Json, problems: Problems) -> None:
    version = spec.get("schemaVersion", "")
    if version != SCHEMA_VERSION:
        got = f"but the pipeline spec has version {version or '(none)'}"
        problems.add("schemaVersion", f"KFP only supports schema version {SCHEMA_VERSION}, {got}")
    check_pipeline_name(pipeline_name(spec), "pipelineInfo.name", problems)
    if not spec.get("root"):
        problems.add("root", "root component is empty")
    elif not is_dag(spec["root"]):
        problems.add("root", "the root must be a dag")


def _check_component(spec: Json, path: str, component: Json, problems: Problems) -> None:
    check_definitions(component, path, problems)
    if component.get("singlePlatformSpecs"):
        problems.add(
            f"{path}.singlePlatformSpecs",
            "platform specs of components are not supported: compile the pipeline",
        )
    if is_dag(component):
        if not tasks_of(component):
            problems.add(f"{path}.dag.tasks", "a DAG must contain one or more tasks")
        check_tasks(spec, component, f"{path}.dag", problems)
        check_dag_outputs(spec, component, path, problems)
        return
    label = component.get("executorLabel")
    if not label:
        problems.add(path, "unknown component implementation: neither dag nor executorLabel")
    elif label not in executors(spec):
        problems.add(f"{path}.executorLabel", f'executor(label="{label}") not found in deployment config')
    for name in spec.get("components", {}):
        if path == f"components[{name}]":
            check_value_name(name, path, problems)


def _check_expansion(spec: Json, problems: Problems) -> None:
    """Note components that hold themselves, and pipelines that written out are too big."""
    edges = {
        name: [task["componentRef"]["name"] for task in tasks_of(find_component(spec, name) or {}).values()]
        for name in spec.get("components", {})
    }
    cycle = find_cycle(edges)
    if cycle:
        problems.add(f"components[{cycle[0]}]", f"components hold themselves: {' -> '.join(cycle)}")
        problems.raise_any()
    edges[""] = [task["componentRef"]["name"] for task in tasks_of(spec["root"]).values()]
    count, depth = count_expanded(edges, "")
    if count > MAX_TASKS:
        problems.add("root", f"{count} tasks with all nested pipelines written out; at most {MAX_TASKS}")
    if depth > MAX_DEPTH:
        problems.add("root", f"pipelines are nested {depth} deep; at most {MAX_DEPTH}")
