"""Delete pods from nodes whose NoExecute taints they do not tolerate, or no longer do.

A toleration's tolerationSeconds count from when the taint was added. Watches nodes and pods; deletes pods.
Follows upstream's pkg/controller/tainteviction/taint_eviction.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.pods import is_terminated, node_name
from proa.objects.resource import NODES, PODS
from proa.objects.tolerations import covers
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "taint-eviction-controller"
ACCOUNT = "node-controller"


def _keys_of_pod(pod: Object, caches: Caches) -> Iterable[Key]:
    node = caches(NODES).get(node_name(pod))
    if node is not None and no_execute_taints(node):
        yield Key("", meta.name(node))


WATCHES = (Watch(NODES), Watch(PODS, find_keys=_keys_of_pod))


class Plan(NamedTuple):
    """The pods to delete now, and when the next one's time comes (seconds; 0: never)."""

    evict: tuple[Object, ...] = ()
    wait_seconds: float = 0.0


def plan(node: Object, pods: Iterable[Object], now: float) -> Plan:
    """Decide which of the node's pods must go."""
    taints = no_execute_taints(node)
    if not taints:
        return Plan()
    evict, waits = [], []
    for pod in pods:
        if is_terminated(pod) or meta.is_deleting(pod):
            continue
        left = seconds_tolerated(taints, pod["spec"].get("tolerations") or (), now)
        if left is not None and left <= 0:
            evict.append(pod)
        elif left is not None:
            waits.append(left)
    return Plan(tuple(evict), min(waits, default=0.0))


def no_execute_taints(node: Object) -> list[Object]:
    """Return the taints that drive pods away."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return [taint for taint in taints if taint.get("effect") == "NoExecute"]


def seconds_tolerated(taints: Sequence[Object], tolerations: Sequence[Object], now: float) -> float | None:
    """Return for how long a pod with these tolerations may stay: 0 or less is not at all, None is for ever."""
    ends = []
    for taint in taints:
        tolerating = [toleration for toleration in tolerations if covers(toleration, taint)]
        if not tolerating:
            return 0.0
        limits = [t["tolerationSeconds"] for t in tolerating if t.get("tolerationSeconds") is not None]
        if limits:
            added = taint.get("timeAdded")
            ends.append((meta.parse_time(added) if added else now) + max(0.0, float(min(limits))) - now)
    return min(ends) if ends else None


async def reconcile(context: Context, key: Key) -> Result:
    """Evict what must go from one node."""
    node = context.caches(NODES).get(key.name)
    if node is None:
        return DONE
    decided = plan(node, context.caches(PODS).by_index("node", key.name), context.now())
    await asyncio.gather(*(_evict(context, pod) for pod in decided.evict))
    return Result(requeue_after=decided.wait_seconds)


async def _evict(context: Context, pod: Object) -> None:
    message = f"Marking for deletion Pod {meta.key_of(pod)}"
    context.events.event(pod, "Normal", "TaintManagerEviction", message)
    status = pod.get("status") or {}
    reason, why = "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"
    conditions = meta.with_condition(
        status.get("conditions") or [], "DisruptionTarget", "True", reason, why, context.now()
    )
    try:
        changed = {**pod, "status": {**status, "conditions": conditions}}
        await context.client.update(PODS, changed, subresource="status")
        await context.client.delete(PODS, meta.name(pod), meta.namespace(pod), uid=meta.uid(pod))
    except NotFound:
        return
