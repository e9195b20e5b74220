"""Move a run's tasks on: begin what is ready, close what is full, and note what is to be recorded and asked for.

Theory of operation. Nodes form the tree of the run. A node is looked at when something that it waits for has happened:
a task when its last dependency is over, a scope when a child is. Looking begins, skips or closes it, and puts those who
wait for it on the list of what to look at next, which is worked off. So a step costs what it touches, and nesting needs
no recursion. Everything that a node knows beside its record is counted from the records below it (`resume`), by
which a run goes on after a crash and after :retry with the same code.

Sources: depends and iteratorTask of backend/src/v2/compiler/argocompiler/dag.go, backend/src/v2/driver/dag.go. Other
than with upstream's Argo, a failure does not keep independent tasks from beginning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from proa.ml.pipelines.planning.conversion import InputError
from proa.ml.pipelines.planning.inputs import holds, iteration_inputs, resolve_inputs, root_inputs
from proa.ml.pipelines.planning.ledger import Ledger
from proa.ml.pipelines.planning.messages import Action, Finish, Terminate
from proa.ml.pipelines.planning.node import Node, tries
from proa.ml.pipelines.planning.outputs import outputs_of
from proa.ml.pipelines.planning.tree import Tree
from proa.ml.pipelines.records import NO_VALUES, Run, RunState, TaskKind, TaskState, Values


class Progress:
    """The nodes of one run, and what has changed since actions were taken last."""

    def __init__(self, run: Run, now: Callable[[], float], tree: Tree) -> None:
        self.run = run
        self.tree = tree
        self.ending: Terminate | None = None
        self.is_over = False
        self.ledger = Ledger(run, now)
        self._now = now
        self._look_at: deque[Node] = deque()

    def take_actions(self) -> list[Action]:
        """Work off what is to be looked at; return records, then what is asked for, then the end if this is it."""
        self._drain()
        actions = self.ledger.take()
        if self.tree.root.is_final and not self.is_over:
            self.is_over = True
            actions.append(self._make_finish())
        return actions

    def look_at(self, node: Node) -> None:
        """Have a node looked at before the next actions are returned."""
        self._look_at.append(node)

    # Changes of one node

    def finish(self, node: Node, state: TaskState, outputs: Values = NO_VALUES, error: str = "") -> None:
        """End a node, and have those who wait for it looked at."""
        self.ledger.ensure_task(node)
        self.ledger.change(node, state, finished_at=self._now(), outputs=outputs, error=error)
        self._over(node)

    def back_off(self, node: Node, error: str) -> None:
        """Have a node try again after a while."""
        attempt = node.task.attempt + 1 if node.task is not None else 0
        self.ledger.change(node, TaskState.PENDING, attempt=attempt, error=error)
        self.ledger.ask_wait(node)

    def has_tries_left(self, node: Node) -> bool:
        """Say whether a node that failed may try again."""
        return (
            node.task is not None
            and tries(node.task) <= node.plan.retry.max_retries
            and not self.is_barred(node)
        )

    def is_barred(self, node: Node) -> bool:
        """Say whether a node must not begin, for the run is ending."""
        return self.ending is not None and (
            self.ending.state is RunState.CANCELED or not node.is_within_exit_task()
        )

    def stop(self, node: Node) -> None:
        """End what a node does; a back-off is over at once."""
        if node.state is TaskState.PENDING:
            self.finish(node, TaskState.CANCELED, error=node.task.error if node.task else "")
        elif node.state is TaskState.RUNNING and not node.is_scope:
            self.ledger.change(node, TaskState.CANCELING)
            self.ledger.ask_stop(node)

    def launch(self, node: Node) -> None:
        """Begin the next attempt of a node that has its inputs."""
        self.ledger.change(
            node, TaskState.RUNNING, finished_at=0.0, pod_name="", exit_code=None, caching=None, log_uri=""
        )
        self.ledger.ask_launch(node)

    def _make_finish(self) -> Finish:
        task = self.tree.root.task
        if self.ending is not None:
            return Finish(self.ending.state, self.ending.message)
        if task is None:
            return Finish(RunState.CANCELED)
        return Finish(RunState(task.state), task.error)

    # Looking

    def _drain(self) -> None:
        while self._look_at:
            node = self._look_at.popleft()
            if node.state is None and not node.waiting:
                self._decide(node)
            elif node.is_scope and node.state is TaskState.RUNNING:
                if node.kind is TaskKind.LOOP:
                    self._start_iterations(node)
                if not node.unfinished:
                    self._close(node)

    def _decide(self, node: Node) -> None:
        """Begin a task whose dependencies are over, or say why it does not."""
        if self.is_barred(node):
            node.closed = True
            self._over(node)
        elif node.bad_dependencies and not node.plan.is_exit_task:
            self.finish(node, TaskState.NOT_TRIGGERED, error="a task that it waits for has failed")
        elif node.skipped_dependencies and not node.plan.is_exit_task:
            self.finish(node, TaskState.SKIPPED)
        else:
            self._begin(node)

    def _begin(self, node: Node) -> None:
        try:
            self.ledger.begin(node, self._find_inputs(node))
            if node.plan.condition and node.iteration is None and not holds(node.plan.condition, node.inputs):
                self.finish(node, TaskState.SKIPPED)
            elif node.is_scope:
                self.tree.ensure_children(node)
                self.ledger.change(node, TaskState.RUNNING, started_at=self._now())
                self.resume(node)
            else:
                self.launch(node)
        except InputError as error:
            self.finish(node, TaskState.FAILED, error=f"task '{node.plan.title}': {error}")

    def _find_inputs(self, node: Node) -> Values:
        if node.parent is None:
            return root_inputs(self.run, node.plan.component)
        if node.iteration is not None:
            return iteration_inputs(node, node.parent.items[node.iteration])
        return resolve_inputs(node, self.run)

    def _start_iterations(self, loop: Node) -> None:
        limit = loop.plan.parallelism
        while loop.to_start and (not limit or loop.running < limit):
            if self.is_barred(loop):
                loop.canceled += len(loop.to_start)
                loop.unfinished -= len(loop.to_start)
                loop.to_start.clear()
                return
            index = loop.to_start.popleft()
            loop.running += 1
            self._begin(loop.children.get(index) or self.tree.make_iteration(loop, index))

    def _close(self, scope: Node) -> None:
        """End a scope whose children are over, or have it try again."""
        outputs = outputs_of(scope)
        if scope.failed:
            error = scope.first_error
            if scope.parent is None and scope.failed > 1:
                error += f" (and {scope.failed - 1} more of its tasks failed)"
            can_retry = scope.kind is not TaskKind.LOOP and self.has_tries_left(scope)
            self.back_off(scope, error) if can_retry else self.finish(scope, TaskState.FAILED, outputs, error)
        elif scope.canceled:
            self.finish(scope, TaskState.CANCELED, outputs)
        else:
            self.finish(scope, TaskState.SUCCEEDED, outputs)

    def _over(self, node: Node) -> None:
        parent = node.parent
        if parent is None:
            return
        parent.unfinished -= 1
        parent.count_child(node)
        if parent.kind is TaskKind.LOOP:
            parent.running -= 1
            self._look_at.append(parent)
            return
        for key in node.plan.dependents:
            child = parent.children[key]
            child.waiting -= 1
            child.count_dependency(node)
            if not child.waiting and child.state is None:
                self._look_at.append(child)
        if not parent.unfinished:
            self._look_at.append(parent)

    # Going on

    def resume(self, scope: Node) -> None:
        """Count anew what is left to do below a scope that runs, and ask again for what is under way there."""
        waiting = [scope]
        while waiting:
            one = waiting.pop()
            self.tree.ensure_children(one)
            one.forget()
            for child in one.children.values():
                if child.is_final:
                    one.count_child(child)
                elif child.state is not None:
                    one.unfinished += 1
                    one.running += 1
                    if child.is_scope and child.state is TaskState.RUNNING:
                        waiting.append(child)
                    else:
                        self._ask_again(child)
                elif one.kind is not TaskKind.LOOP:
                    one.unfinished += 1
                    self._wait_for(one, child)
            if one.kind is TaskKind.LOOP:
                one.to_start.extend(i for i in range(len(one.items)) if _is_to_start(one, i))
                one.unfinished += len(one.to_start)
            self._look_at.append(one)

    def _ask_again(self, node: Node) -> None:
        task = node.task
        if task is None:
            return
        if task.state is TaskState.CANCELING:
            self.ledger.ask_stop(node)
        elif self.is_barred(node):
            self.stop(node)
        elif task.state is TaskState.RUNNING:
            self.ledger.ask_launch(node)
        else:
            self.ledger.ask_wait(node)

    def _wait_for(self, scope: Node, child: Node) -> None:
        """Count the dependencies of a task that has not begun."""
        child.waiting = child.bad_dependencies = child.skipped_dependencies = 0
        for key in child.plan.dependencies:
            dependency = scope.children[key]
            if dependency.is_final:
                child.count_dependency(dependency)
            else:
                child.waiting += 1
        if not child.waiting:
            self._look_at.append(child)


def _is_to_start(loop: Node, index: int) -> bool:
    child = loop.children.get(index)
    return child is None or child.state is None
