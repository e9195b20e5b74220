"""Evict a pod: delete it as its Eviction says, unless its disruption budget does not allow it now.

Theory of operation: a pod that runs takes one disruption off its budget's status before it goes, by a write that
fails if the budget has changed since; the disruption controller gives it back when it counts anew. Pods that have
not started or are done need none, nor do unready ones where the budget says so: these are deleted only as they were
seen (resourceVersion). Follows pkg/registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import orjson

from proa.apiserver.handlers.bodies import read_auxiliary
from proa.apiserver.handlers.negotiation import answer_success, negotiate
from proa.apiserver.handlers.options import write_options
from proa.apiserver.registry.deletion import DeleteOptions, read_options
from proa.apiserver.registry.refusals import (
    forbidden_as,
    method_not_allowed,
    not_found,
    unnamed_failure,
)
from proa.apiserver.registry.registry import UPDATE_ATTEMPTS, ResourceRegistry
from proa.client.protocol import Object, Request, Response, User
from proa.objects.errors import ApiError, BadRequest, Conflict, TooManyRequests
from proa.objects.meta import (
    find_condition,
    format_time,
    generation,
    has_condition,
    is_deleting,
    labels,
    name,
    resource_version,
    uid,
    with_condition,
)
from proa.objects.pods import phase
from proa.objects.resource import POD_DISRUPTION_BUDGETS
from proa.objects.selectors import selector_from_dict

MAX_DISRUPTED_PODS = 2000
VIOLATION = "Cannot evict pod as it would violate the pod's disruption budget."
TOO_MANY_BUDGETS = (
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
)
RETRY_SECONDS = 10
Refusal = TypeVar("Refusal", bound=ApiError)


async def evict_pod(request: Request, registry: ResourceRegistry, namespace: str, pod_name: str) -> Response:
    """Answer POST pods/{name}/eviction; raise TooManyRequests where the budget does not allow it now."""
    if request.method != "POST":
        raise method_not_allowed()
    representation = negotiate(request.headers.get("accept", ""))
    eviction = read_auxiliary(request, "Eviction")
    said = (eviction.get("metadata") or {}).get("name")
    if said and said != pod_name:
        raise BadRequest("name in URL does not match name in Eviction object")
    options = read_options(eviction.get("deleteOptions") or {}, request.query)
    registry.get(namespace, pod_name)
    await registry.admit_other(
        "CREATE",
        namespace,
        pod_name,
        "eviction",
        eviction,
        request.user,
        dry_run=options.dry_run,
        options=write_options(request, "CreateOptions"),
    )
    for attempt in range(UPDATE_ATTEMPTS):
        pod = registry.find(namespace, pod_name)
        if pod is None:
            raise not_found(registry.resource, pod_name)
        is_free = needs_no_budget(pod)
        budget = None if is_free else await _ask_budget(registry, pod, dry_run=options.dry_run)
        is_pinned = _must_be_as_seen(pod) if is_free else budget is not None
        try:
            await _delete(registry, pod, options, request.user, is_pinned=is_pinned)
        except Conflict:
            means_another = options.uid and options.uid != uid(pod)
            if not is_pinned or options.resource_version or means_another:
                raise
            if not is_free:
                raise still_processed(budget or "") from None
            if attempt == UPDATE_ATTEMPTS - 1:
                raise
            continue
        return answer_success(201, representation)
    raise AssertionError("unreachable")


def needs_no_budget(pod: Object) -> bool:
    """Tell whether a pod can go without a look at its budget (canIgnorePDB)."""
    return phase(pod) in ("Succeeded", "Failed", "Pending") or is_deleting(pod)


def _must_be_as_seen(pod: Object) -> bool:
    """A pod that has not started may become ready meanwhile, and then its budget counts."""
    return phase(pod) not in ("Succeeded", "Failed") and not is_deleting(pod)


async def _ask_budget(registry: ResourceRegistry, pod: Object, *, dry_run: bool) -> str | None:
    """Take one disruption off the pod's budget; return the budget's name where the pod is unready and needs none."""
    budgets = registry.of(POD_DISRUPTION_BUDGETS)
    namespace = pod["metadata"]["namespace"]
    stored = (orjson.loads(e.value) for e in budgets.store.range(budgets.scope(namespace)).entries)
    found = matching(stored, pod)
    if len(found) > 1:
        raise unnamed_failure(TOO_MANY_BUDGETS)
    if not found:
        return None
    if not has_condition(pod, "Ready") and lets_unready_go(found[0]):
        return name(found[0])
    await budgets.update(
        namespace,
        name(found[0]),
        lambda budget: spend(budget, name(pod), registry.now()),
        subresource="status",
        dry_run=dry_run,
        unconditional=True,
        is_admitted=True,
    )
    return None


def matching(budgets: Iterable[Object], pod: Object) -> list[Object]:
    """Return the budgets that select the pod; one without a selector selects none."""
    found = []
    for budget in budgets:
        selector = (budget.get("spec") or {}).get("selector")
        try:
            if selector is not None and selector_from_dict(selector).matches(labels(pod)):
                found.append(budget)
        except BadRequest:
            continue  # a selector that cannot be read matches nothing
    return found


def lets_unready_go(budget: Object) -> bool:
    """Tell whether an unready pod may go without a disruption (KEP-3017)."""
    status = budget.get("status") or {}
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    return bool(healthy >= desired > 0)


def spend(budget: Object, pod_name: str, now: float) -> Object:
    """Return the budget with one disruption less, spent on the pod; raise TooManyRequests, Forbidden."""
    status = dict(budget.get("status") or {})
    allowed = status.get("disruptionsAllowed", 0)
    if status.get("observedGeneration", 0) < generation(budget):
        raise still_processed(name(budget))
    if allowed < 0:
        raise _forbidden(budget, "pdb disruptions allowed is negative")
    if len(status.get("disruptedPods") or ()) > MAX_DISRUPTED_PODS:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise _forbidden(budget, why)
    if allowed == 0:
        raise _violation(_why_none(budget), 0)
    status["disruptionsAllowed"] = allowed - 1
    if allowed == 1:
        status["conditions"] = _without_disruptions(status, now)
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod_name: format_time(now)}
    return {**budget, "status": status}


def _without_disruptions(status: Object, now: float) -> list[Object]:
    kind, reason = "DisruptionAllowed", "InsufficientPods"
    conditions = with_condition(status.get("conditions") or [], kind, "False", reason, "", now)
    for condition in conditions:
        if condition["type"] == kind:
            condition["message"] = ""
            condition["observedGeneration"] = status.get("observedGeneration", 0)
    return conditions


def _why_none(budget: Object) -> str:
    status, start = budget.get("status") or {}, f"The disruption budget {name(budget)}"
    condition = find_condition(budget, "DisruptionAllowed") or {}
    message, reason = condition.get("message"), condition.get("reason", "")
    says_why = condition.get("status") == "False" and bool(message)
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    if says_why and reason == "SyncFailed":
        return f"{start} does not allow evicting pods currently because it failed sync: {message}"
    if healthy <= desired:
        return f"{start} needs {desired} healthy pods and has {healthy} currently"
    if says_why:
        return f"{start} does not allow evicting pods currently ({reason}): {message}"
    return f"{start} does not allow evicting pods currently"


def still_processed(budget_name: str) -> TooManyRequests:
    """The budget's status is older than the budget, or than the pod."""
    why = f"The disruption budget {budget_name} is still being processed by the server."
    return _violation(why, RETRY_SECONDS)


def _violation(why: str, retry_seconds: int) -> TooManyRequests:
    return _with_cause(TooManyRequests(VIOLATION, retry_after_seconds=retry_seconds), why)


def _forbidden(budget: Object, why: str) -> ApiError:
    error = forbidden_as("poddisruptionbudget", POD_DISRUPTION_BUDGETS.group, name(budget), why)
    start = f"The disruption budget {name(budget)} does not allow evicting pods currently"
    return _with_cause(error, f"{start}: {why}")


def _with_cause(error: Refusal, why: str) -> Refusal:
    causes: list[dict[str, Any]] = [{"reason": "DisruptionBudget", "message": why}]
    error.details = {**error.details, "causes": causes}
    return error


async def _delete(
    registry: ResourceRegistry, pod: Object, options: DeleteOptions, user: User | None, *, is_pinned: bool
) -> None:
    """Say on the pod that it is disrupted, and delete it; raise Conflict where it is not as the caller has seen it."""
    namespace, version = pod["metadata"]["namespace"], options.resource_version
    if is_pinned and not version:
        version = resource_version(pod)
    if not options.dry_run:
        now = registry.now()

        def mark(live: Object) -> Object:
            live["metadata"]["resourceVersion"] = version or live["metadata"]["resourceVersion"]
            status = live.setdefault("status", {})
            message = "Eviction API: evicting"
            status["conditions"] = with_condition(
                status.get("conditions") or [],
                "DisruptionTarget",
                "True",
                "EvictionByEvictionAPI",
                message,
                now,
            )
            return live

        marked = orjson.loads(
            await registry.update(
                namespace, name(pod), mark, user, subresource="status", unconditional=True, is_admitted=True
            )
        )
        version = version and resource_version(marked)
    pinned = DeleteOptions(options.grace_seconds, options.policy, options.uid, version, options.dry_run)
    await registry.delete(namespace, name(pod), pinned, user, is_admitted=True)
