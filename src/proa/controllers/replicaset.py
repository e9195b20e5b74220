"""Keep the number of active pods owned by a ReplicaSet equal to spec.replicas.

Adopts orphans that the selector matches and releases pods that it no longer does. Watches replica sets and
pods; writes pods and the ReplicaSet's status. Follows upstream's pkg/controller/replicaset/replica_set.go and
replica_set_utils.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.objects.errors import ApiError, NotFound
from proa.objects.meta import (
    controller_of,
    generation,
    is_deleting,
    labels,
    uid,
    with_condition,
)
from proa.objects.pods import is_active, is_ready, is_terminated, node_name
from proa.objects.resource import PODS, REPLICA_SETS
from proa.objects.selectors import selector_from_dict
from proa.reconcile.ownership import apply_claims, candidates, claimant_keys, plan_claims
from proa.reconcile.pod_control import (
    create_pod,
    delete_pod,
    is_available,
    is_namespace_terminating,
    pod_from_template,
    rank_for_deletion,
    seconds_until_available,
    slow_start,
)
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "replicaset"
BURST_REPLICAS = 500
"""At most so many pods are created or deleted in one go."""


def _keys_of_pod(pod: Object, caches: Caches) -> Iterable[Key]:
    return claimant_keys(pod, "ReplicaSet", caches(REPLICA_SETS))


WATCHES = (Watch(REPLICA_SETS), Watch(PODS, find_keys=_keys_of_pod))


class Plan(NamedTuple):
    """How many pods to create, or which to delete."""

    create: int = 0
    delete: tuple[Object, ...] = ()


def plan(replica_set: Object, pods: Sequence[Object], related: Sequence[Object], now: float) -> Plan:
    """Compare the pods that the ReplicaSet owns with what it wants.

    `related` are all pods of the ReplicaSets of the same owner: of two victims alike, the one on the node
    with more of those goes first.
    """
    if is_deleting(replica_set):
        return Plan()
    active = [pod for pod in pods if is_active(pod)]
    missing = _replicas(replica_set) - len(active)
    if missing >= 0:
        return Plan(create=min(missing, BURST_REPLICAS))
    on_node = Counter(node_name(pod) for pod in related if is_active(pod))
    surplus = min(-missing, BURST_REPLICAS)
    return Plan(delete=tuple(rank_for_deletion(active, on_node, now)[:surplus]))


def status_of(
    replica_set: Object, pods: Sequence[Object], failure: tuple[str, str] | None, now: float
) -> Object:
    """Return the status that these pods amount to; `failure` is (reason, message) of what could not be done."""
    spec = replica_set["spec"]
    template_labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    min_ready_seconds = spec.get("minReadySeconds", 0)
    active = [pod for pod in pods if is_active(pod)]
    ready = [pod for pod in active if is_ready(pod)]
    counts = {
        "fullyLabeledReplicas": sum(template_labels.items() <= labels(pod).items() for pod in active),
        "readyReplicas": len(ready),
        "availableReplicas": sum(is_available(pod, min_ready_seconds, now) for pod in ready),
    }
    status: dict[str, Any] = {"replicas": len(active)}
    status |= {field: count for field, count in counts.items() if count}
    status["terminatingReplicas"] = sum(is_deleting(pod) and not is_terminated(pod) for pod in pods)
    status["observedGeneration"] = generation(replica_set)
    conditions = _conditions(replica_set, failure, now)
    return {**status, "conditions": conditions} if conditions else status


def _conditions(replica_set: Object, failure: tuple[str, str] | None, now: float) -> list[Object]:
    conditions = (replica_set.get("status") or {}).get("conditions") or []
    others = [condition for condition in conditions if condition.get("type") != "ReplicaFailure"]
    if failure is None:
        return others
    if len(others) < len(conditions):  # the first reason stands until the failure is over
        return list(conditions)
    return with_condition(conditions, "ReplicaFailure", "True", *failure, now)


async def reconcile(context: Context, key: Key) -> Result:
    """Claim pods, create or delete what is missing or too many, write the status."""
    replica_set = context.caches(REPLICA_SETS).get(key.name, key.namespace)
    if replica_set is None:
        return DONE
    pods = await _claim_pods(context, replica_set)
    decided = plan(replica_set, pods, _related_pods(context, replica_set), context.now())
    failure, error = await _apply(context, replica_set, decided)
    if decided != Plan():
        pods = list(context.caches(PODS).by_index("controller", uid(replica_set)))
    await _write_status(context, replica_set, status_of(replica_set, pods, failure, context.now()))
    if error is not None and not is_namespace_terminating(error):
        raise error
    if decided.create == BURST_REPLICAS or len(decided.delete) == BURST_REPLICAS:
        return Result(requeue_after=0.001)
    minimum = replica_set["spec"].get("minReadySeconds", 0)
    return Result(requeue_after=seconds_until_available(pods, minimum, context.now()))


async def _claim_pods(context: Context, replica_set: Object) -> list[Object]:
    selector = selector_from_dict(replica_set["spec"].get("selector"))
    found = [pod for pod in candidates(context.caches(PODS), replica_set) if not is_terminated(pod)]
    claims = plan_claims(replica_set, selector, found)
    return await apply_claims(context.client, replica_set, REPLICA_SETS, PODS, claims)


def _related_pods(context: Context, replica_set: Object) -> list[Object]:
    """Return the pods of all ReplicaSets that have the same owner as this one."""
    pods = context.caches(PODS)
    owner = controller_of(replica_set)
    siblings: Iterable[Object] = [replica_set]
    if owner is not None:
        siblings = context.caches(REPLICA_SETS).by_index("controller", owner["uid"])
    return [pod for sibling in siblings for pod in pods.by_index("controller", uid(sibling))]


async def _apply(
    context: Context, replica_set: Object, decided: Plan
) -> tuple[tuple[str, str] | None, ApiError | None]:
    """Do it; return what the ReplicaFailure condition shall say, and the refusal itself."""

    async def create(_: int) -> None:
        template = replica_set["spec"]["template"]
        await create_pod(context, replica_set, pod_from_template(template, replica_set, REPLICA_SETS))

    async def delete(index: int) -> None:
        await delete_pod(context, replica_set, decided.delete[index])

    if decided.delete:
        _, error = await slow_start(len(decided.delete), delete)
        return (("FailedDelete", error.message) if error else None), error
    _, error = await slow_start(decided.create, create)
    return (("FailedCreate", error.message) if error else None), error


async def _write_status(context: Context, replica_set: Object, status: Object) -> None:
    """Write the status where it differs. The freshest version is used: our own spec has not changed."""
    if status == (replica_set.get("status") or {}):
        return
    try:
        await context.client.update(REPLICA_SETS, {**replica_set, "status": status}, subresource="status")
    except NotFound:
        return


def _replicas(replica_set: Object) -> int:
    replicas = replica_set["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)
