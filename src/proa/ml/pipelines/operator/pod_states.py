"""Read from a step's pod how far it is: waiting, running, stuck, over. Pure.

A pod that is deleted has our finalizer and so stays visible; it is over when its containers cannot run any more.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.ml.pipelines.operator.resources import ATTEMPT, MAIN, TASK_PATH, run_id_of
from proa.objects import meta, pods


def is_ours(pod: Object, run_id: str, path: str, attempt: int) -> bool:
    """Tell whether a pod of the right name was made for this attempt."""
    notes = meta.annotations(pod)
    return run_id_of(pod) == run_id and (notes.get(TASK_PATH), notes.get(ATTEMPT)) == (path, str(attempt))


def is_over(pod: Object) -> bool:
    """Tell whether it will never run (again): it has ended, or was deleted and nothing of it runs."""
    if pods.is_terminated(pod):
        return True
    if not meta.is_deleting(pod):
        return False
    return not pods.node_name(pod) or pod["metadata"].get("deletionGracePeriodSeconds") == 0


def has_started(pod: Object) -> bool:
    """Tell whether the user's container runs or has run."""
    state = (_main_status(pod) or {}).get("state") or {}
    return "running" in state or "terminated" in state


def may_be_stuck(pod: Object) -> bool:
    """Tell whether what keeps it from starting may be something that is not there, and not a want of room."""
    if pods.node_name(pod):
        return True
    scheduled = meta.find_condition(pod, "PodScheduled") or {}
    return "not found" in (scheduled.get("message") or "")


def has_logs(pod: Object) -> bool:
    """Tell whether its node may have a log of the user's container."""
    return bool(pods.node_name(pod)) and has_started(pod)


def _main_status(pod: Object) -> Object | None:
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status.get("name") == MAIN:
            return dict(status)
    return None
