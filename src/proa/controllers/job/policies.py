"""Apply a Job's podFailurePolicy and successPolicy.

The first rule that a failed pod matches says what its failure means; without one it counts. Follows upstream's
pkg/controller/job/pod_failure_policy.go and success_policy.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from proa.client.protocol import Object
from proa.controllers.job.indexes import parse_indexes
from proa.objects import meta
from proa.objects.pods import phase

_STATUSES = ("initContainerStatuses", "containerStatuses")


def counts_as_failure(job: Object, pod: Object) -> bool:
    """Return whether the failed pod counts against backoffLimit."""
    rule = _matching_rule(job, pod)
    return rule is None or rule[1]["action"] != "Ignore"


def failure_message(job: Object, pods: Iterable[Object]) -> str:
    """Return why a pod's failure fails the whole Job, "" when none does."""
    for pod in pods:
        if phase(pod) != "Failed":
            continue
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
    for container in (c for group in _STATUSES for c in (pod.get("status") or {}).get(group) or ()):
        ended = (container.get("state") or {}).get("terminated") or {}
        code = ended.get("exitCode", 0)
        if code == 0 or wanted.get("containerName") not in (None, container.get("name")):
            continue
        if (code in wanted["values"]) == (wanted["operator"] == "In"):
            name = container.get("name")
            return f"Container {name} for pod {meta.key_of(pod)} failed with exit code {code}"
    return ""


def _condition_match(wanted: Iterable[Object] | None, pod: Object) -> str:
    for pattern in wanted or ():
        if meta.has_condition(pod, pattern["type"], pattern.get("status") or "True"):
            return f"Pod {meta.key_of(pod)} has condition {pattern['type']}"
    return ""


def success_message(job: Object, completed: frozenset[int]) -> str:
    """Return which rule of the success policy the completed indexes meet, "" when none does."""
    rules = (job["spec"].get("successPolicy") or {}).get("rules") or ()
    for index, rule in enumerate(rules):
        named = rule.get("succeededIndexes")
        relevant = completed if named is None else completed & parse_indexes(named)
        needed = rule.get("succeededCount") or len(parse_indexes(named or ""))
        if needed and len(relevant) >= needed:
            return f"Matched rules at index {index}"
    return ""
