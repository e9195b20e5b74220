"""Decide what a run does next: events of its tasks in, actions out, with nothing else read or written.

Semantics: upstream's driver and compiler (backend/src/v2/driver, backend/src/v2/compiler/argocompiler).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proa.ml.pipelines.planning.messages import Action, Event
from proa.ml.pipelines.records import Run, Task


class Planner:
    """One run. `now` returns seconds since the epoch; `tasks` are those recorded before a crash.

    `run.pipeline_spec` and `run.platform_spec` are checked documents. Events of attempts that are over change nothing.
    """

    def __init__(self, run: Run, now: Callable[[], float], tasks: Iterable[Task] = ()) -> None:
        self._run = run
        self._now = now
        self._recorded = {task.path: task for task in tasks}

    def start(self) -> list[Action]:
        """Return the first actions; with recorded tasks, what must be asked for again.

        Attempts that run are launched again (what creates them is idempotent), back-offs waited for; nothing is asked
        for what is over.
        """
        raise NotImplementedError

    def handle(self, event: Event) -> list[Action]:
        """Return what follows from an event; nothing once the run is over."""
        raise NotImplementedError

    def retry(self) -> list[Action]:
        """Go on with a run that failed or was canceled, instead of `start`.

        Tasks that failed, were canceled or not triggered, and the DAGs around them, go on from there with the next
        attempt; those that ended well stay.
        """
        raise NotImplementedError
