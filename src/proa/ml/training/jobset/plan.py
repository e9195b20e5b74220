"""Decide what a JobSet needs next, from it and its Jobs: Jobs made, deleted, suspended or resumed, and its status.

Pure. Follows reconcile of pkg/controllers/jobset_controller.go, failure_policy.go and ttl_after_finished.go of
kubernetes-sigs/jobset: a restart is first written to the status; what is of an older attempt is then deleted, and made
anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field

from proa.client.protocol import Object
from proa.ml.training.jobset import policies
from proa.ml.training.jobset.checks import find_problems
from proa.ml.training.jobset.children import (
    Children,
    are_all_ready,
    count_children,
    job_index,
    replicated_name,
    sort_children,
)
from proa.ml.training.jobset.conditions import (
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    RESTARTING,
    STALLED,
    STARTED,
    SUSPENDED,
    Conditions,
    Told,
    is_finished,
)
from proa.ml.training.jobset.manifests import is_suspended, make_job
from proa.ml.training.jobset.names import (
    EXCLUSIVE,
    NODE_SELECTOR_STRATEGY,
    job_restarts,
    make_job_name,
    make_placement_annotations,
    replicated_jobs,
)
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass

FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 1.0, 5.0


@dataclass(slots=True)
class Plan:
    """What to do. `resume` pairs a Job with the replicated job whose template may have changed meanwhile."""

    status: Object
    needs_network: bool = False
    create: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    suspend: list[Object] = field(default_factory=list)
    resume: list[tuple[Object, Object]] = field(default_factory=list)
    events: list[Told] = field(default_factory=list)
    expire: bool = False
    wait_seconds: float = 0.0


def make_plan(jobset: Object, jobs: Iterable[Object], now: float) -> Plan:
    """Decide; nothing in the arguments is changed."""
    children = sort_children(jobset, jobs)
    counts = count_children(jobset, children)
    conditions = Conditions((jobset.get("status") or {}).get("conditions") or (), now)
    plan = Plan({**(jobset.get("status") or {}), "replicatedJobsStatus": counts})
    if is_finished(jobset):
        plan.delete = [*children.active, *children.previous]
        _expire(plan, jobset, now)
    else:
        _work(plan, jobset, children, counts, conditions)
    plan.status["conditions"] = conditions.entries
    plan.events.extend(conditions.events)
    plan.delete = [job for job in plan.delete if not meta.is_deleting(job)]
    return plan


def _work(
    plan: Plan, jobset: Object, children: Children, counts: Sequence[Object], conditions: Conditions
) -> None:
    plan.delete = list(children.previous)
    conditions.drop(STALLED)
    if not is_suspended(jobset) and are_all_ready(jobset, counts):
        conditions.set(RESTARTING, False, "JobsReady", "all jobs are ready")
    if problems := find_problems(jobset):
        _fail(plan, conditions, "InvalidJobSet", "; ".join(problems))
    elif children.failed:
        _handle_failure(plan, jobset, children, conditions)
    elif children.successful and policies.has_succeeded(jobset, children):
        message = "jobset completed successfully"
        conditions.set(COMPLETED, True, "AllJobsCompleted", message)
        conditions.set(RESTARTING, False, "JobSetCompleted", message)
        plan.status["terminalState"] = COMPLETED
    else:
        plan.needs_network = True
        _make_jobs(plan, jobset, children, counts, conditions)
        if is_suspended(jobset):
            plan.suspend = [job for job in children.active if not is_suspended(job)]
            conditions.set(SUSPENDED, True, "SuspendedJobs", "jobset is suspended")
            conditions.set(RESTARTING, False, "JobSetSuspended", "jobset is suspended")
        else:
            _resume(plan, jobset, children, counts, conditions)


def _fail(plan: Plan, conditions: Conditions, reason: str, message: str) -> None:
    conditions.set(FAILED, True, reason, message, "Warning")
    conditions.set(RESTARTING, False, "JobSetFailed", "jobset failed")
    plan.status["terminalState"] = FAILED


def fail(status: Object, reason: str, message: str, now: float) -> tuple[Object, list[Told]]:
    """Return a status that says that the JobSet failed, and the Events of that."""
    plan, conditions = Plan(dict(status)), Conditions(status.get("conditions") or (), now)
    conditions.drop(STALLED)
    _fail(plan, conditions, reason, message)
    return {**plan.status, "conditions": conditions.entries}, conditions.events


def stall(status: Object, reason: str, message: str, now: float) -> tuple[Object, list[Told]]:
    """Return a status that says what keeps Jobs from being made for now, and the Events of that."""
    conditions = Conditions(status.get("conditions") or (), now)
    conditions.set(STALLED, True, reason, message, "Warning")
    return {**status, "conditions": conditions.entries}, conditions.events


def seconds_to_wait(status: Object, now: float) -> float:
    """Return when to try again what stalls: as long as it has, from FIRST_WAIT_SECONDS to LAST_WAIT_SECONDS."""
    since = next(entry["lastTransitionTime"] for entry in status["conditions"] if entry["type"] == STALLED)
    return min(max(now - meta.parse_time(since), FIRST_WAIT_SECONDS), LAST_WAIT_SECONDS)


def _handle_failure(plan: Plan, jobset: Object, children: Children, conditions: Conditions) -> None:
    verdict = policies.judge_failure(jobset, children.failed)
    first = f"(first failed job: {meta.name(verdict.job)})"
    if not verdict.action:
        _fail(plan, conditions, "FailedJobs", f"jobset failed due to one or more job failures {first}")
        return
    if verdict.action == policies.FAIL_SET:
        message = f"applying FailJobSet failure policy action {first}"
        _fail(plan, conditions, "FailJobSetFailurePolicyAction", message)
        return
    is_counted = verdict.action in (policies.RESTART_SET, policies.RESTART_JOB)
    limit = int(jobset["spec"]["failurePolicy"].get("maxRestarts") or 0)
    if is_counted and policies.counted_restarts(jobset) >= limit:
        message = f"jobset failed due to reaching max number of restarts {first}"
        _fail(plan, conditions, "ReachedMaxRestarts", message)
        return
    message = f"applying {verdict.action} failure policy action {first}"
    plan.events.append(Told("Warning", f"{verdict.action}FailurePolicyAction", message))
    if verdict.action in (policies.RESTART_JOB, policies.RESTART_JOB_FREELY):
        _count_single_restart(plan, jobset, verdict.job, is_counted=is_counted)
        return
    plan.status["restarts"] = int(plan.status.get("restarts") or 0) + 1
    if is_counted:
        plan.status["restartsCountTowardsMax"] = int(plan.status.get("restartsCountTowardsMax") or 0) + 1
    reason = f"FailurePolicy_{verdict.rule}" if verdict.rule else "DefaultFailurePolicy"
    conditions.set(RESTARTING, True, reason, message, "Warning")


def _count_single_restart(plan: Plan, jobset: Object, job: Object, *, is_counted: bool) -> None:
    index, name = job_index(job), replicated_name(job)
    for entry in plan.status["replicatedJobsStatus"]:
        if entry["name"] != name:
            continue
        replicated = next(found for found in replicated_jobs(jobset) if found["name"] == name)
        keys = ["jobRestarts", *(["jobRestartsCountTowardsMax"] if is_counted else ())]
        for key in keys:
            numbers = list(entry.get(key) or [0] * len(job_restarts(jobset, replicated)))
            numbers[index] += 1
            entry[key] = numbers


def _make_jobs(
    plan: Plan, jobset: Object, children: Children, counts: Sequence[Object], conditions: Conditions
) -> None:
    in_order = policies.starts_in_order(jobset) and not is_suspended(jobset)
    policy = jobset["spec"].get("failurePolicy") or {}
    waits = bool(children.previous) and policy.get("restartStrategy") == "BlockingRecreate"
    there = children.names()
    for replicated in replicated_jobs(jobset):
        if not policies.dependencies_met(replicated, jobset, counts):
            continue
        if in_order and policies.has_started(replicated, counts):
            continue
        if not waits:
            plan.create.extend(_missing(jobset, replicated, there))
        if in_order:
            conditions.set(
                IN_PROGRESS, True, "InOrderStartupPolicyInProgress", "in order startup policy is in progress"
            )
            return
    if not there and plan.create and _needs_affinity(jobset):
        message = (
            "exclusive placement by affinity is not carried out here; nodes that are labelled and tainted, and the "
            f"annotation {NODE_SELECTOR_STRATEGY}, give each Job its own"
        )
        plan.events.append(Told("Warning", "ExclusivePlacementNotCarriedOut", message))
    if in_order:
        conditions.set(
            STARTED, True, "InOrderStartupPolicyCompleted", "in order startup policy has completed"
        )


def _needs_affinity(jobset: Object) -> bool:
    asked = (make_placement_annotations(jobset, replicated) for replicated in replicated_jobs(jobset))
    return any(EXCLUSIVE in found and NODE_SELECTOR_STRATEGY not in found for found in asked)


def _missing(jobset: Object, replicated: Object, there: set[str]) -> Iterator[Object]:
    for index in range(int(replicated["replicas"])):
        if make_job_name(jobset, replicated, index) not in there:
            yield make_job(jobset, replicated, index)


def _resume(
    plan: Plan, jobset: Object, children: Children, counts: Sequence[Object], conditions: Conditions
) -> None:
    in_order = policies.starts_in_order(jobset)
    for replicated in replicated_jobs(jobset):
        if not policies.dependencies_met(replicated, jobset, counts):
            continue
        if in_order and policies.has_started(replicated, counts):
            continue
        jobs = (job for job in children.active if replicated_name(job) == replicated["name"])
        plan.resume.extend((job, replicated) for job in jobs if is_suspended(job))
        if in_order:
            return
    conditions.set(SUSPENDED, False, "ResumeJobs", "jobset is resumed")


def _expire(plan: Plan, jobset: Object, now: float) -> None:
    ttl = jobset["spec"].get("ttlSecondsAfterFinished")
    end = next(
        condition
        for type in (COMPLETED, FAILED)
        if (condition := meta.find_condition(jobset, type)) and condition["status"] == "True"
    )
    if ttl is None:
        return
    left = meta.parse_time(end["lastTransitionTime"]) + float(ttl) - now
    plan.expire, plan.wait_seconds = left <= 0, max(left, 0.0)
