"""Remove pods that no kubelet will: of nodes that are gone or out of service, and deleted before they had a node.

Also the oldest finished pods beyond settings.terminated_pod_threshold. What has not ended is marked Failed before,
so that its owner knows. Watches pods and nodes; writes and deletes pods. Follows upstream's
pkg/controller/podgc/gc_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.pods import is_terminated, node_name
from proa.objects.resource import NODES, PODS
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

QUARANTINE_SECONDS = 40.0
"""So long a node may be gone (and come back) before its pods are removed."""
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
FINISHED = Key("", "finished")
"""The key under which finished pods are counted."""
COUNT_SECONDS = 20.0
"""So often, at most, they are."""


def _keys_of_pod(pod: Object, caches: Caches) -> Iterable[Key]:
    if is_terminated(pod):
        yield FINISHED
    node = caches(NODES).get(node_name(pod)) if node_name(pod) else None
    is_homeless = bool(node_name(pod)) and node is None
    is_stuck = meta.is_deleting(pod) and (node is None or is_out_of_service(node))
    if is_homeless or is_stuck:
        yield Key(meta.namespace(pod), meta.name(pod))


def _keys_of_node(node: Object, caches: Caches) -> Iterable[Key]:
    live = caches(NODES).get(meta.name(node))
    if live is None or is_out_of_service(live):
        for pod in caches(PODS).by_index("node", meta.name(node)):
            if live is None or meta.is_deleting(pod):
                yield Key(meta.namespace(pod), meta.name(pod))


def is_out_of_service(node: Object) -> bool:
    """Tell whether somebody has said, by a taint, that the node is shut down, and it is not ready."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return any(taint.get("key") == OUT_OF_SERVICE for taint in taints) and not meta.has_condition(
        node, "Ready"
    )


class Plan(NamedTuple):
    """Remove the pod at once, or wait for a node that is gone to come back.

    `fail` says whether to mark it Failed before, `condition` why (reason and message of DisruptionTarget).
    """

    remove: bool = False
    fail: bool = False
    condition: tuple[str, str] | None = None
    is_orphan: bool = False


def plan(pod: Object, node: Object | None) -> Plan:
    """Decide about one pod; `node` is the one that it names, where that is there."""
    fail = not is_terminated(pod)
    if node_name(pod) and node is None:
        why = ("DeletionByPodGC", "PodGC: node no longer exists") if fail else None
        return Plan(remove=True, fail=fail, condition=why, is_orphan=True)
    if meta.is_deleting(pod) and (node is None or is_out_of_service(node)):
        return Plan(remove=True, fail=fail)
    return Plan()


def plan_finished(pods: Sequence[Object], threshold: int) -> list[Object]:
    """Return the finished pods beyond the threshold, evicted ones first, then the oldest; 0 keeps all."""
    finished = [pod for pod in pods if is_terminated(pod)]
    surplus = len(finished) - threshold
    if threshold <= 0 or surplus <= 0:
        return []

    def order(pod: Object) -> tuple[bool, str, str]:
        return not _is_evicted(pod), pod["metadata"]["creationTimestamp"], meta.name(pod)

    return sorted(finished, key=order)[:surplus]


def _is_evicted(pod: Object) -> bool:
    status = pod.get("status") or {}
    return (status.get("phase"), status.get("reason")) == ("Failed", "Evicted")


class PodGarbageCollector:
    """A `reconcile.protocol.Controller`; it remembers since when which node has been gone."""

    NAME = "pod-garbage-collector"
    ACCOUNT = "pod-garbage-collector"
    WATCHES = (Watch(PODS, find_keys=_keys_of_pod), Watch(NODES, find_keys=_keys_of_node))

    def __init__(self) -> None:
        self._gone_since: dict[str, float] = {}
        self._counted_at = float("-inf")

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Look at one pod, or at all finished ones."""
        if key == FINISHED:
            return await self._count_finished(context)
        pod = context.caches(PODS).get(key.name, key.namespace)
        if pod is None:
            return DONE
        node = node_name(pod)
        decided = plan(pod, context.caches(NODES).get(node) if node else None)
        if decided.is_orphan:
            wait = self._seconds_to_wait(node, context.now())
            if wait > 0:
                return Result(requeue_after=wait)
            if await _is_there(context, node):
                return DONE
        else:
            self._gone_since.pop(node, None)
        if decided.fail:
            pod = await _mark_failed(context, pod, decided.condition)
        if decided.remove:
            await _remove(context, pod)
        return DONE

    async def _count_finished(self, context: Context) -> Result:
        """Remove finished pods beyond what is kept; counting them all, only now and then."""
        wait = self._counted_at + COUNT_SECONDS - context.now()
        if wait > 0:
            return Result(requeue_after=wait)
        self._counted_at = context.now()
        for surplus in plan_finished(context.caches(PODS).list(), context.settings.terminated_pod_threshold):
            await _remove(context, surplus)
        return DONE

    def _seconds_to_wait(self, node: str, now: float) -> float:
        return self._gone_since.setdefault(node, now) + QUARANTINE_SECONDS - now


async def _is_there(context: Context, node: str) -> bool:
    try:
        await context.client.get(NODES, node)
    except NotFound:
        return False
    return True


async def _mark_failed(context: Context, pod: Object, why: tuple[str, str] | None) -> Object:
    """Mark the pod failed, and say why where that is known, so that its owner replaces it knowingly."""
    status = {**(pod.get("status") or {}), "phase": "Failed"}
    if why is not None:
        status["conditions"] = meta.with_condition(
            status.get("conditions") or [], "DisruptionTarget", "True", *why, context.now()
        )
    return await context.client.update(PODS, {**pod, "status": status}, subresource="status")


async def _remove(context: Context, pod: Object) -> None:
    """Delete without grace: nobody is there to end it in order. One that only finalizers hold goes without us."""
    if meta.is_deleting(pod) and pod["metadata"].get("deletionGracePeriodSeconds") == 0:
        return
    try:
        await context.client.delete(
            PODS, meta.name(pod), meta.namespace(pod), grace_period_seconds=0, uid=meta.uid(pod)
        )
    except NotFound:
        return
