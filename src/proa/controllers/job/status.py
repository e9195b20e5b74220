"""Write a Job's status: counts, indexes, and conditions in the order in which they came true.

Follows upstream's pkg/controller/job/job_controller.go (syncJob, enactJobFinished).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.client.protocol import Object
from proa.controllers.job.indexes import is_indexed
from proa.controllers.job.outcome import ENDS, SUCCESS, Outcome, is_suspended
from proa.controllers.job.plan import Plan
from proa.controllers.job.tally import Tally, Tracked, active_pods, terminating_pods
from proa.objects import meta
from proa.objects.pods import is_ready


def status_of(
    job: Object, pods: Sequence[Object], counted: Tally, tracked: Tracked, decided: Plan, now: float
) -> Object:
    """Return the status that follows; `pods` are those after `decided` was carried out."""
    before = job.get("status") or {}
    active = active_pods(pods)
    status: dict[str, Any] = {
        **{key: before[key] for key in ("startTime", "completionTime") if key in before},
        "ready": sum(map(is_ready, active)),
        "terminating": len(terminating_pods(pods)),
        "uncountedTerminatedPods": {
            name: list(uids)
            for name, uids in (
                ("succeeded", tracked.uncounted_succeeded),
                ("failed", tracked.uncounted_failed),
            )
            if uids
        },
    }
    numbers = {
        "active": len(active),
        "succeeded": tracked.counted_succeeded,
        "failed": tracked.counted_failed,
    }
    status |= {key: number for key, number in numbers.items() if number}
    if is_indexed(job) and tracked.completed.ranges:
        status["completedIndexes"] = tracked.completed.text()
    if counted.failed_indexes is not None:
        status["failedIndexes"] = counted.failed_indexes.text()
    if not is_suspended(job):
        status.setdefault("startTime", meta.format_time(now))
    conditions = list(before.get("conditions") or [])
    if decided.outcome is not None:
        is_over = not active and not status["terminating"] and tracked.is_settled
        _end(job, status, conditions, decided.outcome, now, is_over=is_over)
    elif decided.is_managed:
        _suspend_or_resume(job, status, conditions, now)
    return {**status, "conditions": conditions} if conditions else status


def _end(
    job: Object,
    status: dict[str, Any],
    conditions: list[Object],
    outcome: Outcome,
    now: float,
    *,
    is_over: bool,
) -> None:
    """Say how the Job will end and, a step later, that it has."""
    if job["spec"].get("completions") != 0:
        status.setdefault("startTime", meta.format_time(now))  # what ended has begun
    if not meta.has_condition(job, outcome.type):
        conditions.append(_condition(*outcome, now))
    elif is_over:
        _set(conditions, _condition(ENDS[outcome.type], outcome.reason, outcome.message, now))
        if outcome.type == SUCCESS:
            status["completionTime"] = meta.format_time(now)


def _suspend_or_resume(job: Object, status: dict[str, Any], conditions: list[Object], now: float) -> None:
    """Set or clear the start time; note a suspension and its end in the condition Suspended."""
    is_noted = any(condition["type"] == "Suspended" for condition in conditions)
    if is_suspended(job):
        status.pop("startTime", None)
        _set(conditions, _condition("Suspended", "JobSuspended", "Job suspended", now))
    elif is_noted:
        resumed = _condition("Suspended", "JobResumed", "Job resumed", now, status="False")
        if _set(conditions, resumed):
            status["startTime"] = meta.format_time(now)


def _set(conditions: list[Object], condition: Object) -> bool:
    """Put a condition in place of the one of its type, unless that says the same; tell whether it was put."""
    said = ("status", "reason", "message")
    for index, existing in enumerate(conditions):
        if existing["type"] == condition["type"]:
            if [existing.get(key) for key in said] == [condition[key] for key in said]:
                return False
            conditions[index] = condition
            return True
    conditions.append(condition)
    return True


def _condition(type: str, reason: str, message: str, now: float, status: str = "True") -> Object:
    return {
        "type": type,
        "status": status,
        "lastProbeTime": meta.format_time(now),
        "lastTransitionTime": meta.format_time(now),
        "reason": reason,
        "message": message,
    }
