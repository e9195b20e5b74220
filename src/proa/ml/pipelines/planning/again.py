"""Make what failed begin again: below a DAG with a retry policy, or, with :retry, in the whole run.

What ended well stays, other than tasks that are told how others ended (PipelineTaskFinalStatus): they are told again.
Attempts count up. Source: FormulateRetryWorkflow of Argo Workflows (workflow/util), which upstream's :retry calls.
"""

from __future__ import annotations

from proa.ml.pipelines.planning.node import BAD, Node, is_to_begin
from proa.ml.pipelines.planning.progress import Progress
from proa.ml.pipelines.records import Task, TaskState


def reset(progress: Progress, scope: Node) -> None:
    """Make everything below a scope that has failed, was canceled or not triggered begin again; then resume it."""
    waiting = [(scope, False)]
    while waiting:
        node, is_whole = waiting.pop()
        progress.tree.ensure_children(node)
        again = {key for key, child in node.children.items() if is_whole or child.state in BAD}
        told = {
            key
            for key, child in node.children.items()
            if key not in again
            and child.is_final
            and child.plan.reads_final_status
            and child.plan.dependencies & again
        }
        for key in [*again, *told]:
            child = node.children[key]
            child.closed = False
            if child.task is None or is_to_begin(child.task):
                continue
            goes_on = key in again and not is_whole and _has_children(child)
            _begin_again(progress, child, child.task, goes_on)
            if child.is_scope and _has_run(child.task):
                waiting.append((child, not goes_on))


def _begin_again(progress: Progress, node: Node, task: Task, goes_on: bool) -> None:
    attempt = task.attempt + (task.state is not TaskState.NOT_TRIGGERED)
    state = TaskState.RUNNING if goes_on else TaskState.PENDING
    progress.change(node, state, attempt=attempt, finished_at=0.0, error="")


def _has_children(node: Node) -> bool:
    return node.is_scope and node.task is not None and _has_run(node.task)


def _has_run(task: Task) -> bool:
    return any(state is TaskState.RUNNING for state, _ in task.states)
