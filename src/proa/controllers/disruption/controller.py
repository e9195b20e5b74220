"""Keep the status of each PodDisruptionBudget true: how many of its pods are healthy, how many may be disrupted.

Watches budgets, pods and what controls pods; writes the budgets' status, and takes back a pod's condition
DisruptionTarget when it was not deleted after all. The eviction API (apiserver/handlers/eviction.py) spends what
is allowed. Follows upstream's pkg/controller/disruption/disruption.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.client.protocol import Object
from proa.controllers.disruption.plan import (
    count,
    needs_scale,
    seconds_until_stale,
    status_of,
    status_of_failure,
)
from proa.controllers.disruption.scales import ScaleFinder, UnknownScale, why_unknown
from proa.objects import meta
from proa.objects.errors import ApiError, BadRequest, Conflict, NotFound
from proa.objects.resource import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
from proa.objects.selectors import LabelSelector, selector_from_dict
from proa.reconcile.protocol import DONE, Cache, Caches, Context, Key, Result, Watch, no_keys

POD = "pod/"
"""Before the name in the key of a pod; no budget's name has a slash."""


def _keys_of_pod(pod: Object, caches: Caches) -> Iterable[Key]:
    space = meta.namespace(pod)
    budgets = budgets_of(pod, caches)
    yield from (Key(space, meta.name(budget)) for budget in budgets)
    if len(budgets) > 1 or meta.has_condition(pod, "DisruptionTarget"):
        yield Key(space, POD + meta.name(pod))


def budgets_of(pod: Object, caches: Caches) -> list[Object]:
    """Return the budgets that select the pod."""
    found = []
    for budget in caches(POD_DISRUPTION_BUDGETS).list(meta.namespace(pod)):
        try:
            if _selector(budget).matches(meta.labels(pod)):
                found.append(budget)
        except BadRequest:
            continue  # a selector that cannot be read is told of when its budget is counted
    return found


def _selector(budget: Object) -> LabelSelector:
    return selector_from_dict((budget.get("spec") or {}).get("selector"))


def pods_of(budget: Object, pods: Cache) -> list[Object]:
    """Return the pods that the budget selects; raise BadRequest for a selector that cannot be read."""
    selector, space = _selector(budget), meta.namespace(budget)
    wanted = ((budget.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    key, value = next(iter(wanted.items()), ("", ""))
    near = pods.by_index("label", f"{key}={value}") if key else pods.list(space)
    return [pod for pod in near if meta.namespace(pod) == space and selector.matches(meta.labels(pod))]


class DisruptionController:
    """`reconcile.protocol.Controller`; a key is a budget's or, with POD before its name, a pod's."""

    NAME = "disruption"
    ACCOUNT = "disruption-controller"
    COMPONENT = "controllermanager"
    WATCHES: Sequence[Watch] = (
        Watch(POD_DISRUPTION_BUDGETS),
        Watch(PODS, find_keys=_keys_of_pod),
        Watch(REPLICATION_CONTROLLERS, keys_of=no_keys),
        Watch(DEPLOYMENTS, keys_of=no_keys),
        Watch(REPLICA_SETS, keys_of=no_keys),
        Watch(STATEFUL_SETS, keys_of=no_keys),
    )

    def __init__(self) -> None:
        self._scales = ScaleFinder()

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Count a budget's pods, or look at a pod's condition."""
        if key.name.startswith(POD):
            return await _look_at_pod(context, key.namespace, key.name.removeprefix(POD))
        budget = context.caches(POD_DISRUPTION_BUDGETS).get(key.name, key.namespace)
        if budget is None:
            return DONE
        try:
            return await self._count(context, budget)
        except Conflict:
            raise
        except (UnknownScale, ApiError) as error:
            status = status_of_failure(budget, why_unknown(error), context.now())
            await _write_status(context, budget, status)
            return DONE

    async def _count(self, context: Context, budget: Object) -> Result:
        try:
            pods = pods_of(budget, context.caches(PODS))
        except BadRequest as error:
            context.events.event(budget, "Warning", "NoPods", f"Failed to get pods: {error.message}")
            raise
        if not pods:
            context.events.event(budget, "Normal", "NoPods", "No matching pods found")
        expected = await self._expected(context, budget, pods)
        counted = count(budget, pods, context.now())
        for pod in counted.kept:
            by = f"{meta.namespace(budget)}/{meta.name(budget)}"
            message = f"Pod was expected by PDB {by} to be deleted but it wasn't"
            context.events.event(pod, "Warning", "NotDeleted", message)
        await _write_status(context, budget, status_of(budget, expected, counted, context.now()))
        return Result(requeue_after=counted.requeue_after)

    async def _expected(self, context: Context, budget: Object, pods: Sequence[Object]) -> int:
        if not needs_scale(budget):
            return len(pods) if "minAvailable" in (budget.get("spec") or {}) else 0
        try:
            expected = await self._scales.expected_pods(context, pods)
        except (UnknownScale, ApiError) as error:
            message = f"Failed to calculate the number of expected pods: {why_unknown(error)}"
            context.events.event(budget, "Warning", "CalculateExpectedPodCountFailed", message)
            raise
        if expected.unmanaged:
            context.events.event(budget, "Warning", "UnmanagedPods", _unmanaged_message(budget))
        return expected.pods


def _unmanaged_message(budget: Object) -> str:
    shown = show_selector((budget.get("spec") or {}).get("selector") or {})
    return (
        f"Pods selected by this PodDisruptionBudget (selector: {shown}) were found to be unmanaged. As a result, "
        "the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account "
        'for these pods please set ".spec.minAvailable" field of the PDB to an integer value.'
    )


def show_selector(selector: Object) -> str:
    """Return a metav1.LabelSelector as Go prints it."""
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{e.get('key', '')},Operator:{e.get('operator', '')},"
        f"Values:[{' '.join(e.get('values') or ())}],}},"
        for e in selector.get("matchExpressions") or ()
    )
    parts = f"MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},"
    return f"&LabelSelector{{{parts}}}"


async def _write_status(context: Context, budget: Object, status: Object) -> None:
    if status == (budget.get("status") or {}):
        return
    try:
        changed = {**budget, "status": status}
        await context.client.update(POD_DISRUPTION_BUDGETS, changed, subresource="status")
    except NotFound:
        return


async def _look_at_pod(context: Context, namespace: str, name: str) -> Result:
    """Tell of more than one budget; take back a DisruptionTarget that has not come true."""
    pod = context.caches(PODS).get(name, namespace)
    if pod is None:
        return DONE
    budgets = budgets_of(pod, context.caches)
    if len(budgets) > 1:
        chosen = meta.name(budgets[0])
        what = f'Pod "{namespace}"/"{name}" matches multiple PodDisruptionBudgets.'
        message = f'{what}  Chose "{chosen}" arbitrarily.'
        context.events.event(pod, "Warning", "MultiplePodDisruptionBudgets", message)
    seconds = seconds_until_stale(pod, context.now())
    if seconds is None:
        return DONE
    if seconds > 0:
        return Result(requeue_after=seconds)
    status = pod.get("status") or {}
    conditions = meta.with_condition(
        status.get("conditions") or [], "DisruptionTarget", "False", "", "", context.now()
    )
    try:
        changed = {**pod, "status": {**status, "conditions": conditions}}
        await context.client.update(PODS, changed, subresource="status")
    except NotFound:
        pass
    return DONE
