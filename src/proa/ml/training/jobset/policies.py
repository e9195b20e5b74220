"""What becomes of a JobSet whose Jobs have ended: success and failure policies, and the order in which jobs start.

Pure. Follows pkg/controllers/success_policy.go, failure_policy.go, startup_policy.go and depends_on.go of
kubernetes-sigs/jobset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.training.jobset.children import Children, replicated_name
from proa.ml.training.jobset.names import replicated_jobs
from proa.objects import meta
from proa.objects.structural.patterns import compiled

RESTART_SET = "RestartJobSet"
RESTART_SET_FREELY = "RestartJobSetAndIgnoreMaxRestarts"
RESTART_JOB = "RestartJob"
RESTART_JOB_FREELY = "RestartJobAndIgnoreMaxRestarts"
FAIL_SET = "FailJobSet"
MAX_MESSAGE = 4096
"""Of a Job's message, what patterns are tried on."""


class Verdict(NamedTuple):
    """`action` is what to do about `job`, which failed first; `rule` names the rule that says so ("": none does)."""

    action: str
    job: Object
    rule: str = ""


def has_succeeded(jobset: Object, children: Children) -> bool:
    """Tell whether the success policy is met."""
    policy = jobset["spec"].get("successPolicy") or {}
    targets = policy.get("targetReplicatedJobs") or [job["name"] for job in replicated_jobs(jobset)]
    done = sum(replicated_name(job) in targets for job in children.successful)
    if policy.get("operator") == "Any":
        return done >= 1
    wanted = sum(int(job["replicas"]) for job in replicated_jobs(jobset) if job["name"] in targets)
    return done > 0 and done >= wanted


def judge_failure(jobset: Object, failed: Sequence[Object]) -> Verdict:
    """Return what the failure policy says of Jobs that have failed; there is at least one."""
    policy = jobset["spec"].get("failurePolicy")
    if policy is None:
        return Verdict("", _first(failed))
    for index, rule in enumerate(policy.get("rules") or ()):
        matching = [job for job in failed if _applies(rule, job)]
        if matching:
            return Verdict(rule["action"], _first(matching), rule.get("name") or f"failurePolicyRule{index}")
    return Verdict(RESTART_SET, _first(failed))


def counted_restarts(jobset: Object) -> int:
    """Return the restarts so far that count towards failurePolicy.maxRestarts."""
    status = jobset.get("status") or {}
    alone = sum(
        sum(entry.get("jobRestartsCountTowardsMax") or ())
        for entry in status.get("replicatedJobsStatus") or ()
    )
    return int(status.get("restartsCountTowardsMax") or 0) + alone


def dependencies_met(replicated: Object, jobset: Object, counts: Sequence[Object]) -> bool:
    """Tell whether all that a replicated job depends on has come so far."""
    wanted = {job["name"]: int(job["replicas"]) for job in replicated_jobs(jobset)}
    by_name = {count["name"]: count for count in counts}
    for dependency in replicated.get("dependsOn") or ():
        count = by_name.get(dependency["name"])
        if count is None:
            return False
        reached = count["succeeded"]
        if dependency["status"] == "Ready":
            reached += count["ready"] + count["failed"]
        if reached < wanted[dependency["name"]]:
            return False
    return True


def starts_in_order(jobset: Object) -> bool:
    """Tell whether replicated jobs start one after the other."""
    policy = jobset["spec"].get("startupPolicy") or {}
    return bool(policy.get("startupPolicyOrder") == "InOrder")


def has_started(replicated: Object, counts: Sequence[Object]) -> bool:
    """Tell whether all Jobs of a replicated job are ready or have ended."""
    count = next(count for count in counts if count["name"] == replicated["name"])
    return bool(count["ready"] + count["succeeded"] + count["failed"] == int(replicated["replicas"]))


def _applies(rule: Object, job: Object) -> bool:
    condition = meta.find_condition(job, "Failed") or {}
    reasons, patterns = rule.get("onJobFailureReasons"), rule.get("onJobFailureMessagePatterns")
    targets = rule.get("targetReplicatedJobs")
    message = str(condition.get("message") or "")[:MAX_MESSAGE]
    return (
        (not reasons or condition.get("reason") in reasons)
        and (not patterns or any(compiled(pattern).search(message) for pattern in patterns))
        and (not targets or replicated_name(job) in targets)
    )


def _first(failed: Sequence[Object]) -> Object:
    def ended(job: Object) -> str:
        return str((meta.find_condition(job, "Failed") or {}).get("lastTransitionTime") or "")

    return min(failed, key=ended)
