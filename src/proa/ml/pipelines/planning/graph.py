"""What never changes while a run goes on: each DAG's tasks, who waits for whom, and what carries a task out.

Compiled from the PipelineSpec once a component, when the first task of it begins. Sources: addImplicitDependencies of
backend/src/v2/compiler/argocompiler/dag.go, api/v2alpha1/pipeline_spec.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proa.ml.pipelines.ir import components as ir
from proa.ml.pipelines.ir import tasks as ir_tasks
from proa.ml.pipelines.ir.platform import executor_config, is_create_pvc, is_delete_pvc
from proa.ml.pipelines.ir.tasks import Loop, RetryPolicy
from proa.ml.pipelines.records import Run, TaskKind
from proa.objects.quick_dataclass import dataclass

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """A task as the document has it. `kind` is what one instance of it is: of a loop, one iteration."""

    key: str
    title: str
    spec: Json
    component_name: str
    component: Json
    executor: Json
    platform: Json
    kind: TaskKind
    dependencies: frozenset[str]
    dependents: tuple[str, ...]
    platform_producers: frozenset[str]
    """Siblings whose outputs the platform document refers to."""
    condition: str
    is_exit_task: bool
    reads_final_status: bool
    loop: Loop | None
    parallelism: int
    """How many iterations may run at once; 0 for all."""
    retry: RetryPolicy


Dag = Mapping[str, TaskPlan]


class Graph:
    """The DAGs of one run's documents, by component."""

    def __init__(self, run: Run) -> None:
        self._spec = run.pipeline_spec
        self._platform = run.platform_spec
        self._dags: dict[str, Dag] = {}
        self.root = self._make_root()

    def tasks_of(self, plan: TaskPlan) -> Dag:
        """Return the tasks of a DAG by key, in the order of their keys; {} for what has none."""
        found = self._dags.get(plan.component_name)
        if found is None:
            found = self._dags[plan.component_name] = self._compile(ir.tasks_of(plan.component))
        return found

    def _make_root(self) -> TaskPlan:
        component = ir.find_component(self._spec, ir.ROOT) or {}
        return self._make_plan(ir.ROOT, {}, "", component, frozenset(), ())

    def _compile(self, tasks: Mapping[str, Json]) -> Dag:
        platforms = {key: self._platform_of(task) for key, task in tasks.items()}
        needs = {
            key: frozenset(
                needed
                for needed in (*ir_tasks.dependencies(task), *_platform_producers(platforms[key]))
                if needed in tasks and needed != key
            )
            for key, task in tasks.items()
        }
        dependents: dict[str, list[str]] = {key: [] for key in tasks}
        for key in sorted(tasks):
            for needed in needs[key]:
                dependents[needed].append(key)
        return {
            key: self._make_plan(
                key,
                tasks[key],
                tasks[key]["componentRef"]["name"],
                ir.component_of(self._spec, tasks[key]),
                needs[key],
                tuple(dependents[key]),
            )
            for key in sorted(tasks)
        }

    def _platform_of(self, task: Json) -> Json:
        component = ir.component_of(self._spec, task)
        return executor_config(self._platform, component.get("executorLabel", ""))

    def _make_plan(
        self,
        key: str,
        spec: Json,
        name: str,
        component: Json,
        needs: frozenset[str],
        dependents: tuple[str, ...],
    ) -> TaskPlan:
        executor = ir.executor_of(self._spec, component)
        platform = executor_config(self._platform, component.get("executorLabel", "")) if executor else {}
        sources = ir_tasks.parameter_inputs(spec).values()
        return TaskPlan(
            key=key,
            title=ir_tasks.task_title(spec, key),
            spec=spec,
            component_name=name,
            component=component,
            executor=executor,
            platform=platform,
            kind=_kind_of(component, executor),
            dependencies=needs,
            dependents=dependents,
            platform_producers=frozenset(_platform_producers(platform)),
            condition=ir_tasks.condition_of(spec),
            is_exit_task=ir_tasks.is_exit_task(spec),
            reads_final_status=any("taskFinalStatus" in source for source in sources),
            loop=ir_tasks.find_loop(spec),
            parallelism=max(0, ir_tasks.parallelism_limit(spec)),
            retry=ir_tasks.retry_policy(spec) or RetryPolicy(),
        )


def _kind_of(component: Json, executor: Json) -> TaskKind:
    if ir.is_dag(component):
        return TaskKind.DAG
    if "importer" in executor:
        return TaskKind.IMPORTER
    if is_create_pvc(executor):
        return TaskKind.CREATE_PVC
    return TaskKind.DELETE_PVC if is_delete_pvc(executor) else TaskKind.CONTAINER


def _platform_producers(config: Any) -> Iterator[str]:
    """Yield the tasks that taskOutputParameter refers to, wherever in the platform's part it stands."""
    waiting = [config]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            source = one.get("taskOutputParameter")
            if isinstance(source, Mapping) and source.get("producerTask"):
                yield str(source["producerTask"])
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
