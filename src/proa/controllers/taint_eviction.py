"""Delete pods from nodes whose NoExecute taints they do not tolerate, or no longer do.

A toleration's tolerationSeconds count from when we first saw pod and taint together, and what was set then holds: a
taint that comes meanwhile and is tolerated for longer, or a toleration that changes, delays nothing. Watches nodes and
pods; deletes pods. Follows upstream's pkg/controller/tainteviction/taint_eviction.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.pods import node_name
from proa.objects.resource import NODES, PODS
from proa.objects.tolerations import covers
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch


def _keys_of_pod(pod: Object, caches: Caches) -> Iterable[Key]:
    node = caches(NODES).get(node_name(pod))
    if node is not None and no_execute_taints(node):
        yield Key("", meta.name(node))


class Plan(NamedTuple):
    """The pods to delete now, and when the time of each of the others comes that may not stay, by uid."""

    evict: tuple[Object, ...] = ()
    ends: Mapping[str, float] = {}


def plan(node: Object, pods: Iterable[Object], ends: Mapping[str, float], now: float) -> Plan:
    """Decide which of the node's pods must go; `ends` is what was planned before."""
    taints = no_execute_taints(node)
    if not taints:
        return Plan()
    evict, later = [], {}
    for pod in pods:
        if meta.is_deleting(pod):
            continue
        seconds = seconds_tolerated(taints, pod["spec"].get("tolerations") or ())
        if seconds is None:
            continue
        end = now if seconds <= 0 else ends.get(meta.uid(pod), now + seconds)
        if end <= now:
            evict.append(pod)
        else:
            later[meta.uid(pod)] = end
    return Plan(tuple(evict), later)


def no_execute_taints(node: Object) -> list[Object]:
    """Return the taints that drive pods away."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return [taint for taint in taints if taint.get("effect") == "NoExecute"]


def seconds_tolerated(taints: Sequence[Object], tolerations: Sequence[Object]) -> float | None:
    """Return for how long a pod with these tolerations may stay: 0 is not at all, None is for ever.

    Of several tolerations that cover a taint the first counts.
    """
    limits = []
    for taint in taints:
        toleration = next((entry for entry in tolerations if covers(entry, taint)), None)
        if toleration is None:
            return 0.0
        if toleration.get("tolerationSeconds") is not None:
            limits.append(max(0.0, float(toleration["tolerationSeconds"])))
    return min(limits, default=None)


class TaintEviction:
    """A `reconcile.protocol.Controller`; it remembers whose time is running, and when it ends."""

    NAME = "taint-eviction-controller"
    ACCOUNT = "node-controller"
    WATCHES = (Watch(NODES), Watch(PODS, find_keys=_keys_of_pod))

    def __init__(self) -> None:
        self._ends: dict[str, dict[str, tuple[float, Object]]] = {}

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Evict what must go from one node."""
        node = context.caches(NODES).get(key.name)
        if node is None:
            self._ends.pop(key.name, None)
            return DONE
        known = self._ends.get(key.name, {})
        if not known and not no_execute_taints(node):
            return DONE
        pods = context.caches(PODS).by_index("node", key.name)
        now = context.now()
        decided = plan(node, pods, {uid: end for uid, (end, _) in known.items()}, now)
        by_uid = {meta.uid(pod): pod for pod in pods}
        self._ends[key.name] = {uid: (end, _reference(by_uid[uid])) for uid, end in decided.ends.items()}
        self._tell_spared(context, known, decided, now)
        await asyncio.gather(*(_evict(context, pod) for pod in decided.evict))
        return Result(requeue_after=min((end - now for end in decided.ends.values()), default=0.0))

    def _tell_spared(
        self, context: Context, known: Mapping[str, tuple[float, Object]], decided: Plan, now: float
    ) -> None:
        """Say of pods whose time was running that it does so no more."""
        for uid, (end, pod) in known.items():
            if uid not in decided.ends and end > now:
                message = f"Cancelling deletion of Pod {meta.key_of(pod)}"
                context.events.event(pod, "Normal", "TaintManagerEviction", message)


def _reference(pod: Object) -> Object:
    """Return as much of a pod as an Event needs."""
    metadata = {field: pod["metadata"][field] for field in ("name", "namespace", "uid")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}


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
