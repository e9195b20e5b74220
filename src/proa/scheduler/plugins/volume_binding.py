"""Put a pod where its volumes are, and have volumes made where the pod goes (plugins/volumebinding).

A bound claim's volume limits the nodes by its node affinity. An unbound claim of a class that waits for its first
consumer is told the node by the annotation volume.kubernetes.io/selected-node, and the pod is bound once the claim
is. Any other unbound claim makes the pod wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

import orjson

from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.errors import Conflict, NotFound, Timeout
from proa.objects.node_selectors import selects
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import Code, Event, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.pod_info import PodInfo

SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BIND_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """What a pod's claims ask: node selectors of bound volumes (as JSON), a node already chosen, claims to bind."""

    affinities: tuple[bytes, ...]
    selected_node: str
    to_bind: tuple[str, ...]


class VolumeBinding:
    """A pre-filter on claims, a filter on volumes' node affinity, a pre-bind that has claims bound."""

    NAME = "VolumeBinding"
    HELPED_BY = frozenset(
        {
            Event.NODE_ADDED,
            Event.NODE_LABELS,
            Event.CLAIM_CHANGED,
            Event.VOLUME_CHANGED,
            Event.CLASS_CHANGED,
        }
    )
    DEPENDS_ON_PODS = False

    def __init__(self, client: Client, informers: InformerFactory) -> None:
        self._client = client
        self._claims = informers.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = informers.informer(PERSISTENT_VOLUMES)
        self._classes = informers.informer(STORAGE_CLASSES)
        self._waiting: dict[tuple[str, str], set[asyncio.Future[None]]] = {}
        self._claims.listen(self._claim_changed)

    def pre_filter(self, pod: PodInfo) -> Status | Hashable:
        """Refuse a pod with a claim that is missing, going, or unbound without waiting for a consumer."""
        names = claim_names(pod.pod)
        if not names:
            return None
        affinities: list[bytes] = []
        selected: list[str] = []
        to_bind: list[str] = []
        for name in names:
            claim = self._claims.get(name, pod.namespace)
            if claim is None:
                return self._refuse(f'persistentvolumeclaim "{name}" not found')
            if meta.is_deleting(claim):
                return self._refuse(f'persistentvolumeclaim "{name}" is being deleted')
            volume_name = claim["spec"].get("volumeName", "")
            if _phase(claim) == "Lost":
                missing = (
                    f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume_name}"'
                )
                return self._refuse(missing)
            if is_bound(claim):
                volume = self._volumes.get(volume_name)
                if volume is None:
                    return self._refuse(f'persistentvolume "{volume_name}" not found')
                required = (volume["spec"].get("nodeAffinity") or {}).get("required")
                if required is not None:
                    affinities.append(orjson.dumps(required))
            elif self._waits_for_consumer(claim):
                to_bind.append(name)
                if node := _selected_node(claim):
                    selected.append(node)
            else:
                return self._refuse("pod has unbound immediate PersistentVolumeClaims")
        return VolumeFacts(tuple(affinities), min(selected, default=""), tuple(to_bind))

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Refuse a node that a bound volume cannot be used on, or other than a claim was told."""
        if not isinstance(facts, VolumeFacts):
            return None
        if not all(selects(orjson.loads(affinity), node.node) for affinity in facts.affinities):
            return self._refuse("node(s) didn't match PersistentVolume's node affinity")
        if facts.selected_node not in ("", node.name):
            return self._refuse("node(s) didn't find available persistent volumes to bind")
        return None

    async def pre_bind(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> None:
        """Tell each unbound claim the node, and return when all are bound; raise Timeout, NotFound, Conflict."""
        if not isinstance(facts, VolumeFacts):
            return
        patch = {"metadata": {"annotations": {SELECTED_NODE: node.name}}}
        told = [
            await self._client.patch(PERSISTENT_VOLUME_CLAIMS, name, patch, pod.namespace)
            for name in facts.to_bind
        ]
        try:
            async with asyncio.timeout(BIND_SECONDS):
                for claim in told:
                    await self._until_bound(claim)
        except TimeoutError:
            raise Timeout(f"binding volumes: timed out after {BIND_SECONDS:.0f} s") from None

    async def _until_bound(self, told: Object) -> None:
        """Return when a claim that has been told its node is bound; raise Conflict when it is told otherwise."""
        namespace, name = meta.namespace(told), meta.name(told)
        while True:
            claim = self._claims.get(name, namespace)
            if claim is None:
                raise NotFound(f'persistentvolumeclaim "{name}" not found')
            if is_bound(claim):
                return
            is_up_to_date = int(meta.resource_version(claim)) >= int(meta.resource_version(told))
            if is_up_to_date and _selected_node(claim) != _selected_node(told):
                raise Conflict(
                    f'provisioning failed for PVC "{name}"'
                )  # the provisioner gave up on this node
            changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting = self._waiting.setdefault((namespace, name), set())
            waiting.add(changed)
            try:
                await changed
            finally:
                waiting.discard(changed)

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        claim = new or old
        assert claim is not None
        for changed in self._waiting.pop((meta.namespace(claim), meta.name(claim)), ()):
            if not changed.done():
                changed.set_result(None)

    def _waits_for_consumer(self, claim: Object) -> bool:
        storage_class = self._classes.get(claim["spec"].get("storageClassName") or "")
        return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"

    def _refuse(self, reason: str) -> Status:
        return Status(Code.UNRESOLVABLE, self.NAME, (reason,))


def claim_names(pod: Object) -> list[str]:
    """Return the names of the claims that a pod mounts; an ephemeral volume's claim is named after both."""
    names = []
    for volume in pod["spec"].get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            names.append(volume["persistentVolumeClaim"]["claimName"])
        elif "ephemeral" in volume:
            names.append(f"{meta.name(pod)}-{volume['name']}")
    return names


def is_bound(claim: Object) -> bool:
    """Tell whether the binding of a claim is complete."""
    bound = _phase(claim) == "Bound" or BIND_COMPLETED in meta.annotations(claim)
    return bool(claim["spec"].get("volumeName")) and bound


def _selected_node(claim: Object) -> str:
    return meta.annotations(claim).get(SELECTED_NODE, "")


def _phase(claim: Object) -> str:
    phase: str = (claim.get("status") or {}).get("phase") or ""
    return phase
