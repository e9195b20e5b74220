"""A JobSet's conditions as they change in one look at it, and the Events that tell of each change.

Pure. Follows setCondition of pkg/controllers/jobset_controller.go of kubernetes-sigs/jobset, and its words.
`Stalled` is ours: there for as long as something keeps Jobs from being made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta

COMPLETED, FAILED, SUSPENDED, RESTARTING = "Completed", "Failed", "Suspended", "RestartingJobSet"
IN_PROGRESS, STARTED = "StartupPolicyInProgress", "StartupPolicyCompleted"
STALLED = "Stalled"
_EXCLUSIVE = {IN_PROGRESS: STARTED, STARTED: IN_PROGRESS}


class Told(NamedTuple):
    """An Event: its type, reason and message."""

    type: str
    reason: str
    message: str


class Conditions:
    """The conditions; `events` are those of the changes that were made here."""

    def __init__(self, conditions: Sequence[Object], now: float) -> None:
        self.entries: list[Object] = list(conditions)
        self.events: list[Told] = []
        self._now = now

    def set(self, type: str, status: bool, reason: str, message: str, event: str = "Normal") -> None:
        """Set one; what is False and was never there stays away."""
        found = self._find(type)
        if found is None and not status:
            return
        if found is not None and (found["status"], found.get("reason"), found.get("message")) == (
            str(status),
            reason,
            message,
        ):
            return
        other = _EXCLUSIVE.get(type)
        if status and other is not None and (before := self._find(other)) and before["status"] == "True":
            self._put(other, "False", before["reason"], before["message"])
        self._put(type, str(status), reason, message)
        self.events.append(Told(event, reason, message))

    def drop(self, type: str) -> None:
        """Take one away."""
        self.entries = [entry for entry in self.entries if entry["type"] != type]

    def _find(self, type: str) -> Object | None:
        return next((entry for entry in self.entries if entry["type"] == type), None)

    def _put(self, type: str, status: str, reason: str, message: str) -> None:
        self.entries = meta.with_condition(self.entries, type, status, reason, message, self._now)


def is_finished(jobset: Object) -> bool:
    """Tell whether a JobSet has completed or failed."""
    return meta.has_condition(jobset, COMPLETED) or meta.has_condition(jobset, FAILED)
