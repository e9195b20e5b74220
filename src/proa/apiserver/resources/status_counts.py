"""Say what is wrong with the counts in a workload's status: none is negative, none larger than what it is a part of.

Follows ValidateReplicaSetStatus and its like in pkg/apis/apps/validation and pkg/apis/core/validation.
"""

from __future__ import annotations

from collections.abc import Iterable

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import invalid, validate_non_negative


def validate_counts(status: Object, counts: Iterable[str], parts: Iterable[str] = ()) -> list[Cause]:
    """Check `counts`, and that none of `parts` is over status.replicas."""
    causes = [c for key in counts for c in validate_non_negative(status.get(key, 0), f"status.{key}")]
    total = status.get("replicas", 0)
    for key in parts:
        if status.get(key, 0) > total:
            detail = "cannot be greater than status.replicas"
            causes.append(invalid(f"status.{key}", status.get(key, 0), detail))
    return causes


def validate_available(status: Object, ready: str = "readyReplicas") -> list[Cause]:
    """Check that no more are available than ready; `ready` is what the message calls those."""
    available = status.get("availableReplicas", 0)
    if available <= status.get("readyReplicas", 0):
        return []
    return [invalid("status.availableReplicas", available, f"cannot be greater than {ready}")]


def validate_collisions(status: Object, before: Object) -> list[Cause]:
    """Check that collisionCount is never less than it was."""
    count, had = status.get("collisionCount"), before.get("collisionCount")
    if had is None or (count is not None and count >= had):
        return []
    return [invalid("status.collisionCount", count or 0, "cannot be decremented")]
