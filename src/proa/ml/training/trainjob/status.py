"""A TrainJob's status: what its JobSet says, whether it rests, what keeps it from going on, and its deadline.

Pure. Follows pkg/controller/trainjob_controller.go and the plugin jobset of kubeflow/trainer. `Stalled` is ours: there
for as long as something keeps pods from being made, placed or started. While all is well there is no condition, by
which kubeflow's SDK tells that a TrainJob is running.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.training.failures import last_words, why_it_failed
from proa.ml.training.trainjob.words import COMPLETE, FAILED, STALLED, SUSPENDED, is_suspended
from proa.objects import meta

_COUNTS = ("active", "failed", "ready", "succeeded", "suspended")
_WAITING = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 1.0, 5.0
DEADLINE_MESSAGE = "TrainJob exceeded its active deadline"


class Problem(NamedTuple):
    """What keeps a TrainJob from going on; `is_final` where waiting cannot help."""

    reason: str
    message: str
    is_final: bool = False


class Seen(NamedTuple):
    """What a TrainJob's status is made from."""

    jobset: Object | None
    pods: Iterable[Object] = ()
    problem: Problem | None = None


def make_status(trainjob: Object, seen: Seen, now: float) -> Object:
    """Return the status."""
    status = dict(trainjob.get("status") or {})
    conditions = [entry for entry in status.get("conditions") or () if entry["type"] != STALLED]
    if is_suspended(trainjob):
        conditions = meta.with_condition(
            conditions, SUSPENDED, "True", "Suspended", "TrainJob is suspended", now
        )
    elif any(entry["type"] == SUSPENDED and entry["status"] == "True" for entry in conditions):
        conditions = meta.with_condition(
            conditions, SUSPENDED, "False", "Resumed", "TrainJob is resumed", now
        )
    if seen.jobset is not None:
        status["jobsStatus"] = [
            {"name": entry["name"], **{key: entry[key] for key in _COUNTS}}
            for entry in (seen.jobset.get("status") or {}).get("replicatedJobsStatus") or ()
        ]
        conditions = _with_end(conditions, seen, now)
    problem = None if _has_end(conditions) else seen.problem or _find_problem(seen)
    if problem is None and seconds_left({**trainjob, "status": {"conditions": conditions}}, now) == 0.0:
        problem = Problem("DeadlineExceeded", DEADLINE_MESSAGE, is_final=True)
    if problem is not None:
        type = FAILED if problem.is_final else STALLED
        before = trainjob.get("status") or {}
        conditions = _kept_since(
            before, meta.with_condition(conditions, type, "True", problem.reason, problem.message, now)
        )
    return {**status, "conditions": conditions}


def seconds_left(trainjob: Object, now: float) -> float | None:
    """Return how long it may still run, 0 if no longer; None where it may for ever, rests or has ended."""
    deadline = trainjob["spec"].get("activeDeadlineSeconds")
    if (
        not deadline
        or is_suspended(trainjob)
        or _has_end((trainjob.get("status") or {}).get("conditions") or ())
    ):
        return None
    resumed = meta.find_condition(trainjob, SUSPENDED)
    since = trainjob["metadata"]["creationTimestamp"]
    if resumed is not None and resumed["status"] == "False":
        since = resumed["lastTransitionTime"]
    return max(0.0, meta.parse_time(since) + float(deadline) - now)


def seconds_to_wait(status: Object, now: float) -> float | None:
    """Return when to try again what stalls: as long as it has, within bounds; None where nothing does."""
    for entry in status["conditions"]:
        if entry["type"] == STALLED:
            since = meta.parse_time(entry["lastTransitionTime"])
            return min(max(now - since, FIRST_WAIT_SECONDS), LAST_WAIT_SECONDS)
    return None


def _has_end(conditions: Iterable[Object]) -> bool:
    return any(entry["type"] in (COMPLETE, FAILED) and entry["status"] == "True" for entry in conditions)


def _with_end(conditions: list[Object], seen: Seen, now: float) -> list[Object]:
    assert seen.jobset is not None
    for theirs, ours in (("Completed", COMPLETE), ("Failed", FAILED)):
        end = meta.find_condition(seen.jobset, theirs)
        if end is not None and end["status"] == "True":
            message = end["message"]
            if theirs == "Failed" and (why := why_it_failed(seen.pods)) and why not in message:
                message = f"{message}: {why}"
            conditions = meta.with_condition(conditions, ours, "True", end["reason"], message, now)
    return conditions


def _kept_since(before: Object, conditions: list[Object]) -> list[Object]:
    """Return the conditions; one that was so before keeps its time."""
    times = {
        entry["type"]: entry["lastTransitionTime"]
        for entry in before.get("conditions") or ()
        if entry["status"] == "True"
    }
    return [
        {**entry, "lastTransitionTime": times.get(entry["type"], entry["lastTransitionTime"])}
        if entry["type"] == STALLED
        else entry
        for entry in conditions
    ]


def _find_problem(seen: Seen) -> Problem | None:
    if seen.jobset is not None:
        stalled = meta.find_condition(seen.jobset, STALLED)
        if stalled is not None and stalled["status"] == "True":
            return Problem(stalled["reason"], stalled["message"])
    problems = [
        problem for pod in sorted(seen.pods, key=meta.name) if (problem := _problem_of(pod)) is not None
    ]
    return min(problems, key=_is_of_another, default=None)


def _is_of_another(problem: Problem) -> bool:
    """Tell whether it is only that the rest of a gang has no place."""
    return "PodGroup" in problem.message


def _problem_of(pod: Object) -> Problem | None:
    """Return what keeps a pod from being placed or started, or from going on."""
    status = pod.get("status") or {}
    if status.get("phase") not in ("Pending", "Running") or meta.is_deleting(pod):
        return None
    placed = meta.find_condition(pod, "PodScheduled") or {}
    if placed.get("status") == "False" and placed.get("reason") == "Unschedulable":
        return Problem("Unschedulable", f"Pod {meta.name(pod)} cannot be placed: {placed.get('message', '')}")
    for key in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(key) or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _WAITING:
                return Problem(
                    waiting["reason"],
                    f"container {container['name']} of Pod {meta.name(pod)} cannot start: {waiting.get('message', '')}",
                )
            if waiting.get("reason") == "CrashLoopBackOff":
                ended = (container.get("lastState") or {}).get("terminated") or {}
                return Problem(
                    waiting["reason"],
                    f"container {container['name']} of Pod {meta.name(pod)} ends with exit code "
                    f"{ended.get('exitCode')} and is started again, ever later{last_words(ended)}",
                )
    return None
