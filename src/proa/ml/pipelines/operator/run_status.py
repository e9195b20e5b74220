"""Keep a Run object's status telling how far the run is, without writing it more often than people can read.

`make_status` is pure. The row in the database is the truth; a status that could not be written is written later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from proa.client.protocol import Client, Object
from proa.ml.pipelines.records import (
    FINAL_RUN_STATES,
    FINAL_TASK_STATES,
    Run,
    RunState,
    Task,
    TaskKind,
    TaskState,
)
from proa.ml.pipelines.run_objects import RUNS
from proa.objects import meta
from proa.objects.errors import ApiError, NotFound

if TYPE_CHECKING:
    from proa.ml.pipelines.operator.surroundings import Surroundings

logger = logging.getLogger(__name__)

PARENTS = frozenset({TaskKind.DAG, TaskKind.LOOP, TaskKind.ITERATION})
WORDS = {
    TaskState.PENDING: "pending",
    TaskState.RUNNING: "running",
    TaskState.SUCCEEDED: "succeeded",
    TaskState.CACHED: "cached",
    TaskState.SKIPPED: "skipped",
    TaskState.NOT_TRIGGERED: "skipped",
    TaskState.FAILED: "failed",
    TaskState.CANCELING: "running",
    TaskState.CANCELED: "canceled",
}
MAX_MESSAGE = 2000


class Counts:
    """How many tasks that have no children are in each state, kept as tasks change."""

    def __init__(self) -> None:
        self._states: dict[str, TaskState] = {}
        self._numbers: Counter[TaskState] = Counter()

    def put(self, tasks: Iterable[Task]) -> None:
        """Take in tasks as they are now."""
        for task in tasks:
            if task.kind in PARENTS:
                continue
            if (old := self._states.get(task.path)) is not None:
                self._numbers[old] -= 1
            self._states[task.path] = task.state
            self._numbers[task.state] += 1

    @property
    def states(self) -> Mapping[TaskState, int]:
        """Return the numbers."""
        return self._numbers


def make_status(
    run: Run, counts: Mapping[TaskState, int], waits_for: str, old: Object, generation: int, now: float
) -> Object:
    """Return the status of a run's object; `waits_for` says why it does not go on, and `old` is what it was."""
    tasks: dict[str, int] = {}
    for state, number in counts.items():
        if number > 0:
            tasks[WORDS[state]] = tasks.get(WORDS[state], 0) + number
    ended = sum(number for state, number in counts.items() if state in FINAL_TASK_STATES)
    is_final = run.state in FINAL_RUN_STATES
    message = run.error or waits_for
    status: Object = {
        "runId": run.id,
        "displayName": run.display_name,
        "state": run.state.value,
        "done": f"{ended}/{sum(counts.values())}",
        "tasks": tasks,
        "conditions": _make_conditions(run, message, old.get("conditions") or [], now),
        "observedGeneration": generation,
    }
    if message:
        status["message"] = message[:MAX_MESSAGE]
    if run.retries:
        status["retries"] = run.retries
    if run.started_at:
        status["startedAt"] = meta.format_time(run.started_at)
    if is_final and run.finished_at:
        status["finishedAt"] = meta.format_time(run.finished_at)
    return status


def _make_conditions(run: Run, message: str, old: list[Object], now: float) -> list[Object]:
    is_final = run.state in FINAL_RUN_STATES
    reason = "".join(word.capitalize() for word in run.state.value.split("_"))
    is_good = run.state in (RunState.SUCCEEDED, RunState.SKIPPED)
    good = "Unknown" if not is_final else "True" if is_good else "False"
    text = message[:MAX_MESSAGE]
    found = meta.with_condition(old, "Completed", "True" if is_final else "False", reason, text, now)
    return meta.with_condition(found, "Succeeded", good, reason, text, now)


async def write_status(client: Client, obj: Object, status: Object) -> None:
    """Write it whole; an object that is gone is fine. Raise ApiError."""
    old = obj.get("status") or {}
    patch = {**dict.fromkeys(old.keys() - status.keys()), **status}
    if old.get("tasks"):
        gone = old["tasks"].keys() - status.get("tasks", {}).keys()
        patch["tasks"] = {**dict.fromkeys(gone), **status.get("tasks", {})}
    try:
        await client.patch(RUNS, meta.name(obj), {"status": patch}, meta.namespace(obj), subresource="status")
    except NotFound:
        return


class StatusWriter:
    """Writes one run's status: at once when it was quiet, else when `status_seconds` have passed."""

    def __init__(self, around: Surroundings, obj: Object) -> None:
        self._around = around
        self._object = obj
        self._counts = Counts()
        self._run: Run | None = None
        self._waits_for = ""
        self._written: Object = {}
        self._task: asyncio.Task[None] | None = None
        self._is_due = False

    def object_changed(self, obj: Object) -> None:
        """Take in the object as it is now."""
        self._object = obj

    def show(self, run: Run, tasks: Iterable[Task]) -> None:
        """Have this be told; `tasks` are those that have changed."""
        self._run = run
        self._counts.put(tasks)
        self._wake()

    def tell(self, message: str) -> None:
        """Have people know what the run waits for; "" when it goes on."""
        self._waits_for = message
        self._wake()

    async def flush(self) -> None:
        """Write what has not been written, and return when it is."""
        self.stop()
        await self._write()

    def stop(self) -> None:
        """Write no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _wake(self) -> None:
        self._is_due = True
        if self._task is None:
            self._task = asyncio.create_task(self._keep_writing(), name="run's status")

    async def _keep_writing(self) -> None:
        while self._is_due:
            self._is_due = False
            try:
                await self._write()
            except ApiError as error:
                logger.warning("status not written run=%s error=%s", meta.key_of(self._object), error)
                self._is_due = True
            await asyncio.sleep(self._around.settings.status_seconds)
        self._task = None

    async def _write(self) -> None:
        if self._run is None:
            return
        obj = self._object
        old = self._written or obj.get("status") or {}
        status = make_status(
            self._run, self._counts.states, self._waits_for, old, meta.generation(obj), self._around.now()
        )
        if status == old:
            return
        await write_status(self._around.client, {**obj, "status": old}, status)
        self._written = status
