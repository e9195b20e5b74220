"""Apply a Job's podFailurePolicy and successPolicy.

The first rule that a failed pod matches says what its failure means; without one it counts. Follows upstream's
pkg/controller/job/pod_failure_policy.go and success_policy.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from proa.client.protocol import Object
from proa.controllers.job.intervals import Intervals, parse_intervals
from proa.objects import meta


def action_of(job: Object, pod: Object) -> str:
    """Return what the policy says of the failed pod (Ignore, Count, FailIndex, FailJob), "" for nothing."""
    rule = _matching_rule(job, pod)
    return str(rule[1]["action"]) if rule is not None else ""


def counts_as_failure(job: Object, pod: Object) -> bool:
    """Tell whether the failed pod counts against backoffLimit."""
    return action_of(job, pod) != "Ignore"


def failure_message(job: Object, pods: Iterable[Object]) -> str:
    """Return why the failure of one of these failed pods fails the whole Job, "" when none does."""
    if not job["spec"].get("podFailurePolicy"):
        return ""
    for pod in pods:
        rule = _matching_rule(job, pod)
        if rule is not None and rule[1]["action"] == "FailJob":
            index, _, what = rule
            return f"{what} matching FailJob rule at index {index}"
    return ""


def _matching_rule(job: Object, pod: Object) -> tuple[int, Object, str] | None:
    """Return the first rule that the pod matches: its index, itself, and what it was that matched."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    for index, rule in enumerate(rules):
        what = _exit_match(rule.get("onExitCodes"), pod) or _condition_match(rule.get("onPodConditions"), pod)
        if what:
            return index, rule, what
    return None


def _exit_match(wanted: Object | None, pod: Object) -> str:
    if wanted is None:
        return ""
    status = pod.get("status") or {}
    for container in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        ended = (container.get("state") or {}).get("terminated") or {}
        code = ended.get("exitCode", 0)
        if code == 0 or wanted.get("containerName") not in (None, container.get("name")):
            continue
        if (code in wanted["values"]) == (wanted["operator"] == "In"):
            name = container.get("name")
            return f"Container {name} for pod {meta.key_of(pod)} failed with exit code {code}"
    return ""


def _condition_match(wanted: Iterable[Object] | None, pod: Object) -> str:
    patterns = {(pattern["type"], pattern.get("status") or "True") for pattern in wanted or ()}
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if (condition.get("type"), condition.get("status")) in patterns:
            return f"Pod {meta.key_of(pod)} has condition {condition['type']}"
    return ""


def success_message(job: Object, completed: Intervals) -> str:
    """Return which rule of the success policy the completed indexes meet, "" when none does."""
    end = int(job["spec"].get("completions") or 0)
    rules = (job["spec"].get("successPolicy") or {}).get("rules") or ()
    for index, rule in enumerate(rules if completed.ranges else ()):
        if _is_met(rule, completed, end):
            return f"Matched rules at index {index}"
    return ""


def _is_met(rule: Object, completed: Intervals, end: int) -> bool:
    needed = rule.get("succeededCount")
    if rule.get("succeededIndexes") is None:
        return needed is not None and completed.total() >= needed
    named = parse_intervals(rule["succeededIndexes"], end)
    done = named.common(completed)
    return bool(named.ranges) and (done == named.total() or (needed is not None and done >= needed))
