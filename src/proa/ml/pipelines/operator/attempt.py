"""One attempt at a task, from its launch to what is told of it; container_attempt.py and its siblings say how."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from typing import Any

from proa.client.protocol import Object
from proa.ml.pipelines.artifacts.protocol import ArtifactError
from proa.ml.pipelines.executor.step import task_name
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.operator.back_off import keep_trying
from proa.ml.pipelines.operator.inbox import Inbox
from proa.ml.pipelines.operator.notes import Notes
from proa.ml.pipelines.operator.surroundings import Surroundings
from proa.ml.pipelines.planning.messages import Failed, Launch, Started, Stopped, Succeeded
from proa.ml.pipelines.records import Run, Values
from proa.objects.errors import ApiError

Outcome = Succeeded | Failed | Stopped
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
DISK_ADVICE = "Free space where the artifacts are (old runs' artifacts can go), then retry the run"


class Attempt:
    """`touch` has the notes written with the next turn."""

    def __init__(
        self,
        around: Surroundings,
        run: Run,
        owner: Object,
        launch: Launch,
        notes: Notes,
        inbox: Inbox,
        touch: Callable[[], None],
    ) -> None:
        self.launch = launch
        self.task = task_name(launch)
        self._around = around
        self._run = run
        self._owner = owner
        self._notes = notes
        self._inbox = inbox
        self._touch = touch
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def pod_name(self) -> str:
        """Return its pod's name; another unique name where it has none."""
        return f"{self.launch.path}#{self.launch.attempt}"

    def look(self) -> None:
        """Its pod has changed."""
        self._changed.set()

    def stop(self) -> None:
        """End it; `Stopped` is told in the end."""
        self._stopping.set()

    async def live(self) -> None:
        """Bring it to its end, and return when that was recorded."""
        outcome = await self._reach_end_or_stop()
        await self._inbox.put(outcome)

    async def _reach_end_or_stop(self) -> Outcome:
        """Work until it has ended or is to stop, whichever comes first."""
        working = asyncio.ensure_future(self._keep_working())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
        finally:
            for job in (working, stopping):
                job.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)
        await self._undo()
        return Stopped(self.launch.path, self.launch.attempt)

    async def _keep_working(self) -> Outcome:
        """Return what comes of it, however long API server or database are away."""
        try:
            return await keep_trying(
                f"run {self._run.id}, task {self.launch.path}",
                self._reach_end,
                self._around.settings.longest_back_off,
                self._tell,
            )
        except StepFailed as error:
            if error.exit_code is not None:
                self._notes.exit_code = error.exit_code
            return self._failed(error.message, can_retry=error.can_retry)
        except ArtifactError as error:
            return self._failed(str(error))
        except OSError as error:
            what = f"its artifacts cannot be read or written: {error.strerror or error}"
            return self._failed(f"{what}. {DISK_ADVICE}" if error.errno in FULL else what)
        except ApiError as error:
            return self._failed(error.message)

    def _reach_end(self) -> Coroutine[Any, Any, Outcome]:
        """Do what the task is for; doing it again, after a part of it was done, is harmless.

        What another attempt may mend, or not, is raised as StepFailed or ArtifactError.
        """
        raise NotImplementedError

    async def _undo(self) -> None:
        """Return when nothing of it runs any more."""

    def _begun(self) -> None:
        """Say that it runs."""
        self._inbox.put(Started(self.launch.path, self.launch.attempt))

    def _succeeded(self, outputs: Values, *, is_cached: bool = False) -> Succeeded:
        return Succeeded(self.launch.path, self.launch.attempt, outputs, is_cached)

    def _failed(self, message: str, *, can_retry: bool = True) -> Failed:
        prefix = f"task '{self.task}'"
        text = message if message.startswith(prefix) else f"{prefix}: {message}"
        return Failed(self.launch.path, self.launch.attempt, text, can_retry)

    def _tell(self, message: str) -> None:
        """Let people see why it does not go on; "" when it does."""
        if message:
            text = f"task '{self.task}': {message}"[:1000]
            self._around.events.event(self._owner, "Warning", "TaskWaiting", text)
