"""Decide whether a Job has finished, and else which pods it lacks or has too many of.

A Job ends in two steps: SuccessCriteriaMet or FailureTarget says how it will end, and once no pod of it runs
any more, Complete or Failed says that it has. Follows upstream's pkg/controller/job/job_controller.go
(syncJob, manageJob) and backoff_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.controllers.job.indexes import format_indexes, index_of, is_indexed, pending_indexes
from proa.controllers.job.policies import failure_message, success_message
from proa.controllers.job.tally import Tally, active_pods, replaces_failed_only, terminating_pods
from proa.objects import meta
from proa.objects.pods import is_ready, is_terminated, phase
from proa.reconcile.pod_control import rank_for_deletion

MAX_PODS_AT_ONCE = 500
FIRST_BACK_OFF_SECONDS = 10.0
MAX_BACK_OFF_SECONDS = 600.0
COMPLETIONS_REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")
_ENDS = {"SuccessCriteriaMet": "Complete", "FailureTarget": "Failed"}


class Plan(NamedTuple):
    """`create` has an index (or None) for each pod; `delete` go uncounted; `kill` count as failed.

    `target` is (condition type, reason, message) of how the Job will end, once that is known.
    """

    create: tuple[int | None, ...] = ()
    delete: tuple[Object, ...] = ()
    kill: tuple[Object, ...] = ()
    target: tuple[str, str, str] | None = None
    requeue_after: float = 0.0


def is_finished(job: Object) -> bool:
    """Return whether the Job has ended for good."""
    return meta.has_condition(job, "Complete") or meta.has_condition(job, "Failed")


def unsupported_field(job: Object) -> str:
    """Return the first field that the Job sets and that is not carried out, "" when there is none."""
    spec = job["spec"]
    for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
        if spec.get(field) is not None:
            return f"spec.{field}"
    return ""


def is_suspended(job: Object) -> bool:
    """Return whether the Job shall have no pods for now."""
    return bool(job["spec"].get("suspend"))


def plan(job: Object, pods: Sequence[Object], counted: Tally, now: float) -> Plan:
    """Decide the next step for a Job that is not finished."""
    active = active_pods(pods)
    target = _target(job, pods, counted, now)
    if target is not None and target[0] == "FailureTarget":
        return Plan(kill=tuple(active), target=target)
    if target is not None:
        return Plan(delete=tuple(active), target=target)
    if meta.is_deleting(job):
        return Plan()
    if is_suspended(job):
        return Plan(delete=tuple(active))
    deadline = _seconds_until_deadline(job, now)
    surplus = len(active) - _wanted_active(job, counted, len(active))
    doomed = _doomed(job, active, counted, surplus, now)
    if doomed:
        return Plan(delete=tuple(doomed[:MAX_PODS_AT_ONCE]), requeue_after=deadline)
    missing = -surplus
    if replaces_failed_only(job):
        missing -= len(terminating_pods(pods))
    if missing <= 0:
        return Plan(requeue_after=deadline)
    wait = seconds_of_back_off(pods, now)
    if wait > 0:
        return Plan(requeue_after=min(wait, deadline or wait))
    return Plan(create=_to_create(job, pods, counted, missing), requeue_after=deadline)


def _target(job: Object, pods: Sequence[Object], counted: Tally, now: float) -> tuple[str, str, str] | None:
    for type in _ENDS:
        decided = meta.find_condition(job, type)
        if decided is not None and decided.get("status") == "True":
            return type, decided.get("reason", ""), decided.get("message", "")
    if message := failure_message(job, pods):
        return "FailureTarget", "PodFailurePolicy", message
    limit = job["spec"].get("backoffLimit", 6)
    if counted.failed > limit or _restarts_exceed(job, pods, limit):
        message = "Job has reached the specified backoff limit"
        return "FailureTarget", "BackoffLimitExceeded", message
    start = (job.get("status") or {}).get("startTime")
    if start and not is_suspended(job) and _is_past_deadline(job, start, now):
        return "FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline"
    if message := success_message(job, counted.completed_indexes):
        return "SuccessCriteriaMet", "SuccessPolicy", message
    if _has_succeeded(job, pods, counted):
        return "SuccessCriteriaMet", *COMPLETIONS_REACHED
    return None


def _has_succeeded(job: Object, pods: Sequence[Object], counted: Tally) -> bool:
    completions = job["spec"].get("completions")
    if completions is None:  # a work queue: the first success means that the work is done
        return counted.succeeded > 0 and not active_pods(pods)
    return counted.succeeded >= int(completions)


def _restarts_exceed(job: Object, pods: Iterable[Object], limit: int) -> bool:
    """Return whether pods that restart in place (OnFailure) have done so too often together."""
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    restarts: int = sum(
        container.get("restartCount", 0)
        for pod in pods
        if phase(pod) in ("Running", "Pending")
        for group in ("initContainerStatuses", "containerStatuses")
        for container in (pod.get("status") or {}).get(group) or ()
    )
    return restarts > 0 if limit == 0 else restarts >= limit


def _is_past_deadline(job: Object, start: str, now: float) -> bool:
    seconds = job["spec"].get("activeDeadlineSeconds")
    return bool(seconds is not None and meta.parse_time(start) + seconds <= now)


def _seconds_until_deadline(job: Object, now: float) -> float:
    """Return the time left; a Job that has not begun begins now. 0 without a deadline."""
    seconds = job["spec"].get("activeDeadlineSeconds")
    if seconds is None:
        return 0.0
    start = (job.get("status") or {}).get("startTime")
    return max((meta.parse_time(start) if start else now) + float(seconds) - now, 0.001)


def _wanted_active(job: Object, counted: Tally, active: int) -> int:
    parallelism = int(job["spec"].get("parallelism", 1))
    completions = job["spec"].get("completions")
    if completions is None:
        return active if counted.succeeded > 0 else parallelism
    return max(0, min(int(completions) - counted.succeeded, parallelism))


def _doomed(job: Object, active: Sequence[Object], counted: Tally, surplus: int, now: float) -> list[Object]:
    """Return the active pods that must go: of an Indexed Job first those whose index is done or taken."""
    useless: list[Object] = []
    if is_indexed(job):
        taken = set(counted.completed_indexes)
        for pod in sorted(active, key=lambda pod: pod["metadata"].get("creationTimestamp", "")):
            index = index_of(pod)
            if index is None or index >= (job["spec"].get("completions") or 0) or index in taken:
                useless.append(pod)
            else:
                taken.add(index)
    spared = {meta.uid(pod) for pod in useless}
    others = rank_for_deletion([pod for pod in active if meta.uid(pod) not in spared], {}, now)
    return [*useless, *others[: max(0, surplus - len(useless))]]


def _to_create(job: Object, pods: Sequence[Object], counted: Tally, missing: int) -> tuple[int | None, ...]:
    count = min(missing, MAX_PODS_AT_ONCE)
    if not is_indexed(job):
        return (None,) * count
    completions = int(job["spec"].get("completions") or 0)
    return tuple(pending_indexes(completions, count, set(counted.completed_indexes), pods))


def seconds_of_back_off(pods: Iterable[Object], now: float) -> float:
    """Return how long to wait before another pod is tried: 10 s, doubled for each failure since a success."""
    ends = sorted((_finish_time(pod), phase(pod) == "Succeeded") for pod in pods if _has_ended(pod))
    failures = 0
    for _, has_succeeded in ends:
        failures = 0 if has_succeeded else failures + 1
    if failures == 0:
        return 0.0
    wait = min(FIRST_BACK_OFF_SECONDS * 2.0 ** min(failures - 1, 10), MAX_BACK_OFF_SECONDS)
    return max(0.0, ends[-1][0] + wait - now)


def _has_ended(pod: Object) -> bool:
    return is_terminated(pod) and bool(_finish_time(pod))


def _finish_time(pod: Object) -> float:
    """Return when its last container ended, or else when it was deleted or ceased to be ready; 0: unknown."""
    status = pod.get("status") or {}
    ends: list[str] = [
        ((container.get("state") or {}).get("terminated") or {}).get("finishedAt") or ""
        for container in status.get("containerStatuses") or ()
    ]
    if ends and all(ends):
        return max(map(meta.parse_time, ends))
    ready = meta.find_condition(pod, "Ready")
    moment = pod["metadata"].get("deletionTimestamp") or (ready or {}).get("lastTransitionTime")
    return meta.parse_time(moment) if moment else 0.0


def status_of(job: Object, pods: Sequence[Object], counted: Tally, decided: Plan, now: float) -> Object:
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
                ("succeeded", counted.uncounted_succeeded),
                ("failed", counted.uncounted_failed),
            )
            if uids
        },
    }
    numbers = {
        "active": len(active),
        "succeeded": counted.counted_succeeded,
        "failed": counted.counted_failed,
    }
    status |= {key: number for key, number in numbers.items() if number}
    if is_indexed(job) and counted.completed_indexes:
        status["completedIndexes"] = format_indexes(counted.completed_indexes)
    conditions = list(before.get("conditions") or [])
    _begin_or_suspend(job, status, conditions, now)
    if decided.target is not None:
        status.setdefault(
            "startTime", before.get("startTime") or meta.format_time(now)
        )  # what ended has begun
        type, reason, message = decided.target
        if meta.find_condition(job, type) is None:
            conditions.append(_condition(type, reason, message, now))
        elif not active and not status["terminating"] and counted.is_settled:
            conditions.append(_condition(_ENDS[type], reason, message, now))
            if type == "SuccessCriteriaMet":
                status["completionTime"] = meta.format_time(now)
    return {**status, "conditions": conditions} if conditions else status


def _begin_or_suspend(job: Object, status: dict[str, Any], conditions: list[Object], now: float) -> None:
    """Set or clear the start time; note a suspension and its end in the condition Suspended."""
    index = next((i for i, c in enumerate(conditions) if c["type"] == "Suspended"), None)
    was_suspended = index is not None and conditions[index]["status"] == "True"
    if is_suspended(job):
        status.pop("startTime", None)
        noted = _condition("Suspended", "JobSuspended", "Job suspended", now)
        if index is None:
            conditions.append(noted)
        elif not was_suspended:
            conditions[index] = noted
    elif was_suspended and index is not None:
        status["startTime"] = meta.format_time(now)
        conditions[index] = _condition("Suspended", "JobResumed", "Job resumed", now, status="False")
    elif "startTime" not in status:
        status["startTime"] = meta.format_time(now)


def _condition(type: str, reason: str, message: str, now: float, status: str = "True") -> Object:
    return {
        "type": type,
        "status": status,
        "lastProbeTime": meta.format_time(now),
        "lastTransitionTime": meta.format_time(now),
        "reason": reason,
        "message": message,
    }
