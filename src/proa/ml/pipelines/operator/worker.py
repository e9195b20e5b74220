"""Bring one run to its end: tell its planner what happened, record what it says, then do what it asks for.

One worker a run, one turn at a time: all events that have come are handled, what follows is recorded in one durable
write, and only then do launches begin and those who reported go on. What a turn did not record has not happened: after
a crash the next worker begins with what was recorded and with the pods that are there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from proa.client.protocol import Object
from proa.ml.database import errors as database_errors
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.ir.platform import pipeline_config
from proa.ml.pipelines.operator.attempt import Attempt
from proa.ml.pipelines.operator.back_off import keep_trying
from proa.ml.pipelines.operator.inbox import Inbox
from proa.ml.pipelines.operator.intake import is_object_of
from proa.ml.pipelines.operator.leftovers import clear_away
from proa.ml.pipelines.operator.making import make_attempt
from proa.ml.pipelines.operator.notes import Notes
from proa.ml.pipelines.operator.resources import attempt_of
from proa.ml.pipelines.operator.run_status import PARENTS, StatusWriter
from proa.ml.pipelines.operator.surroundings import Surroundings
from proa.ml.pipelines.operator.workspace import ensure_workspace, remove_workspace
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
    Terminate,
    Wait,
)
from proa.ml.pipelines.planning.planner import Planner
from proa.ml.pipelines.records import FINAL_RUN_STATES, FINAL_TASK_STATES, Run, RunState, Task
from proa.objects import meta
from proa.objects.errors import ApiError

logger = logging.getLogger(__name__)

STATES = {RunState.SUCCEEDED: "Normal", RunState.SKIPPED: "Normal", RunState.CANCELED: "Normal"}
"""Of which type the Event of each end is; Warning for others."""


class RunWorker:
    """`run` and `tasks` are as the database has them; `owner` is the Run object."""

    def __init__(self, around: Surroundings, run: Run, tasks: Sequence[Task], owner: Object) -> None:
        self._around = around
        self._run = run
        self._owner = owner
        self._tasks = {task.path: task for task in tasks}
        self._notes = {task.path: Notes.of(task) for task in tasks}
        self._planner = Planner(run, around.now, tasks)
        self._inbox = Inbox()
        self._attempts: dict[str, Attempt] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._clearing: set[str] = set()
        self._touched: set[str] = set()
        self._deadline: asyncio.TimerHandle | None = None
        self._is_terminating = False
        self._status = StatusWriter(around, owner)

    @property
    def run_id(self) -> str:
        """Return the run's id."""
        return self._run.id

    def is_of(self, obj: Object) -> bool:
        """Tell whether an object is the run's."""
        return is_object_of(obj, self._run)

    # What others say

    def pod_changed(self, pod: Object) -> None:
        """Take note of a pod of the run that was made, changed or is gone."""
        attempt = self._attempts.get(meta.name(pod))
        if attempt is not None:
            attempt.look()
        else:
            self._clear(pod)

    def object_changed(self, obj: Object | None) -> None:
        """Take note of what the Run object asks for; None when it is gone."""
        if obj is None or meta.is_deleting(obj):
            self.terminate("the run's object was deleted")
        elif (obj.get("spec") or {}).get("terminate"):
            self.terminate("termination was requested")
        if obj is not None:
            self._owner = obj
            self._status.object_changed(obj)

    def terminate(self, message: str) -> None:
        """Ask for the run to end as CANCELED."""
        self._end_early(Terminate(RunState.CANCELED, message))

    def _end_early(self, event: Terminate) -> None:
        if not self._is_terminating:
            self._is_terminating = True
            self._inbox.put(event)

    # The loop

    async def work(self, retries: int = 0) -> Run:
        """Work until the run is over, and return it as it is then; with `retries` above the run's, go on with it."""
        try:
            await self._begin(retries)
            while self._run.state not in FINAL_RUN_STATES:
                letters = await self._inbox.take()
                actions: list[Action] = []
                for letter in letters:
                    actions += self._handle(letter.event)
                await self._carry_out(actions)
                for letter in letters:
                    if not letter.recorded.done():
                        letter.recorded.set_result(None)
            self._inbox.close()
            await self._end()
        except database_errors.NotFound:
            logger.info("run was deleted run=%s", self.run_id)  # its object and pods go as well
        finally:
            await self._cancel()
        return self._run

    async def _begin(self, retries: int) -> None:
        around = self._around
        self._status.show(self._run, self._tasks.values())
        if retries > self._run.retries:
            changed = replace(self._run, retries=retries, finished_at=0.0, error="")
            actions = self._planner.retry()
        else:
            changed = self._run
            actions = self._planner.start()
        if changed.state not in (RunState.RUNNING, RunState.CANCELING):
            now = around.now()
            changed = _with_state(
                replace(changed, started_at=changed.started_at or now), RunState.RUNNING, now
            )
            around.events.event(self._owner, "Normal", "Running", f"run {changed.display_name} is running")
        self._keep_deadline(changed)
        self.object_changed(self._owner)
        if problem := await self._find_problem(changed):
            actions = [Finish(RunState.FAILED, problem)]
        await self._carry_out(actions, changed)
        for pod in around.pods.by_index("run", self.run_id):
            self.pod_changed(pod)

    async def _find_problem(self, run: Run) -> str:
        """Return why pods of the run cannot be made at all, "" where they can; one that is to end need not."""
        if meta.is_deleting(self._owner):
            return ""
        try:
            await self._prepare(run)
        except StepFailed as error:
            return error.message
        except ApiError as error:
            return f"the run cannot begin in namespace {run.namespace}: {error.message}"
        return ""

    async def _prepare(self, run: Run) -> None:
        """Make what all pods of the run need: their account, the workspace."""
        longest = self._around.settings.longest_back_off
        await keep_trying(
            f"run {run.id}",
            lambda: self._around.accounts.ensure(run.namespace, run.service_account),
            longest,
            self._status.tell,
        )
        await keep_trying(
            f"run {run.id}",
            lambda: ensure_workspace(self._around, run, self._owner),
            longest,
            self._status.tell,
        )

    def _handle(self, event: Event) -> Sequence[Action]:
        actions: list[Action] = list(self._planner.handle(event))
        if isinstance(event, Terminate) and event.state is RunState.CANCELED:
            self._run = _with_state(self._run, RunState.CANCELING, self._around.now())
            self._touched.add("")
        return actions

    # Actions

    async def _carry_out(self, actions: Sequence[Action], run: Run | None = None) -> None:
        tasks = {action.task.path: action.task for action in actions if isinstance(action, Record)}
        for action in actions:
            if isinstance(action, Finish):
                run = self._finished(run or self._run, action)
        await self._record(tasks, run)
        for action in actions:
            match action:
                case Launch():
                    self._launch(action)
                case Stop(path, attempt):
                    self._stop(path, attempt)
                case Wait(path, attempt, seconds):
                    self._start(self._wait(path, attempt, seconds))

    async def _record(self, tasks: dict[str, Task], run: Run | None) -> None:
        """Write what has changed, durably; keep trying while the database is away."""
        for path in self._touched & self._tasks.keys() - tasks.keys():
            tasks[path] = self._tasks[path]
        if "" in self._touched and run is None:
            run = self._run
        self._touched.clear()
        if not tasks and run is None:
            return
        written = [self._complete(task) for task in tasks.values()]
        await keep_trying(
            f"run {self.run_id}",
            lambda: self._around.database.record(written, run=run),
            self._around.settings.longest_back_off,
            self._status.tell,
        )
        self._tasks |= {task.path: task for task in written}
        if run is not None:
            self._run = run
        self._status.show(self._run, written)
        for task in written:
            self._report(task)

    def _complete(self, task: Task) -> Task:
        """Add to what the planner knows of a task what only the operator does."""
        notes = self._notes.get(task.path)
        return notes.add_to(task) if notes is not None else task

    def _report(self, task: Task) -> None:
        if task.error and task.state in FINAL_TASK_STATES and task.kind not in PARENTS:
            self._around.events.event(self._owner, "Warning", "TaskFailed", task.error[:1000])

    def _finished(self, run: Run, action: Finish) -> Run:
        now = self._around.now()
        return _with_state(replace(run, finished_at=now, error=action.error), action.state, now)

    def _launch(self, launch: Launch) -> None:
        notes = self._notes.get(launch.path)
        if notes is None or notes.attempt != launch.attempt:
            notes = self._notes[launch.path] = Notes(launch.attempt)
        attempt = make_attempt(
            self._around, self._run, self._owner, launch, notes, self._inbox, lambda: self._touch(launch.path)
        )
        self._attempts[attempt.pod_name] = attempt
        self._start(self._live(attempt))

    def _touch(self, path: str) -> None:
        """Have what is noted of a task written with the next turn, without haste."""
        self._touched.add(path)

    async def _live(self, attempt: Attempt) -> None:
        launch = attempt.launch
        try:
            await attempt.live()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            where = f"{launch.path} (attempt {launch.attempt})"
            logger.exception("attempt failed run=%s task=%s", self.run_id, where)
            await self._inbox.put(
                Failed(
                    launch.path,
                    launch.attempt,
                    f"task '{attempt.task}': Proa could not carry it out: {error}",
                )
            )
        finally:
            del self._attempts[attempt.pod_name]
        pod = self._around.pods.get(attempt.pod_name, self._run.namespace)
        if pod is not None:
            self._clear(pod)

    def _stop(self, path: str, number: int) -> None:
        for attempt in self._attempts.values():
            if (attempt.launch.path, attempt.launch.attempt) == (path, number):
                attempt.stop()
                return
        self._inbox.put(Stopped(path, number))

    async def _wait(self, path: str, attempt: int, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._inbox.put(BackoffOver(path, attempt))

    def _keep_deadline(self, run: Run) -> None:
        seconds = pipeline_config(run.platform_spec).active_deadline_seconds
        if not seconds:
            return
        since = max([at for state, at in run.states if state is RunState.RUNNING], default=run.started_at)
        left = max(0.0, since + seconds - self._around.now())
        message = f"the run was active for longer than its activeDeadlineSeconds ({seconds})"
        event = Terminate(RunState.FAILED, message)
        self._deadline = asyncio.get_running_loop().call_later(left, self._end_early, event)

    # Pods that no attempt is waiting for

    def _clear(self, pod: Object) -> None:
        """See that a pod whose attempt is over is over too, that its log is kept, and that it may go."""
        name = meta.name(pod)
        if name in self._attempts or name in self._clearing or not meta.finalizers(pod):
            return
        found = attempt_of(pod)
        task = self._tasks.get(found[0]) if found is not None else None
        self._clearing.add(name)
        self._start(self._clear_away(pod, task))

    async def _clear_away(self, pod: Object, task: Task | None) -> None:
        try:
            await clear_away(self._around, pod, task)
        finally:
            self._clearing.discard(meta.name(pod))

    # The end

    async def _end(self) -> None:
        around, run = self._around, self._run
        type = STATES.get(run.state, "Warning")
        text = run.error or f"run {run.display_name} has ended"
        around.events.event(self._owner, type, run.state.value.capitalize(), text[:1000])
        if run.state is RunState.SUCCEEDED:
            await remove_workspace(around, run)
        if self._jobs:
            await asyncio.wait(self._jobs)
        await self._status.flush()

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._status.stop()
        for job in [*self._jobs]:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)


def _with_state(run: Run, state: RunState, now: float) -> Run:
    return replace(run, state=state, states=(*run.states, (state, now)))
