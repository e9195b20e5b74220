"""A PyTorchJob's conditions: which are true, and what becomes of the others when one is set.

Pure. The last one set stands last, where `kubectl get` and the SDK look. Running and Restarting are never there
together; what has failed stays so. Source: pkg/util/status.go of kubeflow/training-operator 1.9.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.client.protocol import Object
from proa.ml.training.pytorchjob.words import Condition
from proa.objects.meta import format_time


def is_true(conditions: Sequence[Object], type: str) -> bool:
    """Tell whether a condition is there and True."""
    return any(one.get("type") == type and one.get("status") == "True" for one in conditions)


def is_finished(conditions: Sequence[Object]) -> bool:
    """Tell whether the job has succeeded or failed."""
    return is_true(conditions, Condition.SUCCEEDED) or is_true(conditions, Condition.FAILED)


def with_condition(
    conditions: Sequence[Object], type: str, status: str, reason: str, message: str, now: float
) -> list[Object]:
    """Return the conditions with one set, as the last; as they were where that says nothing new."""
    if is_true(conditions, Condition.FAILED):
        return list(conditions)
    found = next((one for one in conditions if one.get("type") == type), None)
    if found is not None and (found.get("status"), found.get("reason")) == (status, reason):
        return list(conditions)
    at = format_time(now)
    since = at if found is None or found.get("status") != status else found.get("lastTransitionTime", at)
    new = {"type": type, "status": status, "reason": reason, "message": message}
    return [*_others(conditions, type), {**new, "lastUpdateTime": at, "lastTransitionTime": since}]


def with_message(conditions: Sequence[Object], type: str, message: str, now: float) -> list[Object]:
    """Return the conditions with the message of one changed, where it stands."""
    return [
        {**one, "message": message, "lastUpdateTime": format_time(now)}
        if one.get("type") == type and one.get("message") != message
        else one
        for one in conditions
    ]


def _others(conditions: Sequence[Object], type: str) -> list[Object]:
    pair = {Condition.RUNNING: Condition.RESTARTING, Condition.RESTARTING: Condition.RUNNING}
    kept = [one for one in conditions if one.get("type") not in (type, pair.get(Condition(type)))]
    if type not in (Condition.FAILED, Condition.SUCCEEDED):
        return kept
    return [{**one, "status": "False"} if one.get("type") == Condition.RUNNING else one for one in kept]
