"""Decide what a run does next: events of its tasks in, actions out, with nothing else read or written.

The run's tasks are a tree of nodes (tree.py, node.py) that progress.py moves on; graph.py is what the documents say,
inputs.py and outputs.py carry values between tasks. All state follows from the records that were asked for, so that a
planner made of them goes on where another left off, at whatever point that was lost.
Semantics: upstream's driver and compiler (backend/src/v2/driver, backend/src/v2/compiler/argocompiler).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proa.ml.pipelines.planning.again import reset
from proa.ml.pipelines.planning.messages import (
    Action,
    BackoffOver,
    Event,
    Failed,
    Started,
    Stopped,
    Succeeded,
    Terminate,
)
from proa.ml.pipelines.planning.node import Node
from proa.ml.pipelines.planning.progress import Progress
from proa.ml.pipelines.planning.tree import Tree
from proa.ml.pipelines.records import Run, RunState, Task, TaskState

_UNDER_WAY = frozenset({TaskState.RUNNING, TaskState.CANCELING})
_STOPPED = frozenset({TaskState.CANCELING, TaskState.CANCELED})


class Planner:
    """One run. `now` returns seconds since the epoch; `tasks` are those recorded before a crash.

    `run.pipeline_spec` and `run.platform_spec` are checked documents. Events of attempts that are over change nothing.
    """

    def __init__(self, run: Run, now: Callable[[], float], tasks: Iterable[Task] = ()) -> None:
        self._run = run
        self._now = now
        self._tree = Tree(run, tasks)
        self._progress = Progress(run, now, self._tree)

    def start(self) -> list[Action]:
        """Return the first actions; with recorded tasks, what must be asked for again.

        Attempts that run are launched again (what creates them is idempotent), back-offs waited for; nothing is asked
        for what is over.
        """
        root = self._tree.root
        if root.state is TaskState.RUNNING:
            self._progress.ending = self._find_ending()
            self._progress.resume(root)
        elif not root.is_final:
            self._progress.ending = self._find_ending()
            self._progress.look_at(root)
        return self._progress.take_actions()

    def retry(self) -> list[Action]:
        """Go on with a run that failed or was canceled, instead of `start`.

        Tasks that failed, were canceled or not triggered, and the DAGs around them, go on from there with the next
        attempt; those that ended well stay.
        """
        progress, root = self._progress, self._tree.root
        progress.ending = None
        progress.is_over = False
        if root.task is None:
            root.closed = False
            progress.look_at(root)
        else:
            reset(progress, root)
            if root.is_final:
                progress.ledger.change(
                    root, TaskState.RUNNING, attempt=root.task.attempt + 1, finished_at=0.0, error=""
                )
            progress.resume(root)
        return progress.take_actions()

    def handle(self, event: Event) -> list[Action]:
        """Return what follows from an event; nothing once the run is over."""
        if self._progress.is_over:
            return []
        if isinstance(event, Terminate):
            self._terminate(event)
        else:
            node = self._tree.nodes.get(event.path)
            if node is not None and node.task is not None and node.task.attempt == event.attempt:
                self._happened(node, node.task, event)
        return self._progress.take_actions()

    def _happened(
        self, node: Node, task: Task, event: Started | Succeeded | Failed | BackoffOver | Stopped
    ) -> None:
        progress, state = self._progress, node.state
        match event:
            case BackoffOver() if state is TaskState.PENDING:
                self._try_again(node)
            case _ if node.is_scope:
                pass
            case Started() if state is TaskState.RUNNING and not task.started_at:
                progress.ledger.amend(node, started_at=self._now())
            case Succeeded() if state in _UNDER_WAY:
                ended = TaskState.CACHED if event.is_cached else TaskState.SUCCEEDED
                progress.finish(node, ended, event.outputs)
            case Failed() if state is TaskState.RUNNING and event.can_retry and progress.has_tries_left(node):
                progress.back_off(node, event.message)
            case Failed() if state is TaskState.RUNNING:
                progress.finish(node, TaskState.FAILED, error=event.message)
            case Failed() if state is TaskState.CANCELING:
                progress.finish(node, TaskState.CANCELED, error=event.message)
            case Stopped() if state is TaskState.CANCELING:
                progress.finish(node, TaskState.CANCELED, error=task.error)

    def _try_again(self, node: Node) -> None:
        progress = self._progress
        if not node.is_scope:
            progress.launch(node)
            return
        reset(progress, node)
        progress.ledger.change(node, TaskState.RUNNING, finished_at=0.0)
        progress.resume(node)

    def _terminate(self, event: Terminate) -> None:
        before = self._progress.ending
        if before is not None and before.state is RunState.CANCELED:
            return
        self._progress.ending = event
        for node in list(self._tree.nodes.values()):
            if self._progress.is_barred(node):
                self._progress.stop(node)

    def _find_ending(self) -> Terminate | None:
        """Return what the run was ending for when its planner was lost; whoever asked for it asks again."""
        if self._run.state is RunState.CANCELING:
            return Terminate(RunState.CANCELED, self._run.error or "termination was requested")
        if any(task.state in _STOPPED for task in self._tree.recorded.values()):
            return Terminate(RunState.FAILED, self._run.error or "the run was ended before it was over")
        return None
