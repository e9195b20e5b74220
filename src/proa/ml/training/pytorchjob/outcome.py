"""What the pods of a PyTorchJob make of it: running, restarting, succeeded or failed.

Pure. With a master the job has succeeded when its master has; without one, when all workers have, or any of an elastic
job's. Source: UpdateJobStatus of pkg/controller.v1/pytorch/pytorchjob_controller.go, pkg/core/job.go of
kubeflow/training-operator 1.9.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.training.failures import why_it_failed
from proa.ml.training.pytorchjob.conditions import is_finished, with_condition
from proa.ml.training.pytorchjob.roles import Role, elastic_policy, has_master, run_policy
from proa.ml.training.pytorchjob.tally import Counts, Members, container_restarts, count, is_retried
from proa.ml.training.pytorchjob.troubles import Note
from proa.ml.training.pytorchjob.words import MASTER, Condition, Reason
from proa.objects import meta
from proa.objects.pods import phase


class Outcome(NamedTuple):
    """The job's conditions, and what to tell of it."""

    conditions: Sequence[Object]
    notes: Sequence[Note] = ()


def outcome_of(
    job: Object, conditions: Sequence[Object], roles: Sequence[tuple[Role, Members]], now: float
) -> Outcome:
    """Return what has become of the job."""
    verdicts = [said for role, members in roles for said in _verdicts(job, role, members)]
    if any(said.type == Condition.RESTARTING for said in verdicts):
        verdicts = [said for said in verdicts if said.type != Condition.RUNNING]
    found, notes = conditions, list[Note]()
    for said in verdicts:
        changed = with_condition(found, said.type, "True", said.reason, said.message, now)
        if changed != found and said.note is not None:
            notes.append(said.note)
        found = changed
        if is_finished(found):
            break
    return Outcome(found, notes)


def limit_reached(job: Object, status: Object, roles: Sequence[tuple[Role, Members]], now: float) -> str:
    """Return why the run policy ends the job; "" where it does not."""
    policy, name = run_policy(job), meta.name(job)
    limit = policy.get("backoffLimit")
    if limit is not None and _restarts(status, roles) >= max(limit, 1):
        return f"Job {name} has failed because it has reached the specified backoff limit"
    deadline, started = policy.get("activeDeadlineSeconds"), status.get("startTime")
    if deadline is not None and started and now - meta.parse_time(started) >= deadline:
        return f"Job {name} has failed because it was active longer than specified deadline"
    return ""


class _Verdict(NamedTuple):
    type: Condition
    reason: Reason
    message: str
    note: Note | None = None


def _verdicts(job: Object, role: Role, members: Members) -> list[_Verdict]:
    """Return what one role says of the job, the last word last."""
    counts = count(members.by_index.values())
    if _decides(job, role):
        if _has_succeeded(job, role, counts):
            return [_told(Condition.SUCCEEDED, Reason.SUCCEEDED, "Normal", _done(job))]
        running = [_Verdict(Condition.RUNNING, Reason.RUNNING, f"{_called(job)} is running.")]
    else:
        running = []
    return [*(running if counts.active else []), *_failures(job, role, members, counts)]


def _failures(job: Object, role: Role, members: Members, counts: Counts) -> list[_Verdict]:
    name = meta.name(job)
    for pod in members.by_index.values():
        if phase(pod) == "Failed" and role.restart_policy == "ExitCode" and not is_retried(role, pod):
            message = f'job "{name}" is failing because "{role.name}" replica(s) failed.{_how([pod])}'
            return [_told(Condition.FAILED, Reason.FAILED, "Warning", message)]
    if not counts.failed or role.replicas <= counts.succeeded + counts.active:
        return []
    because = f"because {counts.failed} {role.name} replica(s) failed."
    if role.restart_policy == "Never":
        message = f"PyTorchJob {name} is failed {because}{_how(members.by_index.values())}"
        return [_told(Condition.FAILED, Reason.FAILED, "Normal", message)]
    message = f"PyTorchJob {name} is restarting {because}"
    return [_told(Condition.RESTARTING, Reason.RESTARTING, "Warning", message)]


def _how(pods: Iterable[Object]) -> str:
    """Return how the first that failed ended, as a sentence after another."""
    failed = why_it_failed(pod for pod in pods if phase(pod) == "Failed")
    return f" {failed[0].upper()}{failed[1:]}" if failed else ""


def _told(type: Condition, reason: Reason, event_type: str, message: str) -> _Verdict:
    return _Verdict(type, reason, message, Note(event_type, reason, message))


def _decides(job: Object, role: Role) -> bool:
    return role.name == MASTER or not has_master(job)


def _has_succeeded(job: Object, role: Role, counts: Counts) -> bool:
    if role.name != MASTER and elastic_policy(job) is not None and counts.succeeded:
        return True
    return counts.succeeded >= role.replicas


def _called(job: Object) -> str:
    if has_master(job):
        return f"PyTorchJob {meta.name(job)}"
    return f"PyTorchJob {meta.namespace(job)}/{meta.name(job)}"


def _done(job: Object) -> str:
    return f"{_called(job)} {'is ' if has_master(job) else ''}successfully completed."


def _restarts(status: Object, roles: Sequence[tuple[Role, Members]]) -> int:
    """Return how often containers were restarted and pods replaced, those to be replaced now included."""
    count_now = 0
    for role, members in roles:
        found = members.by_index.values()
        count_now += container_restarts(role, found)
        count_now += sum(
            phase(pod) == "Failed" and is_retried(role, pod) and not meta.is_deleting(pod) for pod in found
        )
    return int(status.get("restarts", 0)) + count_now
