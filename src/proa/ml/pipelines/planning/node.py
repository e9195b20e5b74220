"""One task of a run while the run goes on: what is recorded of it, and the counters that say what is left to do.

A node with a record (`task`) has begun, except where it is to begin again (`is_to_begin`); one that was `closed` never
begins. All counters follow from the records of the node's children: planner._resume counts them anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from proa.ml.pipelines.planning.graph import TaskPlan
from proa.ml.pipelines.records import FINAL_TASK_STATES, NO_VALUES, Task, TaskKind, TaskState, Values

BAD = frozenset({TaskState.FAILED, TaskState.CANCELED, TaskState.NOT_TRIGGERED})
SCOPES = frozenset({TaskKind.DAG, TaskKind.LOOP, TaskKind.ITERATION})


class Node:
    """A task that may begin, runs or is over. Of a scope (DAG, loop, iteration) `children` are by key or index."""

    __slots__ = (
        "bad_dependencies",
        "canceled",
        "children",
        "closed",
        "failed",
        "first_error",
        "items",
        "iteration",
        "kind",
        "parent",
        "path",
        "plan",
        "running",
        "skipped_dependencies",
        "task",
        "to_start",
        "unfinished",
        "waiting",
    )

    def __init__(
        self, plan: TaskPlan, path: str, kind: TaskKind, parent: Node | None, iteration: int | None = None
    ) -> None:
        self.plan = plan
        self.path = path
        self.kind = kind
        self.parent = parent
        self.iteration = iteration
        self.task: Task | None = None
        self.closed = False
        self.children: dict[str | int, Node] = {}
        self.items: list[Any] = []
        """What a loop loops over."""
        self.to_start: deque[int] = deque()
        """Iterations of a loop that have not begun."""
        self.waiting = 0
        """Dependencies that are not over."""
        self.bad_dependencies = 0
        self.skipped_dependencies = 0
        self.unfinished = 0
        """Children that are not over."""
        self.running = 0
        """Iterations that have begun and are not over."""
        self.failed = 0
        self.canceled = 0
        self.first_error = ""

    @property
    def is_scope(self) -> bool:
        """Say whether it has children rather than something to carry out."""
        return self.kind in SCOPES

    @property
    def state(self) -> TaskState | None:
        """Return how far it is; None before it has begun."""
        if self.closed:
            return TaskState.CANCELED
        return None if self.task is None or is_to_begin(self.task) else self.task.state

    @property
    def is_final(self) -> bool:
        """Say whether it is over."""
        return self.closed or (self.task is not None and self.task.state in FINAL_TASK_STATES)

    @property
    def inputs(self) -> Values:
        """Return its inputs as they were when it began."""
        return self.task.inputs if self.task is not None else NO_VALUES

    @property
    def outputs(self) -> Values:
        """Return what it gave; nothing before it is over."""
        return self.task.outputs if self.task is not None else NO_VALUES

    def forget(self) -> None:
        """Set all counters of its children to nothing."""
        self.unfinished = self.running = self.failed = self.canceled = 0
        self.first_error = ""
        self.to_start.clear()

    def count_child(self, child: Node) -> None:
        """Take note of how a child ended."""
        if child.state is TaskState.FAILED:
            self.failed += 1
            if not self.first_error and child.task is not None:
                self.first_error = child.task.error
        elif child.state is TaskState.CANCELED:
            self.canceled += 1

    def count_dependency(self, dependency: Node) -> None:
        """Take note of how a task ended that this one waits for."""
        if dependency.state in BAD:
            self.bad_dependencies += 1
        elif dependency.state is TaskState.SKIPPED:
            self.skipped_dependencies += 1

    def is_within_exit_task(self) -> bool:
        """Say whether it, or a scope that it is in, runs however those before it ended."""
        node: Node | None = self
        while node is not None:
            if node.plan.is_exit_task:
                return True
            node = node.parent
        return False


def current_life(task: Task) -> Iterator[TaskState]:
    """Yield the states since the task was last over, the latest first."""
    for state, _ in reversed(task.states):
        if state in FINAL_TASK_STATES:
            return
        yield state


def is_to_begin(task: Task) -> bool:
    """Say whether a task that was over is to begin again, and has not yet (a back-off has: it ran before)."""
    return task.state is TaskState.PENDING and TaskState.RUNNING not in current_life(task)


def tries(task: Task) -> int:
    """Return how many attempts there were since the task was last over."""
    return sum(state is TaskState.RUNNING for state in current_life(task))
