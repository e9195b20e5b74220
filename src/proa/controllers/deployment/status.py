"""Tell how a Deployment's rollout stands: its counts, and the conditions Available, Progressing, ReplicaFailure.

Follows upstream's pkg/controller/deployment/progress.go and sync.go (calculateStatus), with their reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from proa.client.protocol import Object
from proa.controllers.deployment.history import UNLIMITED
from proa.controllers.deployment.rollout import bounds_of, replicas_of
from proa.objects.meta import find_condition, format_time, generation, name, parse_time

NEW_AVAILABLE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"


def status_of(
    deployment: Object,
    new: Object | None,
    old: Sequence[Object],
    news: tuple[str, str] | None,
    now: float,
    *,
    judges: bool = True,
) -> Object:
    """Return the status that the ReplicaSets amount to.

    `news` is (reason, message) of what this reconcile did to the new ReplicaSet, for Progressing. Without
    spec.progressDeadlineSeconds there is no Progressing condition. Progress is judged where `judges` says so.
    """
    everything = [rs for rs in (new, *old) if rs is not None]
    status = _counts(deployment, new, everything)
    conditions = list((deployment.get("status") or {}).get("conditions") or [])
    conditions = _with_availability(deployment, status, conditions, now)
    if has_deadline(deployment):
        conditions = _with_progress(deployment, new, status, conditions, news, now, judges)
    else:
        conditions = [c for c in conditions if c["type"] != "Progressing"]
    conditions = _with_failures(conditions, new, everything)
    return {**status, "conditions": conditions}


def has_deadline(deployment: Object) -> bool:
    """Return whether lack of progress is to be told."""
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    return deadline is not None and deadline != UNLIMITED


def is_complete(deployment: Object, status: Object) -> bool:
    """Return whether all pods are updated and available, and none is left of before."""
    wanted = replicas_of(deployment)
    counts = [status.get(field, 0) for field in ("updatedReplicas", "replicas", "availableReplicas")]
    return counts == [wanted] * 3 and status.get("observedGeneration", 0) >= generation(deployment)


def seconds_until_deadline(deployment: Object, status: Object, now: float) -> float:
    """Return when progress must be looked at again, 0 when there is nothing to wait for."""
    progressing = _find(status.get("conditions") or [], "Progressing")
    if not has_deadline(deployment) or progressing is None or deployment["spec"].get("paused"):
        return 0.0
    if is_complete(deployment, status) or progressing.get("reason") in (TIMED_OUT, NEW_AVAILABLE):
        return 0.0
    since = parse_time(progressing["lastUpdateTime"])
    return max(since + float(deployment["spec"]["progressDeadlineSeconds"]) - now, 0.0) + 1.0


def _counts(deployment: Object, new: Object | None, everything: Iterable[Object]) -> dict[str, Any]:
    everything = list(everything)
    available = _sum(everything, "availableReplicas")
    counts = {
        "replicas": _sum(everything, "replicas"),
        "updatedReplicas": _sum([new] if new is not None else [], "replicas"),
        "readyReplicas": _sum(everything, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(map(replicas_of, everything)) - available),
        "collisionCount": (deployment.get("status") or {}).get("collisionCount", 0),
    }
    status: dict[str, Any] = {"observedGeneration": generation(deployment)}
    status |= {field: count for field, count in counts.items() if count}
    if all("terminatingReplicas" in (rs.get("status") or {}) for rs in everything):
        status["terminatingReplicas"] = _sum(everything, "terminatingReplicas")
    return status


def _with_availability(
    deployment: Object, status: Object, conditions: list[Object], now: float
) -> list[Object]:
    if status.get("availableReplicas", 0) >= bounds_of(deployment).least_available:
        outcome = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        outcome = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    return with_condition(conditions, "Available", *outcome, now)


def _with_progress(
    deployment: Object,
    new: Object | None,
    status: Object,
    conditions: list[Object],
    news: tuple[str, str] | None,
    now: float,
    judges: bool,
) -> list[Object]:
    current = _find(conditions, "Progressing")
    if paused := _pause_changed(deployment, current):
        return with_condition(conditions, "Progressing", "Unknown", *paused, now)
    if news is not None:
        outcome = "False" if news[0] == "ReplicaSetCreateError" else "True"
        return with_condition(conditions, "Progressing", outcome, *news, now)
    was_complete = current is not None and current.get("reason") == NEW_AVAILABLE
    if not judges or (was_complete and status.get("replicas", 0) == status.get("updatedReplicas", 0)):
        return conditions
    what = f'ReplicaSet "{name(new)}"' if new is not None else f'Deployment "{name(deployment)}"'
    if is_complete(deployment, status):
        message = f"{what} has successfully progressed."
        return with_condition(conditions, "Progressing", "True", NEW_AVAILABLE, message, now)
    if _has_progressed(deployment.get("status") or {}, status):
        message = f"{what} is progressing."
        return with_condition(
            conditions, "Progressing", "True", "ReplicaSetUpdated", message, now, renew=True
        )
    if _is_late(deployment, current, now):
        message = f"{what} has timed out progressing."
        return with_condition(conditions, "Progressing", "False", TIMED_OUT, message, now)
    return conditions


def _pause_changed(deployment: Object, current: Object | None) -> tuple[str, str] | None:
    """Return reason and message when the Deployment was paused or resumed since the last status."""
    reason = current.get("reason") if current is not None else None
    if reason == TIMED_OUT:
        return None
    if deployment["spec"].get("paused") and reason != PAUSED:
        return PAUSED, "Deployment is paused"
    if not deployment["spec"].get("paused") and reason == PAUSED:
        return "DeploymentResumed", "Deployment is resumed"
    return None


def _has_progressed(before: Object, after: Object) -> bool:
    def old_replicas(status: Object) -> int:
        return int(status.get("replicas", 0)) - int(status.get("updatedReplicas", 0))

    grown = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return old_replicas(after) < old_replicas(before) or any(
        after.get(field, 0) > before.get(field, 0) for field in grown
    )


def _is_late(deployment: Object, progressing: Object | None, now: float) -> bool:
    if progressing is None or progressing.get("reason") == NEW_AVAILABLE:
        return False
    if progressing.get("reason") == TIMED_OUT:
        return True
    since = parse_time(progressing["lastUpdateTime"])
    return since + int(deployment["spec"]["progressDeadlineSeconds"]) < now


def _with_failures(
    conditions: list[Object], new: Object | None, everything: Iterable[Object]
) -> list[Object]:
    """Take over the new ReplicaSet's ReplicaFailure, or else that of any other."""
    others = [c for c in conditions if c["type"] != "ReplicaFailure"]
    for rs in [*([new] if new is not None else []), *everything]:
        failure = find_condition(rs, "ReplicaFailure")
        if failure is not None:
            return [*others, {**failure, "lastUpdateTime": failure["lastTransitionTime"]}]
    return others


def with_condition(
    conditions: Sequence[Object],
    type: str,
    status: str,
    reason: str,
    message: str,
    now: float,
    *,
    renew: bool = False,
) -> list[Object]:
    """Return the conditions with one set. Of the same status and reason it stays as it is, unless `renew`."""
    current = _find(conditions, type)
    if current is not None and not renew and (current["status"], current.get("reason")) == (status, reason):
        return list(conditions)
    same_status = current is not None and current["status"] == status
    condition = {
        "type": type,
        "status": status,
        "lastUpdateTime": format_time(now),
        "lastTransitionTime": current["lastTransitionTime"]
        if current is not None and same_status
        else format_time(now),
        "reason": reason,
        "message": message,
    }
    return [*(c for c in conditions if c["type"] != type), condition]


def _find(conditions: Iterable[Object], type: str) -> Object | None:
    return next((condition for condition in conditions if condition["type"] == type), None)


def _sum(replica_sets: Iterable[Object], field: str) -> int:
    return sum((rs.get("status") or {}).get(field, 0) for rs in replica_sets)
