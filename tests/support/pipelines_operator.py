"""A world for the pipelines' operator: a cluster in memory whose node "runs" steps, artifacts in memory, a database.

Steps are words: `add A B FILE` writes a sum, `write N URI` makes an artifact, `fail` fails, `wait` runs until it is
stopped. `Crash` ends an operator at any of its calls, before or after what the call does.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from proa.client.fake import FakeClient
from proa.ml.pipelines.artifacts.protocol import Placement, Stat
from proa.ml.pipelines.database.database import Database, open_database
from proa.ml.pipelines.operator.operator import Operator
from proa.ml.pipelines.operator.resources import ATTEMPT, TASK_PATH
from proa.ml.pipelines.operator.settings import OperatorSettings
from proa.ml.pipelines.records import FINAL_RUN_STATES, Artifact, Run, RunState, Task
from proa.ml.pipelines.run_objects import FINALIZER, RUNS, make_object
from proa.objects import meta, pods
from proa.objects.errors import AlreadyExists, Conflict, NotFound, ServiceUnavailable
from proa.objects.resource import EVENTS, PODS

T = TypeVar("T")
NAMESPACE = "default"
ROOT = "test.proa.dev/task-root"
PATIENCE_SECONDS = 60.0


class Crash:
    """Counts calls; at the `at`-th moment (each call has one before and one after it) everything stands still."""

    def __init__(self, at: int | None = None) -> None:
        self.moments = 0
        self.happened = asyncio.Event()
        self._at = at

    async def call(self, act: Callable[[], Awaitable[T]]) -> T:
        await self._moment()
        result = await act()
        await self._moment()
        return result

    async def _moment(self) -> None:
        if self.happened.is_set():
            raise ServiceUnavailable("this operator is dead")
        self.moments += 1
        if self.moments == self._at:
            self.happened.set()
            await asyncio.Event().wait()


class Mortal:
    """Anything whose calls may be the last: those named are, and those of the parts that are named."""

    def __init__(
        self, inner: Any, crash: Crash, calls: Sequence[str], parts: Mapping[str, Sequence[str]] = {}
    ):
        self._inner, self._crash, self._calls, self._parts = inner, crash, calls, parts

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name in self._parts:
            return Mortal(found, self._crash, self._parts[name])
        if name not in self._calls:
            return found

        def call(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            if args and args[0] == EVENTS:
                return found(*args, **kwargs)
            return self._crash.call(lambda: found(*args, **kwargs))

        return call


class MemoryStore:
    """`ArtifactStore` in a dict."""

    root = "minio://mlpipeline/v2/artifacts"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.files: dict[tuple[str, str], bytes] = {}

    async def stat(self, uri: str) -> Stat | None:
        data = self.objects.get(uri)
        return None if data is None else Stat(len(data), hashlib.sha256(data).hexdigest(), is_folder=False)

    async def read(self, uri: str, limit: int) -> bytes:
        return self.objects[uri][:limit]

    async def stream(self, uri: str) -> AsyncIterator[bytes]:
        yield self.objects[uri]

    async def write(self, uri: str, data: bytes) -> None:
        self.objects[uri] = data

    async def remove(self, uri: str) -> None:
        self.objects.pop(uri, None)

    async def check_import(self, uri: str) -> Stat | None:
        return await self.stat(uri)

    async def prepare(self, inputs: Sequence[Artifact], task_root: str) -> Placement:
        return Placement(annotations={ROOT: task_root})

    async def seal(self, task_root: str) -> None:
        return

    async def read_output(self, task_root: str, path: str, limit: int) -> bytes | None:
        return self.files.get((task_root, path))


class Stores:
    """The same store for every namespace."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def of(self, namespace: str) -> Any:
        return self._store


class Node:
    """Runs pods, each once, and counts how often each attempt began."""

    def __init__(self, client: FakeClient, store: MemoryStore) -> None:
        self.began: Counter[tuple[str, str, str]] = Counter()
        self._seen: set[str] = set()
        self._client = client
        self._store = store

    async def run(self) -> None:
        async for event in self._client.watch(PODS):
            if event.type != "DELETED":
                await self._look_at(event.object)

    async def _look_at(self, pod: dict[str, Any]) -> None:
        if pods.is_terminated(pod):
            return
        if meta.is_deleting(pod):
            await self._finish(pod, 143)
            return
        if meta.uid(pod) not in self._seen:
            self._seen.add(meta.uid(pod))
            notes = meta.annotations(pod)
            run_id = meta.labels(pod)["pipeline/runid"]
            self.began[run_id, notes[TASK_PATH], notes[ATTEMPT]] += 1
            pod = await self._client.patch(PODS, meta.name(pod), {"spec": {"nodeName": "n"}}, NAMESPACE)
            running = {"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}]}
            pod = await self._status(pod, running)
            code = self._do(pod)
            if code is not None:
                await self._finish(pod, code)

    def _do(self, pod: dict[str, Any]) -> int | None:
        main = pod["spec"]["containers"][0]
        word, *args = [*main.get("command", []), *main.get("args", [])]
        if word == "add":
            root = meta.annotations(pod)[ROOT]
            self._store.files[root, args[2]] = str(int(args[0]) + int(args[1])).encode()
        elif word == "write":
            self._store.objects[args[1]] = b"x" * int(args[0])
        return {"wait": None, "fail": 1}.get(word, 0)

    async def _finish(self, pod: dict[str, Any], code: int) -> None:
        state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
        status = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "main", "state": state}],
        }
        pod = await self._status(pod, status)
        if meta.is_deleting(pod):
            with suppress(NotFound):
                await self._client.delete(PODS, meta.name(pod), NAMESPACE, grace_period_seconds=0)

    async def _status(self, pod: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
        with suppress(NotFound, Conflict):
            name = meta.name(pod)
            return await self._client.patch(PODS, name, {"status": status}, NAMESPACE, subresource="status")
        return pod


class World:
    """Everything that outlives an operator. `now` is what its clock says."""

    def __init__(self, database: Database, settings: OperatorSettings) -> None:
        self.client = FakeClient()
        self.database = database
        self.store = MemoryStore()
        self.node = Node(self.client, self.store)
        self.settings = settings
        self.now = 1_000_000.0

    def make_operator(self, crash: Crash | None = None) -> Operator:
        if crash is None:
            client, database, stores = self.client, self.database, Stores(self.store)
        else:
            client = Mortal(self.client, crash, ("get", "create", "update", "patch", "delete"))
            database = Mortal(
                self.database, crash, ("record",), {"runs": ("get",), "tasks": ("of",), "cache": ("find",)}
            )
            stores = Stores(Mortal(self.store, crash, ("prepare", "seal", "read_output", "stat", "write")))
        return Operator(client, database, stores, self.settings, lambda: self.now, random=lambda: 0.0)

    async def add_run(self, spec: Mapping[str, Any], **fields: Any) -> Run:
        """Store a run and make its object, as the API does."""
        run_id = str(uuid.uuid4())
        values = {"pipeline_spec": spec, "states": ((RunState.PENDING, self.now),), **fields}
        run = Run(run_id, f"run-{run_id[:8]}", NAMESPACE, "A run", RunState.PENDING, self.now, **values)
        await self.database.runs.insert(run)
        obj = make_object(run)
        del obj["metadata"]["finalizers"]
        with suppress(AlreadyExists):  # an operator that begins has made it
            await self.client.create(RUNS, obj, NAMESPACE)
        return run

    async def tasks_of(self, run: Run) -> dict[str, Task]:
        return {task.path: task for task in await self.database.tasks.of(run.id)}

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await holds():
                await asyncio.sleep(0.002)

    async def until_over(self, run: Run) -> Run:
        """Wait until the run is over, and nothing of it is held any more."""

        async def is_over() -> bool:
            row = await self.database.runs.get(run.id)
            held = [
                obj
                for res in (PODS, RUNS)
                for obj in self.client.all(res)
                if FINALIZER in meta.finalizers(obj)
            ]
            return row.state in FINAL_RUN_STATES and not held

        await self.until("the run is over", is_over)
        return await self.database.runs.get(run.id)


async def in_world(
    folder: Path, act: Callable[[World], Awaitable[T]], settings: OperatorSettings | None = None
) -> T:
    """Return what `act` returns in a new world whose node works."""
    database = await open_database(folder / "pipelines.sqlite")
    world = World(database, settings or OperatorSettings(status_seconds=0.0, longest_back_off=0.2))
    working = asyncio.create_task(world.node.run())
    try:
        return await act(world)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await database.close()
        await world.client.close()


async def end(working: asyncio.Task[None]) -> None:
    """End an operator, as a signal would; what had ended it before is raised."""
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working


# Pipelines


def make_spec(
    tasks: Mapping[str, dict[str, Any]], components: Mapping[str, Sequence[str]] | None = None, **root: Any
) -> dict[str, Any]:
    """Return a PipelineSpec of one level; each task's `do` is the command of its container."""
    spec: dict[str, Any] = {
        "pipelineInfo": {"name": "test"},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "components": {},
        "deploymentSpec": {"executors": {}},
        "root": {"dag": {"tasks": {}}, **root},
    }
    for name, said in tasks.items():
        said = dict(said)
        command, outputs = said.pop("do"), said.pop("outputs", {})
        inputs = said.pop("takes", {})
        spec["components"][f"comp-{name}"] = {
            "executorLabel": f"exec-{name}",
            **({"outputDefinitions": outputs} if outputs else {}),
            **({"inputDefinitions": inputs} if inputs else {}),
        }
        spec["deploymentSpec"]["executors"][f"exec-{name}"] = {
            "container": {"image": "python:3.11", "command": list(command)}
        }
        spec["root"]["dag"]["tasks"][name] = {
            "componentRef": {"name": f"comp-{name}"},
            "taskInfo": {"name": name},
            "cachingOptions": {"enableCache": True},
            **said,
        }
    return spec


SUM = {"parameters": {"sum": {"parameterType": "NUMBER_INTEGER"}}}
TAKES_A = {"parameters": {"a": {"parameterType": "NUMBER_INTEGER"}}}
DATA = {"artifacts": {"data": {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}}}
SUM_FILE = "{{$.outputs.parameters['sum'].output_file}}"


def add(a: int, b: int) -> dict[str, Any]:
    """Return a task that adds two numbers."""
    return {"do": ["add", str(a), str(b), SUM_FILE], "outputs": SUM}


def add_to(task: str, b: int) -> dict[str, Any]:
    """Return a task that adds a number to another task's sum."""
    return {
        "do": ["add", "{{$.inputs.parameters['a']}}", str(b), SUM_FILE],
        "outputs": SUM,
        "takes": TAKES_A,
        "dependentTasks": [task],
        "inputs": {
            "parameters": {"a": {"taskOutputParameter": {"producerTask": task, "outputParameterKey": "sum"}}}
        },
    }


def write(size: int, **rest: Any) -> dict[str, Any]:
    """Return a task that makes an artifact."""
    return {"do": ["write", str(size), "{{$.outputs.artifacts['data'].uri}}"], "outputs": DATA, **rest}
