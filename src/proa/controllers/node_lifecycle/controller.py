"""Call a node unknown when its kubelet has fallen silent, keep its taints as its conditions demand, tell its pods.

Watches nodes, leases and pods; writes nodes' status, taints and old labels, and the Ready condition of the pods of a
node that is not Ready any more. Follows upstream's pkg/controller/nodelifecycle/node_lifecycle_controller.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from proa.client.protocol import Object
from proa.controllers.node_lifecycle.health import Heard, listen, with_unknown
from proa.controllers.node_lifecycle.taints import decide, is_driving, without_driving
from proa.controllers.node_lifecycle.zones import Zones
from proa.objects import meta
from proa.objects.errors import Conflict, NotFound
from proa.objects.resource import LEASES, NODES, PODS
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch, no_keys

logger = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
MONITOR_SECONDS = 5.0
"""So often a node is looked at again that waits for its zone's turn."""
OLD_LABELS = (
    ("kubernetes.io/os", "beta.kubernetes.io/os"),
    ("kubernetes.io/arch", "beta.kubernetes.io/arch"),
)
"""Labels whose old names follow the new ones."""


def _keys_of_lease(lease: Object) -> Iterable[Key]:
    return (Key("", meta.name(lease)),) if meta.namespace(lease) == LEASE_NAMESPACE else ()


class NodeLifecycle:
    """A `reconcile.protocol.Controller`; it remembers when it last heard of each node, and how zones fare."""

    NAME = "node-controller"
    WATCHES = (Watch(NODES), Watch(LEASES, keys_of=_keys_of_lease), Watch(PODS, keys_of=no_keys))

    def __init__(self) -> None:
        self._heard: dict[str, Heard] = {}
        self._known: dict[str, Object] = {}
        self._zones: Zones | None = None

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Look at one node; look again when its grace would end, or its zone's turn may have come."""
        zones = self._get_zones(context)
        node = context.caches(NODES).get(key.name)
        self._meet(context, key.name, node)
        if node is None:
            zones.drop(key.name)
            await self._settle(context, zones)
            return DONE
        now = context.now()
        heard = self._listen(context, node, now)
        observed = _ready_of(node)
        is_silent = heard.is_silent(now)
        if is_silent:
            node = await _post_unknown(context, node, now)
        ready = _ready_of(node)
        zones.put(node, is_ready=ready == "True")
        await self._settle(context, zones)
        is_waiting = await self._taint(context, node, zones, now)
        await _mend_labels(context, node)
        await self._tell_pods(context, node, was_ready=observed == "True" and ready != "True")
        if is_waiting:
            return Result(requeue_after=MONITOR_SECONDS)
        return DONE if is_silent else Result(requeue_after=heard.grace_seconds - (now - heard.at) + 0.001)

    def _get_zones(self, context: Context) -> Zones:
        """Return the zones, at first as the cache has their nodes: one alone would seem to be all there is."""
        if self._zones is None:
            self._zones = Zones(context.now)
            for node in context.caches(NODES).list():
                self._zones.put(node, is_ready=_ready_of(node) == "True")
        return self._zones

    def _meet(self, context: Context, name: str, node: Object | None) -> None:
        """Say that a node has come, or gone."""
        known = self._known.get(name)
        if known is not None and (node is None or meta.uid(node) != meta.uid(known)):
            self._heard.pop(name, None)
            self._known.pop(name)
            message = f"Node {name} event: Removing Node {name} from Controller"
            context.events.event(known, "Normal", "RemovingNode", message)
        if node is not None and name not in self._known:
            self._known[name] = {"apiVersion": "v1", "kind": "Node", "metadata": node["metadata"]}
            message = f"Node {name} event: Registered Node {name} in Controller"
            context.events.event(node, "Normal", "RegisteredNode", message)

    def _listen(self, context: Context, node: Object, now: float) -> Heard:
        name = meta.name(node)
        lease = context.caches(LEASES).get(name, LEASE_NAMESPACE)
        grace = context.settings.node_monitor_grace_seconds
        heard = self._heard[name] = listen(self._heard.get(name), node, lease, grace, now)
        return heard

    async def _settle(self, context: Context, zones: Zones) -> None:
        """Stop all evictions when no node is Ready any more; give everybody time to speak when one is again."""
        change = zones.settle()
        if change == "cut off":
            nodes = context.caches(NODES).list()
            if any(_ready_of(node) == "Unknown" for node in nodes):  # else they said so: a start or a stop
                logger.warning("no node is Ready: nothing is evicted")
            await asyncio.gather(*(_stop_driving(context, node) for node in nodes))
        elif change == "back":
            now = context.now()
            for heard in self._heard.values():
                heard.at = now

    async def _taint(self, context: Context, node: Object, zones: Zones, now: float) -> bool:
        """Bring the node's taints in line; tell whether one waits for its zone's turn."""
        conditions = (node.get("status") or {}).get("conditions") or []
        spec = node.get("spec") or {}
        before = spec.get("taints") or []
        unschedulable = bool(spec.get("unschedulable"))
        decided = decide(before, conditions, unschedulable=unschedulable, may_evict=False, now=now)
        if decided.is_waiting and zones.may_evict(node):
            decided = decide(before, conditions, unschedulable=unschedulable, may_evict=True, now=now)
        if decided.taints != before:
            await _write_taints(context, node, decided.taints)
        return decided.is_waiting

    async def _tell_pods(self, context: Context, node: Object, *, was_ready: bool) -> None:
        """Take the pods of a node that nobody vouches for out of their Services; its kubelet may put them back."""
        name = meta.name(node)
        if was_ready:
            message = f"Node {name} status is now: NodeNotReady"
            context.events.event(node, "Normal", "NodeNotReady", message)
        if _ready_of(node) == "Unknown":
            pods = context.caches(PODS).by_index("node", name)
            await asyncio.gather(*(_mark_not_ready(context, pod) for pod in pods))


def _ready_of(node: Object) -> str:
    """Return the status of the Ready condition, "" where there is none."""
    return str((meta.find_condition(node, "Ready") or {}).get("status", ""))


async def _post_unknown(context: Context, node: Object, now: float) -> Object:
    """Write that nobody knows how the node is; return it as it is now."""
    status = node.get("status") or {}
    conditions = with_unknown(node, now)
    if conditions == status.get("conditions"):
        return node
    changed = {**node, "status": {**status, "conditions": conditions}}
    return await context.client.update(NODES, changed, subresource="status")


async def _write_taints(context: Context, node: Object, taints: list[Object]) -> None:
    metadata = {"resourceVersion": meta.resource_version(node)}
    patch = {"metadata": metadata, "spec": {"taints": taints or None}}
    await context.client.patch(NODES, meta.name(node), patch)


async def _stop_driving(context: Context, node: Object) -> None:
    """Take from a node what drives pods away; one that changes meanwhile comes again."""
    taints = (node.get("spec") or {}).get("taints") or []
    if any(is_driving(taint) for taint in taints):
        try:
            await _write_taints(context, node, without_driving(taints))
        except (Conflict, NotFound):
            return


async def _mend_labels(context: Context, node: Object) -> None:
    """Have a node's old labels say what the new ones do."""
    labels = meta.labels(node)
    wanted = {old: labels[new] for new, old in OLD_LABELS if new in labels and labels.get(old) != labels[new]}
    if wanted:
        await context.client.patch(NODES, meta.name(node), {"metadata": {"labels": wanted}})


async def _mark_not_ready(context: Context, pod: Object) -> None:
    """Say that a pod is not Ready, where it says that it is."""
    status = pod.get("status") or {}
    ready = meta.find_condition(pod, "Ready")
    if ready is None or ready.get("status") == "False":
        return
    reason, message = ready.get("reason", ""), ready.get("message", "")
    conditions = meta.with_condition(status["conditions"], "Ready", "False", reason, message, context.now())
    try:
        changed = {**pod, "status": {**status, "conditions": conditions}}
        await context.client.update(PODS, changed, subresource="status")
    except (NotFound, Conflict):
        return  # gone, or its kubelet speaks after all
    context.events.event(pod, "Warning", "NodeNotReady", "Node is not ready")
