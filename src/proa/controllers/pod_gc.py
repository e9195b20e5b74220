"""Remove pods that no kubelet will: those of nodes that are gone, those deleted before they had a node.

Also the oldest finished pods beyond settings.terminated_pod_threshold. Watches pods and nodes; deletes pods.
Follows upstream's pkg/controller/podgc/gc_controller.go.
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
FINISHED = Key("", "finished")
"""The key under which finished pods are counted."""


def _keys_of_pod(pod: Object, caches: Caches) -> Iterable[Key]:
    if is_terminated(pod):
        yield FINISHED
    node = node_name(pod)
    if meta.is_deleting(pod) if not node else caches(NODES).get(node) is None:
        yield Key(meta.namespace(pod), meta.name(pod))


def _keys_of_node(node: Object, caches: Caches) -> Iterable[Key]:
    if caches(NODES).get(meta.name(node)) is None:
        for pod in caches(PODS).by_index("node", meta.name(node)):
            yield Key(meta.namespace(pod), meta.name(pod))


class Plan(NamedTuple):
    """Remove the pod at once (`condition` is why, where it must be told), or wait for a gone node."""

    remove: bool = False
    condition: tuple[str, str] | None = None
    is_orphan: bool = False


def plan(pod: Object, is_node_there: bool) -> Plan:
    """Decide about one pod."""
    if not node_name(pod):
        return Plan(remove=meta.is_deleting(pod))
    if is_node_there:
        return Plan()
    message = "PodGC: node no longer exists"
    told = None if is_terminated(pod) else ("DeletionByPodGC", message)
    return Plan(remove=True, condition=told, is_orphan=True)


def plan_finished(pods: Sequence[Object], threshold: int) -> list[Object]:
    """Return the finished pods beyond the threshold, the oldest first; a threshold of 0 keeps all."""
    finished = [pod for pod in pods if is_terminated(pod)]
    surplus = len(finished) - threshold
    if threshold <= 0 or surplus <= 0:
        return []
    return sorted(finished, key=lambda pod: (pod["metadata"]["creationTimestamp"], meta.name(pod)))[:surplus]


class PodGarbageCollector:
    """A `reconcile.protocol.Controller`; it remembers since when which node has been gone."""

    NAME = "pod-garbage-collector"
    ACCOUNT = "pod-garbage-collector"
    WATCHES = (Watch(PODS, find_keys=_keys_of_pod), Watch(NODES, find_keys=_keys_of_node))

    def __init__(self) -> None:
        self._gone_since: dict[str, float] = {}

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Look at one pod, or at all finished ones."""
        if key == FINISHED:
            threshold = context.settings.terminated_pod_threshold
            for surplus in plan_finished(context.caches(PODS).list(), threshold):
                await _remove(context, surplus)
            return DONE
        pod = context.caches(PODS).get(key.name, key.namespace)
        if pod is None:
            return DONE
        node = node_name(pod)
        decided = plan(pod, context.caches(NODES).get(node) is not None)
        if decided.is_orphan:
            wait = self._seconds_to_wait(node, context.now())
            if wait > 0:
                return Result(requeue_after=wait)
            if await _is_there(context, node):
                return DONE
        else:
            self._gone_since.pop(node, None)
        if decided.condition is not None:
            pod = await _tell(context, pod, *decided.condition)
        if decided.remove:
            await _remove(context, pod)
        return DONE

    def _seconds_to_wait(self, node: str, now: float) -> float:
        return self._gone_since.setdefault(node, now) + QUARANTINE_SECONDS - now


async def _is_there(context: Context, node: str) -> bool:
    try:
        await context.client.get(NODES, node)
    except NotFound:
        return False
    return True


async def _tell(context: Context, pod: Object, reason: str, message: str) -> Object:
    """Mark the pod failed and why, so that its owner replaces it knowingly."""
    status = pod.get("status") or {}
    conditions = meta.with_condition(
        status.get("conditions") or [], "DisruptionTarget", "True", reason, message, context.now()
    )
    failed = {**pod, "status": {**status, "phase": "Failed", "conditions": conditions}}
    return await context.client.update(PODS, failed, subresource="status")


async def _remove(context: Context, pod: Object) -> None:
    """Delete without grace: nobody is there to end it in order."""
    try:
        await context.client.delete(
            PODS, meta.name(pod), meta.namespace(pod), grace_period_seconds=0, uid=meta.uid(pod)
        )
    except NotFound:
        return
