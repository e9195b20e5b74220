"""Keep the number of active pods owned by a ReplicaSet, or a ReplicationController, equal to spec.replicas.

Adopts orphans that the selector matches and releases pods that it no longer does. Watches its kind and pods;
writes pods and the status. Follows upstream's pkg/controller/replicaset/replica_set.go and
replica_set_utils.go, and pkg/controller/replication, where the older kind is the newer one too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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
from proa.objects.resource import PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, Resource
from proa.objects.selectors import LabelSelector, selector_from_labels
from proa.reconcile.ownership import apply_claims, candidates, claimant_keys, plan_claims, selector_of
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

BURST_REPLICAS = 500
"""At most so many pods are created or deleted in one go."""


class Plan(NamedTuple):
    """How many pods to create, or which to delete."""

    create: int = 0
    delete: tuple[Object, ...] = ()


def plan(
    replica_set: Object, pods: Sequence[Object], find_related: Callable[[], Iterable[Object]], now: float
) -> Plan:
    """Compare the pods that the ReplicaSet owns with what it wants.

    `find_related()` returns all pods of the ReplicaSets of the same owner: of two victims alike, the one on
    the node with more of those goes first.
    """
    if is_deleting(replica_set):
        return Plan()
    active = [pod for pod in pods if is_active(pod)]
    missing = _replicas(replica_set) - len(active)
    if missing >= 0:
        return Plan(create=min(missing, BURST_REPLICAS))
    on_node = Counter(node_name(pod) for pod in find_related() if is_active(pod))
    surplus = min(-missing, BURST_REPLICAS)
    return Plan(delete=tuple(rank_for_deletion(active, on_node, now)[:surplus]))


def status_of(
    replica_set: Object, pods: Sequence[Object], failure: tuple[str, str] | None, now: float
) -> Object:
    """Return the status that these pods amount to; `failure` is (reason, message) of what could not be done."""
    spec = replica_set["spec"]
    template_labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    min_ready_seconds = spec.get("minReadySeconds", 0)
    active = terminating = labelled = ready = available = 0
    for pod in pods:  # one pass: there may be thousands
        if is_terminated(pod):
            continue
        if is_deleting(pod):
            terminating += 1
            continue
        active += 1
        labelled += template_labels.items() <= labels(pod).items()
        if is_ready(pod):
            ready += 1
            available += not min_ready_seconds or is_available(pod, min_ready_seconds, now)
    counts = {"fullyLabeledReplicas": labelled, "readyReplicas": ready, "availableReplicas": available}
    status: dict[str, Any] = {"replicas": active}
    status |= {field: count for field, count in counts.items() if count}
    status["terminatingReplicas"] = terminating
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


class ReplicaController:
    """The controller of one of the two kinds, which differ in how they select."""

    def __init__(
        self, name: str, resource: Resource, read_selector: Callable[[Object], LabelSelector]
    ) -> None:
        self.NAME = name
        self.WATCHES = (Watch(resource), Watch(PODS, find_keys=self._keys_of_pod))
        self._resource = resource
        self._read_selector = read_selector

    def _keys_of_pod(self, pod: Object, caches: Caches) -> Iterable[Key]:
        return claimant_keys(pod, self._resource.kind, caches(self._resource), self._read_selector)

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Claim pods, create or delete what is missing or too many, write the status."""
        replica_set = context.caches(self._resource).get(key.name, key.namespace)
        if replica_set is None:
            return DONE
        pods = await self._claim_pods(context, replica_set)
        now = context.now()  # one moment: what is not available yet must be looked at again
        decided = plan(replica_set, pods, lambda: self._related_pods(context, replica_set), now)
        failure, error = await self._apply(context, replica_set, decided)
        if decided != Plan():
            pods = list(context.caches(PODS).by_index("controller", uid(replica_set)))
        await self._write_status(context, replica_set, status_of(replica_set, pods, failure, now))
        if error is not None:
            raise error
        if decided.create == BURST_REPLICAS or len(decided.delete) == BURST_REPLICAS:
            return Result(requeue_after=0.001)
        minimum = replica_set["spec"].get("minReadySeconds", 0)
        return Result(requeue_after=seconds_until_available(pods, minimum, now))

    async def _claim_pods(self, context: Context, replica_set: Object) -> list[Object]:
        selector = self._read_selector(replica_set)
        pods = context.caches(PODS)
        found = [pod for pod in candidates(pods, replica_set, selector) if not is_terminated(pod)]
        claims = plan_claims(replica_set, selector, found)
        return await apply_claims(context.client, replica_set, self._resource, PODS, claims)

    def _related_pods(self, context: Context, replica_set: Object) -> Iterable[Object]:
        """Yield the pods of all that have the same owner as this one."""
        pods = context.caches(PODS)
        owner = controller_of(replica_set)
        siblings: Iterable[Object] = [replica_set]
        if owner is not None:
            siblings = context.caches(self._resource).by_index("controller", owner["uid"])
        return (pod for sibling in siblings for pod in pods.by_index("controller", uid(sibling)))

    async def _apply(
        self, context: Context, replica_set: Object, decided: Plan
    ) -> tuple[tuple[str, str] | None, ApiError | None]:
        """Do it; return what the ReplicaFailure condition shall say, and the refusal itself.

        What is refused because the namespace is going is no failure.
        """

        async def create(_: int) -> None:
            template = replica_set["spec"]["template"]
            await create_pod(context, replica_set, pod_from_template(template, replica_set, self._resource))

        async def delete(index: int) -> None:
            await delete_pod(context, replica_set, decided.delete[index])

        reason = "FailedDelete" if decided.delete else "FailedCreate"
        act, count = (delete, len(decided.delete)) if decided.delete else (create, decided.create)
        _, error = await slow_start(count, act)
        if error is None or is_namespace_terminating(error):
            return None, None
        return (reason, error.message), error

    async def _write_status(self, context: Context, replica_set: Object, status: Object) -> None:
        """Write the status where it differs. The freshest version is used: our own spec has not changed."""
        if self._resource == REPLICATION_CONTROLLERS:  # the older kind does not tell
            status = {field: value for field, value in status.items() if field != "terminatingReplicas"}
        if status == (replica_set.get("status") or {}):
            return
        changed = {**replica_set, "status": status}
        try:
            await context.client.update(self._resource, changed, subresource="status")
        except NotFound:
            return


def _replicas(replica_set: Object) -> int:
    replicas = replica_set["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def _plain_selector(controller: Object) -> LabelSelector:
    return selector_from_labels(controller["spec"].get("selector"))


REPLICA_SET = ReplicaController("replicaset", REPLICA_SETS, selector_of)
REPLICATION_CONTROLLER = ReplicaController("replication-controller", REPLICATION_CONTROLLERS, _plain_selector)
