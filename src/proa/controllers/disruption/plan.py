"""Count how many pods of a PodDisruptionBudget are healthy, and how many may be disrupted.

A pod that the eviction API has let go (status.disruptedPods) does not count as healthy until it is gone, or until
two minutes have passed without its deletion. Follows upstream's pkg/controller/disruption/disruption.go and
component-helpers/apps/poddisruptionbudget/helpers.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.pods import is_ready, is_terminated

DELETION_SECONDS = 120.0
"""A pod that was let go is expected to be deleted within."""
STALE_SECONDS = 120.0
"""So old, the condition DisruptionTarget of a pod that is not being deleted says nothing any more."""
CONDITION = "DisruptionAllowed"


class Counted(NamedTuple):
    """`disrupted` are the pods still expected to go; `kept` those that were and have not."""

    healthy: int
    disrupted: dict[str, str]
    kept: tuple[Object, ...]
    requeue_after: float


def needs_scale(budget: Object) -> bool:
    """Tell whether the number of pods is taken from their controllers, not from how many there are."""
    spec = budget.get("spec") or {}
    return "maxUnavailable" in spec or isinstance(spec.get("minAvailable"), str)


def desired_healthy(budget: Object, expected: int) -> int:
    """Return how many of `expected` pods must stay healthy; percentages are rounded up."""
    spec = budget.get("spec") or {}
    if "maxUnavailable" in spec:
        return max(0, expected - _scaled(spec["maxUnavailable"], expected))
    return _scaled(spec.get("minAvailable", 0), expected)


def _scaled(value: int | str, total: int) -> int:
    return value if isinstance(value, int) else -(-int(value.removesuffix("%")) * total // 100)


def count(budget: Object, pods: Sequence[Object], now: float) -> Counted:
    """Count the healthy pods, and look through those that were let go."""
    noted = (budget.get("status") or {}).get("disruptedPods") or {}
    disrupted: dict[str, str] = {}
    kept, waits, healthy = [], [], 0
    for pod in pods:
        if meta.is_deleting(pod):
            continue
        when = noted.get(meta.name(pod))
        left = meta.parse_time(when) + DELETION_SECONDS - now if when else -1.0
        if when and left < 0:
            kept.append(pod)
        elif when:
            disrupted[meta.name(pod)] = when
            waits.append(max(left, 0.001))
        healthy += is_ready(pod) and left <= 0
    return Counted(healthy, disrupted, tuple(kept), min(waits, default=0.0))


def status_of(budget: Object, expected: int, counted: Counted, now: float) -> Object:
    """Return the status that follows, the one that is there where nothing has changed."""
    desired = desired_healthy(budget, expected)
    allowed = max(0, counted.healthy - desired) if expected > 0 else 0
    before = budget.get("status") or {}
    status: dict[str, Any] = {
        "observedGeneration": meta.generation(budget),
        "disruptionsAllowed": allowed,
        "currentHealthy": counted.healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        **({"disruptedPods": counted.disrupted} if counted.disrupted else {}),
    }
    condition = meta.find_condition(budget, CONDITION) or {}
    wanted = ("True", "SufficientPods") if allowed else ("False", "InsufficientPods")
    is_told = (condition.get("status"), condition.get("reason")) == wanted
    if is_told and status == {key: value for key, value in before.items() if key != "conditions"}:
        return before
    return {**status, "conditions": _with_condition(before, *wanted, "", status["observedGeneration"], now)}


def status_of_failure(budget: Object, message: str, now: float) -> Object:
    """Return the status of a budget that cannot be counted: nothing may be disrupted."""
    before = budget.get("status") or {}
    seen = before.get("observedGeneration", 0)
    conditions = _with_condition(before, "False", "SyncFailed", message, seen, now)
    return {**before, "disruptionsAllowed": 0, "conditions": conditions}


def _with_condition(
    before: Mapping[str, Any], status: str, reason: str, message: str, observed: int, now: float
) -> list[Object]:
    conditions = meta.with_condition(before.get("conditions") or [], CONDITION, status, reason, message, now)
    return [
        {**one, "message": message, "observedGeneration": observed} if one["type"] == CONDITION else one
        for one in conditions
    ]


def seconds_until_stale(pod: Object, now: float) -> float | None:
    """Return when the pod's DisruptionTarget says nothing any more, None where that does not come.

    What the kubelet says of a pod stays true however long it takes.
    """
    condition = meta.find_condition(pod, "DisruptionTarget")
    if condition is None or condition.get("status") != "True" or meta.is_deleting(pod) or is_terminated(pod):
        return None
    if condition.get("reason") == "TerminationByKubelet":
        return None
    since = condition.get("lastTransitionTime")
    return max(0.0, (meta.parse_time(since) if since else 0.0) + STALE_SECONDS - now)
