"""Keep records in step with nodes: only here does a node's record change, and it is written before what it leads to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from proa.ml.pipelines.planning.messages import Action, Launch, Record, Stop, Wait
from proa.ml.pipelines.planning.node import Node, tries
from proa.ml.pipelines.records import NO_VALUES, Run, Task, TaskKind, TaskState, Values, make_task_id

_FIELDS = tuple(field.name for field in fields(Task))
_values_of = attrgetter(*_FIELDS)


class Ledger:
    """What is to be recorded and asked for since it was taken last."""

    def __init__(self, run: Run, now: Callable[[], float]) -> None:
        self._run = run
        self._now = now
        self._records: list[Action] = []
        self._asked: list[Action] = []

    def take(self) -> list[Action]:
        """Return records, in the order of the changes, and then what is asked for; begin anew."""
        actions = [*self._records, *self._asked]
        self._records, self._asked = [], []
        return actions

    # Records

    def begin(self, node: Node, inputs: Values) -> None:
        """Give a node a record with its inputs; its state is said by `change`."""
        if node.task is None:
            node.task = self._make_task(node, inputs)
        else:
            node.task = evolve(
                node.task, inputs=inputs, outputs=NO_VALUES, error="", started_at=0.0, finished_at=0.0
            )

    def ensure_task(self, node: Node) -> None:
        """Give a node that ends before it began a record."""
        if node.task is None:
            node.task = self._make_task(node, NO_VALUES)

    def change(self, node: Node, state: TaskState, **fields: Any) -> None:
        """Give a node with a record another state."""
        task = node.task
        if task is not None:
            node.task = evolve(task, state=state, states=(*task.states, (state, self._now())), **fields)
            self._records.append(Record(node.task))

    def amend(self, node: Node, **fields: Any) -> None:
        """Change a node's record, not its state."""
        if node.task is not None:
            node.task = evolve(node.task, **fields)
            self._records.append(Record(node.task))

    def _make_task(self, node: Node, inputs: Values) -> Task:
        title = node.plan.title if node.iteration is None else f"{node.plan.title}[{node.iteration}]"
        return Task(
            run_id=self._run.id,
            path=node.path,
            id=make_task_id(self._run.id, node.path),
            name=node.plan.key,
            display_name=title,
            kind=node.kind,
            state=TaskState.PENDING,
            parent=node.parent.path if node.parent is not None else None,
            created_at=self._now(),
            inputs=inputs,
            iteration=node.iteration,
        )

    # What is asked for

    def ask_launch(self, node: Node) -> None:
        """Ask for the attempt that is recorded as running."""
        if (task := node.task) is None:
            return
        plan, scope = node.plan, _dag_around(node)
        siblings = {
            key: scope.children[key].outputs for key in plan.platform_producers if key in scope.children
        }
        self._asked.append(
            Launch(
                node.path, task.attempt, node.kind, plan.spec, plan.component, plan.executor, plan.platform,
                task.inputs, scope.inputs, siblings or None,
            )
        )  # fmt: skip

    def ask_stop(self, node: Node) -> None:
        """Ask for the end of the attempt that is recorded as canceling."""
        if node.task is not None:
            self._asked.append(Stop(node.path, node.task.attempt))

    def ask_wait(self, node: Node) -> None:
        """Ask to be told when the back-off that is recorded is over: it may have begun a while ago."""
        if (task := node.task) is not None:
            since = task.states[-1][1] if task.states else self._now()
            left = since + _back_off_seconds(node, task) - self._now()
            self._asked.append(Wait(node.path, task.attempt, max(0.0, left)))


def evolve(task: Task, **changes: Any) -> Task:
    """Return a changed record, as dataclasses.replace does, in a third of the time."""
    return Task(**(dict(zip(_FIELDS, _values_of(task), strict=True)) | changes))


def _back_off_seconds(node: Node, task: Task) -> float:
    policy = node.plan.retry
    try:
        delay = policy.backoff_seconds * policy.factor ** max(0, tries(task) - 1)
    except OverflowError:
        return policy.max_backoff_seconds
    return min(delay, policy.max_backoff_seconds)


def _dag_around(node: Node) -> Node:
    """Return the DAG that a task is one of; of an iteration's, that of its loop."""
    parent = node.parent or node
    return parent.parent or parent if parent.kind is TaskKind.LOOP else parent
