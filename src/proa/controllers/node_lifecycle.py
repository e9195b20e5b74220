"""Call a node unknown when its kubelet has fallen silent, and keep its taints in line with its conditions.

The kubelet renews a lease in kube-node-lease; how long ago that was is measured by our own clock from when we
saw it change, so that a restart or a wrong clock condemns nobody; nor does a suspended machine, where we have been as
silent as the kubelet, which then gets time to speak. Watches nodes, leases and pods; writes
nodes' status and taints, and the Ready condition of the pods of a node that is not ready. Follows upstream's
pkg/controller/nodelifecycle/node_lifecycle_controller.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import Conflict, NotFound
from proa.objects.pods import is_ready, is_terminated
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import LEASES, NODES, PODS
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch, no_keys

LEASE_NAMESPACE = "kube-node-lease"
STARTUP_GRACE_SECONDS = 60.0
LATE_SECONDS = 5.0
WAKE_GRACE_SECONDS = 15.0
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
HEALTH_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_CONDITION_TAINTS = (
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
)
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_MANAGED = {
    *((key, "NoSchedule") for _, _, key in _CONDITION_TAINTS),
    (UNSCHEDULABLE, "NoSchedule"),
    (NOT_READY, "NoExecute"),
    (UNREACHABLE, "NoExecute"),
}


def _keys_of_lease(lease: Object) -> Iterable[Key]:
    return (Key("", meta.name(lease)),) if meta.namespace(lease) == LEASE_NAMESPACE else ()


class Plan(NamedTuple):
    """The conditions and taints to write, None where they are right; whether the pods are cut off."""

    conditions: list[Object] | None = None
    taints: list[Object] | None = None
    mark_pods: bool = False
    wait_seconds: float = 0.0


def plan(node: Object, silent_seconds: float, grace_seconds: float, now: float) -> Plan:
    """Decide about a node whose kubelet was last heard of `silent_seconds` ago."""
    conditions = (node.get("status") or {}).get("conditions") or []
    is_silent = silent_seconds >= grace_seconds
    after = _with_unknown(conditions, now) if is_silent else list(conditions)
    ready = next((c.get("status", "Unknown") for c in after if c["type"] == "Ready"), "Unknown")
    before = (node.get("spec") or {}).get("taints") or []
    taints = _taints(node, after, before, ready, now)
    return Plan(
        conditions=after if after != conditions else None,
        taints=taints if taints != before else None,
        mark_pods=ready != "True" and bool(conditions),
        wait_seconds=0.0 if is_silent else grace_seconds - silent_seconds,
    )


def _with_unknown(conditions: Sequence[Object], now: float) -> list[Object]:
    """Return the health conditions as Unknown, with the reason that fits what was ever posted."""
    result = list(conditions)
    for type in HEALTH_CONDITIONS:
        found = next((c for c in result if c["type"] == type), None)
        if found is not None and found.get("status") == "Unknown":
            continue
        reason, message = "NodeStatusUnknown", "Kubelet stopped posting node status."
        if found is None:
            reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
        result = meta.with_condition(result, type, "Unknown", reason, message, now)
    return result


def _taints(
    node: Object, conditions: Sequence[Object], before: Sequence[Object], ready: str, now: float
) -> list[Object]:
    """Return the node's taints: those of others as they are, ours as the conditions demand."""
    wanted = {
        (key, "NoSchedule")
        for type, status, key in _CONDITION_TAINTS
        if any(c["type"] == type and c.get("status") == status for c in conditions)
    }
    if (node.get("spec") or {}).get("unschedulable"):
        wanted.add((UNSCHEDULABLE, "NoSchedule"))
    if ready != "True" and any(c["type"] == "Ready" for c in conditions):
        wanted.add((NOT_READY if ready == "False" else UNREACHABLE, "NoExecute"))
    kept = [t for t in before if _identity(t) not in _MANAGED or _identity(t) in wanted]
    there = {_identity(taint) for taint in kept}
    new = [_make_taint(key, effect, now) for key, effect in sorted(wanted - there)]
    return [*kept, *new]


def _identity(taint: Object) -> tuple[str, str]:
    return taint["key"], taint["effect"]


def _make_taint(key: str, effect: str, now: float) -> Object:
    return {"key": key, "effect": effect, "timeAdded": meta.format_time(now)}


@dataclass(slots=True)
class _Heard:
    """What a node last said, and when we heard it say something new."""

    said: tuple[Any, ...]
    at: float
    grace_seconds: float


class NodeLifecycle:
    """A `reconcile.protocol.Controller`; it remembers when it last heard of each node."""

    NAME = "node-controller"
    WATCHES = (Watch(NODES), Watch(LEASES, keys_of=_keys_of_lease), Watch(PODS, keys_of=no_keys))

    def __init__(self) -> None:
        self._heard: dict[str, _Heard] = {}

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Look at one node; look again when its grace would end."""
        node = context.caches(NODES).get(key.name)
        if node is None:
            self._heard.pop(key.name, None)
            return DONE
        now = context.now()
        heard = self._listen(context, node, now)
        decided = plan(node, now - heard.at, heard.grace_seconds, now)
        await _apply(context, node, decided)
        return Result(requeue_after=decided.wait_seconds + 0.001 if decided.wait_seconds > 0 else 0.0)

    def _listen(self, context: Context, node: Object, now: float) -> _Heard:
        lease = context.caches(LEASES).get(meta.name(node), LEASE_NAMESPACE)
        ready = meta.find_condition(node, "Ready") or {}
        said = ((lease or {}).get("spec", {}).get("renewTime"), ready.get("lastHeartbeatTime"))
        known = self._heard.get(meta.name(node))
        if known is None or known.said != said:
            grace = context.settings.node_monitor_grace_seconds
            if known is None and not ready:
                grace = STARTUP_GRACE_SECONDS
            known = self._heard[meta.name(node)] = _Heard(said, now, grace)
        elif ready.get("status") != "Unknown" and now > known.at + known.grace_seconds + LATE_SECONDS:
            known.at = now - known.grace_seconds + WAKE_GRACE_SECONDS  # we did not look when it was due
        return known


async def _apply(context: Context, node: Object, decided: Plan) -> None:
    name = meta.name(node)
    was_ready = meta.has_condition(node, "Ready")
    if decided.conditions is not None:
        status = {**(node.get("status") or {}), "conditions": decided.conditions}
        node = await context.client.update(NODES, {**node, "status": status}, subresource="status")
    if decided.taints is not None:
        metadata = {"resourceVersion": meta.resource_version(node)}
        patch = {"metadata": metadata, "spec": {"taints": decided.taints or None}}
        node = await context.client.patch(NODES, name, patch)
    if was_ready and decided.conditions is not None:
        message = f"Node {name} status is now: NodeNotReady"
        context.events.event(node, "Normal", "NodeNotReady", message)
    if decided.mark_pods:
        cut_off = [pod for pod in context.caches(PODS).by_index("node", name) if _counts_as_ready(pod)]
        await asyncio.gather(*(_mark_not_ready(context, pod) for pod in cut_off))


def _counts_as_ready(pod: Object) -> bool:
    return is_ready(pod) and not is_terminated(pod)


async def _mark_not_ready(context: Context, pod: Object) -> None:
    """Take the pod out of its Services, as nobody vouches for it; its kubelet will put it back."""
    status = pod.get("status") or {}
    conditions = meta.with_condition(status["conditions"], "Ready", "False", "", "", context.now())
    try:
        changed = {**pod, "status": {**status, "conditions": conditions}}
        await context.client.update(PODS, changed, subresource="status")
    except (NotFound, Conflict):
        return  # gone, or its kubelet speaks after all
    context.events.event(pod, "Warning", "NodeNotReady", "Node is not ready")
