"""Decide how a Job will end, once that is known: the condition, its reason and its message.

A Job ends in two steps: SuccessCriteriaMet or FailureTarget says how it will end, and once no pod of it runs
any more, Complete or Failed says that it has. Follows upstream's pkg/controller/job/job_controller.go (syncJob).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.controllers.job.indexes import completions_of, has_limit_per_index, is_indexed
from proa.controllers.job.policies import failure_message, success_message
from proa.controllers.job.tally import Tally, has_failed
from proa.objects import meta
from proa.objects.pods import phase

FAILURE, SUCCESS = "FailureTarget", "SuccessCriteriaMet"
ENDS = {SUCCESS: "Complete", FAILURE: "Failed"}


class Outcome(NamedTuple):
    """A condition: its type is FAILURE or SUCCESS."""

    type: str
    reason: str
    message: str


REACHED = Outcome(SUCCESS, "CompletionsReached", "Reached expected number of succeeded pods")


def is_finished(job: Object) -> bool:
    """Tell whether the Job has ended for good."""
    return meta.has_condition(job, "Complete") or meta.has_condition(job, "Failed")


def is_suspended(job: Object) -> bool:
    """Tell whether the Job shall have no pods for now."""
    return bool(job["spec"].get("suspend"))


def find_outcome(job: Object, pods: Sequence[Object], counted: Tally, now: float) -> Outcome | None:
    """Return how the Job will end for another reason than that all its work is done."""
    for type in ENDS:
        decided = meta.find_condition(job, type)
        if decided is not None and decided.get("status") == "True":
            return Outcome(type, decided.get("reason", ""), decided.get("message", ""))
    if message := failure_message(job, (pod for pod in pods if has_failed(job, pod))):
        return Outcome(FAILURE, "PodFailurePolicy", message)
    limit = job["spec"].get("backoffLimit", 6)
    if counted.failed > limit or _restarts_exceed(job, pods, limit):
        return Outcome(FAILURE, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if _is_past_deadline(job, now):
        return Outcome(FAILURE, "DeadlineExceeded", "Job was active longer than specified deadline")
    if failed := _failed_indexes(job, counted):
        return failed
    if is_indexed(job) and (message := success_message(job, counted.completed)):
        return Outcome(SUCCESS, "SuccessPolicy", message)
    return None


def has_reached_completions(job: Object, counted: Tally, active: int) -> bool:
    """Tell whether all the work is done, with so many pods running.

    Without a number of completions the first success means so: a work queue is empty then.
    """
    if active:
        return False
    completions = job["spec"].get("completions")
    return counted.succeeded > 0 if completions is None else counted.succeeded >= int(completions)


def _failed_indexes(job: Object, counted: Tally) -> Outcome | None:
    if not has_limit_per_index(job) or counted.failed_indexes is None:
        return None
    failed, most = counted.failed_indexes.total(), job["spec"].get("maxFailedIndexes")
    if most is not None and failed > most:
        message = "Job has exceeded the specified maximal number of failed indexes"
        return Outcome(FAILURE, "MaxFailedIndexesExceeded", message)
    if failed and failed + counted.completed.total() >= completions_of(job):
        return Outcome(FAILURE, "FailedIndexes", "Job has failed indexes")
    return None


def _restarts_exceed(job: Object, pods: Iterable[Object], limit: int) -> bool:
    """Tell whether pods that restart in place (OnFailure) have done so too often together."""
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


def _is_past_deadline(job: Object, now: float) -> bool:
    seconds = job["spec"].get("activeDeadlineSeconds")
    start = (job.get("status") or {}).get("startTime")
    if seconds is None or not start or is_suspended(job):
        return False
    return meta.parse_time(start) + float(seconds) <= now


def seconds_until_deadline(job: Object, now: float) -> float:
    """Return the time left; a Job that has not begun begins now. 0 without a deadline, or while suspended."""
    seconds = job["spec"].get("activeDeadlineSeconds")
    if seconds is None or is_suspended(job):
        return 0.0
    start = (job.get("status") or {}).get("startTime")
    return max((meta.parse_time(start) if start else now) + float(seconds) - now, 0.001)
