"""Make what failed begin again: below a DAG with a retry policy, or, with :retry, in the whole run.

What ended well stays, other than tasks that are told how others ended (PipelineTaskFinalStatus): they are told again.
Attempts count up. Source: FormulateRetryWorkflow of Argo Workflows (workflow/util), which upstream's :retry calls.
"""

from __future__ import annotations

from collections.abc import Set

from proa.ml.pipelines.planning.node import BAD, Node, is_to_begin
from proa.ml.pipelines.planning.progress import Progress
from proa.ml.pipelines.records import Task, TaskState


def reset(progress: Progress, scope: Node) -> None:
    """Make everything below a scope that has failed, was canceled or not triggered begin again when the scope goes on.

    Records come from the bottom up: of a scope that goes on, nothing below is left as it was.
    """
    found: list[Node] = []
    waiting = [(scope, False)]
    while waiting:
        node, is_whole = waiting.pop()
        progress.tree.ensure_children(node)
        again = {key for key, child in node.children.items() if is_whole or child.state in BAD}
        told = {key for key, child in node.children.items() if key not in again and _is_told(child, again)}
        for key in [*again, *told]:
            child = node.children[key]
            child.closed = False
            if child.task is not None and not is_to_begin(child.task):
                found.append(child)
                if child.is_scope and _has_run(child.task):
                    waiting.append((child, is_whole or key in told))
    for node in reversed(found):
        if (task := node.task) is not None:
            attempt = task.attempt + (task.state is not TaskState.NOT_TRIGGERED)
            progress.ledger.change(node, TaskState.PENDING, attempt=attempt, finished_at=0.0, error="")


def _is_told(node: Node, others: Set[str | int]) -> bool:
    return node.is_final and node.plan.reads_final_status and not others.isdisjoint(node.plan.dependencies)


def _has_run(task: Task) -> bool:
    return any(state is TaskState.RUNNING for state, _ in task.states)
