"""Pipelines in few words, and a run of one: a planner whose actions are taken down, and events that are said to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from proa.ml.pipelines.planning.messages import (
    Action,
    BackoffOver,
    Event,
    Failed,
    Finish,
    Launch,
    Record,
    Stop,
    Stopped,
    Succeeded,
    Terminate,
    Wait,
)
from proa.ml.pipelines.planning.planner import Planner
from proa.ml.pipelines.records import Artifact, Run, RunState, Task, TaskState, Values

Json = dict[str, Any]
_TYPES = {
    str: "STRING",
    int: "NUMBER_INTEGER",
    float: "NUMBER_DOUBLE",
    bool: "BOOLEAN",
    list: "LIST",
    dict: "STRUCT",
}


def declare(**types: Any) -> Json:
    """Return parameter definitions: a type, or a whole definition."""
    return {name: t if isinstance(t, dict) else {"parameterType": _TYPES[t]} for name, t in types.items()}


def optional(kind: type, default: Any = None) -> Json:
    """Return the definition of an input that may be left out."""
    definition: Json = {"parameterType": _TYPES[kind], "isOptional": True}
    return definition if default is None else definition | {"defaultValue": default}


def step(
    inputs: Json | None = None,
    outputs: Json | None = None,
    artifacts_in: Iterable[str] = (),
    artifacts_out: Iterable[str] = (),
    image: str = "python",
) -> Json:
    """Return a component that a container carries out; `_executor` is moved to where it belongs by `pipeline`."""
    return {
        "inputDefinitions": {"parameters": inputs or {}, "artifacts": {n: {} for n in artifacts_in}},
        "outputDefinitions": {"parameters": outputs or {}, "artifacts": {n: {} for n in artifacts_out}},
        "_executor": {"container": {"image": image}},
    }


def dag(
    tasks: Json, inputs: Json | None = None, outputs: Json | None = None, artifacts: Json | None = None
) -> Json:
    """Return a component of tasks. `outputs` and `artifacts`: name -> "task.key", or a list of them (OneOf)."""
    parameters = {name: _parameter_output(source) for name, source in (outputs or {}).items()}
    made = {
        name: {"artifactSelectors": _selectors(source, "Artifact")}
        for name, source in (artifacts or {}).items()
    }
    return {
        "inputDefinitions": {"parameters": inputs or {}},
        "dag": {"tasks": tasks, "outputs": {"parameters": parameters, "artifacts": made}},
    }


def task(
    component: str, *, after: Iterable[str] = (), when: str = "", always: bool = False, **fields: Any
) -> Json:
    """Return a task; `inputs` are InputParameterSpecs, `artifacts` InputArtifactSpecs."""
    policy: Json = {"condition": when} if when else {}
    if always:
        policy["strategy"] = "ALL_UPSTREAM_TASKS_COMPLETED"
    inputs, artifacts = fields.pop("inputs", {}), fields.pop("artifacts", {})
    return {
        "componentRef": {"name": component},
        "dependentTasks": list(after),
        "triggerPolicy": policy,
        "inputs": {"parameters": inputs, "artifacts": artifacts},
        **fields,
    }


def const(value: Any) -> Json:
    """Return an input with a constant."""
    return {"runtimeValue": {"constant": value}}


def outer(name: str) -> Json:
    """Return an input of the DAG around."""
    return {"componentInputParameter": name}


def out(source: str) -> Json:
    """Return an input that is a task's output: "task.key"."""
    producer, key = source.split(".")
    return {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": key}}


def made(source: str) -> Json:
    """Return an input artifact that is a task's output: "task.key"."""
    producer, key = source.split(".")
    return {"taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": key}}


def loop(item: str, items: str | list[Any], limit: int = 0) -> Json:
    """Return the fields of a task that loops: over an input, or over what stands here."""
    import json

    source = {"inputParameter": items} if isinstance(items, str) else {"raw": json.dumps(items)}
    return {
        "parameterIterator": {"itemInput": item, "items": source},
        "iteratorPolicy": {"parallelismLimit": limit},
    }


def retries(count: int, backoff: str = "0s", factor: float = 2.0, longest: str = "3600s") -> Json:
    """Return the fields of a task that is tried again."""
    policy = {"maxRetryCount": count, "backoffDuration": backoff, "backoffFactor": factor}
    return {"retryPolicy": policy | {"backoffMaxDuration": longest}}


def pipeline(root: Json, **components: Json) -> Json:
    """Return a PipelineSpec; underscores in components' names stay."""
    executors: Json = {}
    for name, component in components.items():
        if "_executor" in component:
            executors[f"exec-{name}"] = component["_executor"]
            components[name] = {k: v for k, v in component.items() if k != "_executor"}
            components[name]["executorLabel"] = f"exec-{name}"
    return {
        "pipelineInfo": {"name": "p"},
        "components": components,
        "deploymentSpec": {"executors": executors},
        "root": root,
    }


def _parameter_output(source: str | list[str]) -> Json:
    selectors = _selectors(source, "Parameter")
    return (
        {"valueFromParameter": selectors[0]}
        if isinstance(source, str)
        else {"valueFromOneof": {"parameterSelectors": selectors}}
    )


def _selectors(source: str | list[str], kind: str) -> list[Json]:
    pairs = [one.split(".") for one in ([source] if isinstance(source, str) else source)]
    return [{"producerSubtask": producer, f"output{kind}Key": key} for producer, key in pairs]


def make_artifact(name: str) -> Artifact:
    """Return an artifact that is told from others by its name."""
    return Artifact(id=name, name=name, uri=f"minio://b/{name}")


class PlannedRun:
    """One run. Attempts that are under way are in `open`; what was ever launched is in `launched`, in order."""

    def __init__(
        self, spec: Json, parameters: Mapping[str, Any] | None = None, platform: Json | None = None
    ) -> None:
        self.clock = 1000.0
        self.run = Run(
            id="5d9d2f5b-0000-4000-8000-000000000000",
            name="p-abc",
            namespace="kubeflow",
            display_name="my run",
            state=RunState.RUNNING,
            created_at=1000.0,
            pipeline_spec=spec,
            platform_spec=platform or {},
            parameters=parameters or {},
        )
        self.records: dict[str, Task] = {}
        self.open: dict[str, Launch] = {}
        self.waits: dict[str, Wait] = {}
        self.stops: dict[str, Stop] = {}
        self.launched: list[tuple[str, int]] = []
        self.finish: Finish | None = None
        self.planner = Planner(self.run, lambda: self.clock)

    def start(self) -> PlannedRun:
        """Begin, and return this."""
        return self.take(self.planner.start())

    def say(self, event: Event) -> PlannedRun:
        """Handle an event."""
        return self.take(self.planner.handle(event))

    def take(self, actions: Iterable[Action]) -> PlannedRun:
        """Take actions down."""
        for action in actions:
            match action:
                case Record():
                    self.records[action.task.path] = action.task
                case Launch():
                    self.launched.append((action.path, action.attempt))
                    self.open[action.path] = action
                case Wait():
                    self.waits[action.path] = action
                case Stop():
                    self.stops[action.path] = action
                case Finish():
                    self.finish = action
        return self

    def succeed(self, path: str, artifacts: Mapping[str, Any] | None = None, **outputs: Any) -> PlannedRun:
        """Have the attempt of `path` end well."""
        launch = self.open.pop(path)
        values = Values(outputs, {name: (artifact,) for name, artifact in (artifacts or {}).items()})
        return self.say(Succeeded(path, launch.attempt, values))

    def fail(self, path: str, message: str = "boom", can_retry: bool = True) -> PlannedRun:
        """Have the attempt of `path` fail."""
        launch = self.open.pop(path)
        return self.say(Failed(path, launch.attempt, message, can_retry))

    def pass_back_off(self, path: str) -> PlannedRun:
        """Say that the time for the next attempt has come."""
        wait = self.waits.pop(path)
        self.clock += wait.seconds
        return self.say(BackoffOver(path, wait.attempt))

    def stopped(self, path: str) -> PlannedRun:
        """Say that an attempt whose end was asked for has ended."""
        stop = self.stops.pop(path)
        self.open.pop(path, None)
        return self.say(Stopped(path, stop.attempt))

    def terminate(self, state: RunState = RunState.CANCELED, message: str = "asked for") -> PlannedRun:
        """Ask for the run's end."""
        return self.say(Terminate(state, message))

    def crash(self, records: Iterable[Task] | None = None) -> PlannedRun:
        """Forget everything but the records, and make another planner of them."""
        tasks = list(self.records.values() if records is None else records)
        self.open, self.waits, self.stops = {}, {}, {}
        self.planner = Planner(self.run, lambda: self.clock, tasks)
        return self

    def retry(self) -> PlannedRun:
        """Ask for :retry of a run that is over."""
        self.crash()
        self.finish = None
        return self.take(self.planner.retry())

    def states(self) -> dict[str, str]:
        """Return the tasks' states by path, without the root's."""
        return {path: task.state.value for path, task in sorted(self.records.items()) if path}

    def state(self, path: str) -> TaskState:
        """Return the recorded state of a task."""
        return self.records[path].state

    @property
    def result(self) -> str:
        """Return the state that the run ended in; "" while it goes on."""
        return self.finish.state.value if self.finish is not None else ""
