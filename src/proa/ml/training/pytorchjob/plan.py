"""Decide what a PyTorchJob needs next: pods and Services to make and delete, its status, and when to look again.

Pure. Source: ReconcileJobs of pkg/controller.v1/common/job.go, ReconcilePods of pod.go there, UpdateJobStatus of
pkg/controller.v1/pytorch/pytorchjob_controller.go of kubeflow/training-operator 1.9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.ml.definitions import covers
from proa.ml.training.pytorchjob import conditions
from proa.ml.training.pytorchjob.autoscaler import make_autoscaler
from proa.ml.training.pytorchjob.gang import is_gang, make_pod_group
from proa.ml.training.pytorchjob.members import make_pod, make_service
from proa.ml.training.pytorchjob.outcome import Outcome, limit_reached, outcome_of
from proa.ml.training.pytorchjob.roles import Role, is_suspended, roles_of, run_policy
from proa.ml.training.pytorchjob.tally import Members, count, is_retried, make_status, members_of
from proa.ml.training.pytorchjob.troubles import Note, ends_of, notes_on, why_waiting
from proa.ml.training.pytorchjob.words import CONTAINER, Condition, Reason
from proa.objects import meta
from proa.objects.pods import is_terminated, node_name, phase


class Snapshot(NamedTuple):
    """A job and all that it owns."""

    job: Object
    pods: Sequence[Object]
    services: Sequence[Object]
    autoscaler: Object | None = None


class Plan(NamedTuple):
    """What to do, in this order; `status` (None: as it is) is written when all of it is done."""

    delete_pods: Sequence[Object] = ()
    delete_services: Sequence[Object] = ()
    delete_group: bool = False
    group: Object | None = None
    create_services: Sequence[Object] = ()
    create_pods: Sequence[Object] = ()
    autoscaler: Object | None = None
    """To be made, or to be changed to this."""
    delete_autoscaler: bool = False
    notes: Sequence[Note] = ()
    status: Object | None = None
    delete_job: bool = False
    requeue_after: float = 0.0


def plan(seen: Snapshot, now: float) -> Plan:
    """Decide for one job."""
    status = seen.job.get("status") or {}
    if conditions.is_finished(status.get("conditions") or ()):
        decided = _after_the_end(seen, now)
    elif is_suspended(seen.job):
        decided = _suspend(seen, now)
    else:
        decided = _go_on(seen, now)
    if decided.status is None or decided.status == status:
        return decided._replace(status=None)
    return decided._replace(status={**decided.status, "lastReconcileTime": meta.format_time(now)})


def _after_the_end(seen: Snapshot, now: float) -> Plan:
    """Clean up as the run policy says, and delete the job when its time is over."""
    policy, status = run_policy(seen.job), seen.job["status"]
    wait = _seconds_to_live(policy, status, now)
    if wait is not None and wait <= 0:
        return Plan(delete_job=True)
    pods, services = _to_clean_up(seen, policy.get("cleanPodPolicy") or "None")
    if conditions.is_true(status["conditions"], Condition.SUCCEEDED):
        status = {**status, "replicaStatuses": _all_succeeded(status.get("replicaStatuses") or {})}
    return Plan(
        delete_pods=_still_there(pods),
        delete_services=_still_there(services),
        delete_autoscaler=seen.autoscaler is not None,
        status=status,
        requeue_after=wait or 0.0,
    )


def _to_clean_up(seen: Snapshot, policy: str) -> tuple[list[Object], list[Object]]:
    """Return the pods that go, and the Services, each of which goes with its pod."""
    if policy == "None":
        return [], []
    kept = [pod for pod in seen.pods if policy == "Running" and is_terminated(pod)]
    names = {meta.name(pod) for pod in kept}
    gone = [pod for pod in seen.pods if meta.name(pod) not in names]
    return gone, [one for one in seen.services if meta.name(one) not in names]


def _suspend(seen: Snapshot, now: float) -> Plan:
    """Have no pods; that they are gone, and no more, is said at once."""
    job, status = seen.job, _begun(seen.job, now)
    name = meta.name(job)
    message = f"PyTorchJob {name} is suspended."
    found = status["conditions"]
    if conditions.is_true(found, Condition.RUNNING):
        found = conditions.with_condition(found, Condition.RUNNING, "False", Reason.SUSPENDED, message, now)
    suspended = conditions.with_condition(found, Condition.SUSPENDED, "True", Reason.SUSPENDED, message, now)
    is_new = not conditions.is_true(found, Condition.SUSPENDED)
    return Plan(
        delete_pods=_still_there(seen.pods),
        delete_services=_still_there(seen.services),
        delete_group=is_gang(job) and is_new,
        delete_autoscaler=seen.autoscaler is not None,
        notes=[Note("Normal", Reason.SUSPENDED, message)] if is_new else (),
        status={
            **status,
            "conditions": suspended,
            "replicaStatuses": _without_active(status.get("replicaStatuses") or {}),
        },
    )


def _go_on(seen: Snapshot, now: float) -> Plan:
    job, status = seen.job, _begun(seen.job, now)
    notes = [*notes_on(seen.pods), *ends_of(seen.pods, CONTAINER)]
    if conditions.is_true(status["conditions"], Condition.SUSPENDED):
        status, note = _resumed(job, status, now)
        notes.append(note)
    status.setdefault("startTime", meta.format_time(now))
    roles = [(role, members_of(role, seen.pods)) for role in roles_of(job)]
    failed = limit_reached(job, status, roles, now)
    if failed:
        return _fail(seen, status, failed, now)._replace(
            notes=[*notes, Note("Normal", Reason.FAILED, failed)]
        )
    outcome = outcome_of(job, status["conditions"], roles, now)
    retried = [
        pod
        for role, members in roles
        for pod in members.by_index.values()
        if phase(pod) == "Failed" and is_retried(role, pod) and not meta.is_deleting(pod)
    ]
    status = _with_outcome(job, status, roles, outcome, len(retried), now)
    return _carry_on(seen, roles, outcome, retried)._replace(
        notes=[*notes, *outcome.notes], status=status, requeue_after=_until_deadline(job, status, now)
    )


def _carry_on(
    seen: Snapshot, roles: Sequence[tuple[Role, Members]], outcome: Outcome, retried: Sequence[Object]
) -> Plan:
    """Make what is missing and take away what is too many, unless the job has just ended."""
    if conditions.is_finished(outcome.conditions):
        return Plan(delete_group=is_gang(seen.job))
    job = seen.job
    services = {role.name: members_of(role, seen.services) for role, _ in roles}
    create_pods = [
        make_pod(job, role, index)
        for role, members in roles
        for index in range(role.replicas)
        if index not in members.by_index
    ]
    create_services = [
        make_service(job, role, index)
        for role, _ in roles
        for index in range(role.replicas)
        if index not in services[role.name].by_index
    ]
    surplus = [pod for _, members in roles for pod in members.surplus]
    waits = any(phase(pod) == "Pending" and not node_name(pod) for pod in seen.pods)
    wanted = make_autoscaler(job)
    is_right = (
        seen.autoscaler is not None and wanted is not None and covers(seen.autoscaler["spec"], wanted["spec"])
    )
    return Plan(
        delete_pods=_still_there([*retried, *surplus]),
        delete_services=_still_there([one for found in services.values() for one in found.surplus]),
        group=make_pod_group(job) if is_gang(job) and (create_pods or waits) else None,
        create_services=create_services,
        create_pods=create_pods,
        autoscaler=None if is_right else wanted,
        delete_autoscaler=wanted is None and seen.autoscaler is not None,
    )


def _fail(seen: Snapshot, status: Object, message: str, now: float) -> Plan:
    """End the job because of what the run policy does not allow: all pods go, whatever else it says."""
    found = conditions.with_condition(
        status["conditions"], Condition.FAILED, "True", Reason.FAILED, message, now
    )
    return Plan(
        delete_pods=_still_there(seen.pods),
        delete_services=_still_there(seen.services),
        delete_group=is_gang(seen.job),
        delete_autoscaler=seen.autoscaler is not None,
        status={
            **status,
            "conditions": found,
            "completionTime": status.get("completionTime") or meta.format_time(now),
            "replicaStatuses": _without_active(status.get("replicaStatuses") or {}),
        },
    )


def refused(seen: Snapshot, status: Object | None, message: str, now: float) -> Plan:
    """Decide for a job whose pods the API server will never take: it says why."""
    before = {**_begun(seen.job, now), **(status or {})}
    before.setdefault("startTime", meta.format_time(now))
    return _fail(seen, before, message, now)._replace(notes=[Note("Warning", Reason.FAILED, message)])


def stalled(job: Object, why: str, now: float) -> Object | None:
    """Return the status of a job for which something could not be done for now; None where it says so already."""
    status = _begun(job, now)
    message = f"PyTorchJob {meta.name(job)} is created. {why}"
    status["conditions"] = conditions.with_message(status["conditions"], Condition.CREATED, message, now)
    return None if status == job.get("status") else status


def _begun(job: Object, now: float) -> dict[str, Any]:
    """Return a copy of the status that says at least that the job was seen."""
    status = job.get("status") or {}
    message = f"PyTorchJob {meta.name(job)} is created."
    found = status.get("conditions") or ()
    if not any(one.get("type") == Condition.CREATED for one in found):
        found = conditions.with_condition(found, Condition.CREATED, "True", Reason.CREATED, message, now)
    return {**status, "conditions": list(found)}


def _resumed(job: Object, status: dict[str, Any], now: float) -> tuple[dict[str, Any], Note]:
    message = f"PyTorchJob {meta.name(job)} is resumed."
    found = conditions.with_condition(
        status["conditions"], Condition.SUSPENDED, "False", Reason.RESUMED, message, now
    )
    return {**status, "conditions": found, "startTime": meta.format_time(now)}, Note(
        "Normal", Reason.RESUMED, message
    )


def _with_outcome(
    job: Object,
    status: dict[str, Any],
    roles: Sequence[tuple[Role, Members]],
    outcome: Outcome,
    replaced: int,
    now: float,
) -> dict[str, Any]:
    found = {role.name: make_status(job, role, count(members.by_index.values())) for role, members in roles}
    status = {**status, "conditions": outcome.conditions, "replicaStatuses": found}
    if conditions.is_finished(outcome.conditions):
        return {**status, "completionTime": status.get("completionTime") or meta.format_time(now)}
    if replaced:
        status["restarts"] = status.get("restarts", 0) + replaced
    why = why_waiting([pod for _, members in roles for pod in members.by_index.values()])
    message = f"PyTorchJob {meta.name(job)} is created." + (f" {why}" if why else "")
    status["conditions"] = conditions.with_message(status["conditions"], Condition.CREATED, message, now)
    return status


def _seconds_to_live(policy: Mapping[str, Any], status: Object, now: float) -> float | None:
    """Return how long a job that has ended is kept; None for as long as nobody deletes it."""
    seconds: int | None = policy.get("ttlSecondsAfterFinished")
    if seconds is None:
        return None
    ended = status.get("completionTime")
    return meta.parse_time(ended) + seconds - now if ended else 0.0


def _until_deadline(job: Object, status: Object, now: float) -> float:
    seconds: int | None = run_policy(job).get("activeDeadlineSeconds")
    if seconds is None or conditions.is_finished(status["conditions"]):
        return 0.0
    return max(meta.parse_time(status["startTime"]) + seconds - now, 0.001)


def _all_succeeded(found: Mapping[str, Object]) -> dict[str, Object]:
    """Return the counts with those that were active among the succeeded: their pods may be gone."""
    return {
        name: {
            **{key: value for key, value in one.items() if key != "active"},
            **({"succeeded": one.get("succeeded", 0) + one["active"]} if one.get("active") else {}),
        }
        for name, one in found.items()
    }


def _without_active(found: Mapping[str, Object]) -> dict[str, Object]:
    return {
        name: {key: value for key, value in one.items() if key != "active"} for name, one in found.items()
    }


def _still_there(found: Sequence[Object]) -> list[Object]:
    return [one for one in found if not meta.is_deleting(one)]
