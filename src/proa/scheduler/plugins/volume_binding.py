"""Put a pod where its volumes are, and have volumes made where the pod goes (plugins/volumebinding).

A bound claim's volume limits the nodes by its node affinity. An unbound claim of a class that waits for its first
consumer needs a node that a free volume reaches, or where the class's provisioner makes one; it is told the node by
the annotation volume.kubernetes.io/selected-node, and the pod is bound once the claim is. Any other unbound claim
makes the pod wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import NamedTuple

import orjson

from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.errors import Conflict, NotFound, Timeout
from proa.objects.node_selectors import selects
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from proa.objects.volume_matching import SELECTED_NODE, class_of, free_volumes
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import Code, Event, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.pod_info import PodInfo
from proa.scheduler.volumes import is_bound, phase_of

NO_PROVISIONER = "kubernetes.io/no-provisioner"
BIND_SECONDS = 600.0
NOTHING_TO_BIND = "node(s) didn't find available persistent volumes to bind"
VOLUMES_OF_CLASS = "scheduler: storage class"


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """What a pod's claims ask: node selectors of bound volumes (as JSON), a node already chosen, claims to bind.

    `sources`: for each claim to bind, the nodes that a volume may come from.
    """

    affinities: tuple[bytes, ...]
    selected_node: str
    to_bind: tuple[str, ...]
    sources: tuple[Source, ...]


class Source(NamedTuple):
    """Where a volume for a claim can be had: by name, the node selectors (JSON, b"": any) of free volumes that fit,
    the smallest first; and, where one can be made, the topologies (JSON, b"": any) in which.
    """

    free: tuple[tuple[str, bytes], ...]
    made_in: bytes | None


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

    def __init__(
        self, client: Client, informers: InformerFactory, timeout_seconds: float = BIND_SECONDS
    ) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._claims = informers.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = informers.informer(PERSISTENT_VOLUMES)
        self._volumes.add_index(VOLUMES_OF_CLASS, lambda volume: (class_of(volume),))
        self._classes = informers.informer(STORAGE_CLASSES)
        self._waiting: dict[tuple[str, str], set[asyncio.Future[None]]] = {}
        self._claims.listen(self._claim_changed)

    def pre_filter(self, pod: PodInfo) -> Status | Hashable:
        """Refuse a pod with a claim that is missing, going, or unbound without waiting for a consumer."""
        names = pod.claims
        if not names:
            return None
        affinities: list[bytes] = []
        selected: list[str] = []
        to_bind: list[Object] = []
        for name in names:
            claim = self._claims.get(name, pod.namespace)
            if claim is None:
                return self._refuse(f'persistentvolumeclaim "{name}" not found')
            if meta.is_deleting(claim):
                return self._refuse(f'persistentvolumeclaim "{name}" is being deleted')
            volume_name = claim["spec"].get("volumeName", "")
            if phase_of(claim) == "Lost":
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
                to_bind.append(claim)
                if node := _selected_node(claim):
                    selected.append(node)
            else:
                return self._refuse("pod has unbound immediate PersistentVolumeClaims")
        sources = tuple(self._source(claim) for claim in to_bind)
        return VolumeFacts(
            tuple(affinities), min(selected, default=""), tuple(map(meta.name, to_bind)), sources
        )

    def concerns(self, pod: PodInfo, facts: Hashable) -> bool:
        """Tell whether the pod has claims."""
        return facts is not None

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Refuse a node that a bound volume cannot be used on, or other than a claim was told."""
        if not isinstance(facts, VolumeFacts):
            return None
        if not all(selects(orjson.loads(affinity), node.node) for affinity in facts.affinities):
            return self._refuse("node(s) didn't match PersistentVolume's node affinity")
        if facts.selected_node not in ("", node.name):
            return self._refuse(NOTHING_TO_BIND)
        return None if _finds_all(facts.sources, node) else self._refuse(NOTHING_TO_BIND)

    def can_help(self, pod: PodInfo, event: Event, old: Object | None, new: Object | None) -> bool:
        """Tell whether a claim is the pod's."""
        if event is not Event.CLAIM_CHANGED or new is None:
            return True
        return meta.namespace(new) == pod.namespace and meta.name(new) in pod.claims

    def _source(self, claim: Object) -> Source:
        """Find where a volume for the claim can be had."""
        storage_class = self._classes.get(class_of(claim)) or {}
        selectors = [
            (meta.name(volume), _dumped((volume["spec"].get("nodeAffinity") or {}).get("required")))
            for volume in free_volumes(claim, self._volumes.by_index(VOLUMES_OF_CLASS, class_of(claim)))
        ]
        is_made = storage_class.get("provisioner") not in (None, NO_PROVISIONER)
        return Source(tuple(selectors), _dumped(storage_class.get("allowedTopologies")) if is_made else None)

    async def pre_bind(self, pod: PodInfo, node_name: str, facts: Hashable) -> None:
        """Tell each unbound claim the node, and return when all are bound; raise Timeout, NotFound, Conflict."""
        if not isinstance(facts, VolumeFacts):
            return
        patch = {"metadata": {"annotations": {SELECTED_NODE: node_name}}}
        told = [
            await self._client.patch(PERSISTENT_VOLUME_CLAIMS, name, patch, pod.namespace)
            for name in facts.to_bind
        ]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                for claim in told:
                    await self._until_bound(claim)
        except TimeoutError:
            raise Timeout(f"binding volumes: timed out after {self._timeout_seconds:.0f} s") from None

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


def _selected_node(claim: Object) -> str:
    return meta.annotations(claim).get(SELECTED_NODE, "")


def _finds_all(sources: tuple[Source, ...], node: NodeInfo) -> bool:
    """Tell whether every claim finds a volume of its own that the node reaches, or may have one made there."""
    taken: set[str] = set()
    for source in sources:
        open_to = [(name, nodes) for name, nodes in source.free if name not in taken]
        reached = (name for name, nodes in open_to if not nodes or selects(orjson.loads(nodes), node.node))
        found = next(reached, None)
        if found is not None:
            taken.add(found)
        elif source.made_in is None or not _is_within(source.made_in, node):
            return False
    return True


def _is_within(topologies: bytes, node: NodeInfo) -> bool:
    """Tell whether a node is in one of a class's allowedTopologies."""
    return not topologies or any(
        all(node.labels.get(e["key"]) in e["values"] for e in term.get("matchLabelExpressions") or ())
        for term in orjson.loads(topologies)
    )


def _dumped(value: object) -> bytes:
    return orjson.dumps(value) if value else b""
