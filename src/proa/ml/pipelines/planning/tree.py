"""Make the nodes of a run when they are needed, each with what is recorded of it, and bound how many there are."""

from __future__ import annotations

from collections.abc import Iterable

from proa.ml.pipelines.planning.conversion import InputError
from proa.ml.pipelines.planning.graph import Graph, TaskPlan
from proa.ml.pipelines.planning.inputs import items_of
from proa.ml.pipelines.planning.node import Node
from proa.ml.pipelines.records import Run, Task, TaskKind

MAX_TASKS = 100_000
"""How many tasks and iterations a run may have in all."""


class Tree:
    """All nodes of a run by path. `recorded` are the tasks of an earlier planner of the run."""

    def __init__(self, run: Run, recorded: Iterable[Task] = ()) -> None:
        self.nodes: dict[str, Node] = {}
        self.recorded = {task.path: task for task in recorded}
        self._graph = Graph(run)
        self._size = 0
        self.root = self._make_node(self._graph.root, "", TaskKind.DAG, None)

    def ensure_children(self, scope: Node) -> None:
        """Make the nodes of a DAG's tasks, and those of a loop's recorded iterations; InputError for too many."""
        if scope.children or scope.items:
            return
        if scope.kind is TaskKind.LOOP:
            self._make_iterations(scope)
        else:
            self._make_tasks(scope)

    def make_iteration(self, loop: Node, index: int) -> Node:
        """Return a new node of a loop's iteration."""
        kind = TaskKind.ITERATION if loop.plan.kind is TaskKind.DAG else loop.plan.kind
        node = self._make_node(loop.plan, f"{loop.path}[{index}]", kind, loop, index)
        loop.children[index] = node
        return node

    def _make_tasks(self, scope: Node) -> None:
        tasks = self._graph.tasks_of(scope.plan)
        self._count(len(tasks), "tasks")
        prefix = f"{scope.path}/" if scope.path else ""
        for key, plan in tasks.items():
            kind = TaskKind.LOOP if plan.loop is not None else plan.kind
            scope.children[key] = self._make_node(plan, prefix + key, kind, scope)

    def _make_iterations(self, loop: Node) -> None:
        items = items_of(loop)
        self._count(len(items), "iterations")
        loop.items = items
        for index in range(len(items)) if self.recorded else ():
            if f"{loop.path}[{index}]" in self.recorded:
                self.make_iteration(loop, index)

    def _count(self, more: int, what: str) -> None:
        if self._size + more > MAX_TASKS:
            raise InputError(
                f"its {more} {what} would give the run more than {MAX_TASKS} tasks. Split the pipeline into several"
                " runs, or give each iteration more than one item"
            )
        self._size += more

    def _make_node(
        self, plan: TaskPlan, path: str, kind: TaskKind, parent: Node | None, iteration: int | None = None
    ) -> Node:
        node = self.nodes[path] = Node(plan, path, kind, parent, iteration)
        if self.recorded:
            node.task = self.recorded.get(path)
        return node
