"""What keeps the pods of a PyTorchJob from running, told where people look: its events and its condition Created.

Pure. Source: RecordAbnormalPods of pkg/core/job.go of kubeflow/training-operator 1.9.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta, pods


class Note(NamedTuple):
    """An event to be."""

    type: str
    reason: str
    message: str


def notes_on(found: Iterable[Object]) -> list[Note]:
    """Return what is wrong with pods that have not ended."""
    return [note for pod in found if pods.is_active(pod) for note in _notes_on(pod)]


def ends_of(found: Iterable[Object], container: str) -> list[Note]:
    """Return how the containers of this name have ended."""
    return [
        Note(
            "Normal", "ExitedWithCode", f"Pod: {meta.namespace(pod)}.{meta.name(pod)} exited with code {code}"
        )
        for pod in found
        for status in pods.container_statuses(pod)
        if status.get("name") == container
        and (code := ((status.get("state") or {}).get("terminated") or {}).get("exitCode")) is not None
    ]


def why_waiting(found: Sequence[Object]) -> str:
    """Return what pods wait for that they may never get: a place, an image, an end of failures; "" for nothing."""
    for pod in found:
        if pods.is_active(pod) and (why := _waits_for(pod)):
            return f"Pod {meta.name(pod)} waits: {why}"
    return ""


def _notes_on(pod: Object) -> Iterable[Note]:
    status = pod.get("status") or {}
    statuses = status.get("containerStatuses") or status.get("initContainerStatuses") or ()
    for one in statuses:
        state = one.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        at = f"Error pod {meta.name(pod)} container {one.get('name')}"
        if ended is not None and ended.get("exitCode"):
            message = f"{at} exitCode: {ended['exitCode']} terminated message: {ended.get('message', '')}"
            yield Note("Warning", ended.get("reason") or "Error", message)
        elif waiting is not None and waiting.get("message"):
            yield Note(
                "Warning", waiting.get("reason") or "Waiting", f"{at} waiting message: {waiting['message']}"
            )
    if not statuses and (refused := _unscheduled(pod)) is not None:
        message = f"Error pod {meta.name(pod)} condition message: {refused.get('message', '')}"
        yield Note("Warning", refused.get("reason") or "Unschedulable", message)


def _unscheduled(pod: Object) -> Object | None:
    condition = meta.find_condition(pod, "PodScheduled")
    return condition if condition is not None and condition.get("status") == "False" else None


def _waits_for(pod: Object) -> str:
    refused = _unscheduled(pod)
    if refused is not None:
        return str(refused.get("message") or "")
    status = pod.get("status") or {}
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("message"):
            return f"{waiting.get('reason', '')}: {waiting['message']}"
    return ""
