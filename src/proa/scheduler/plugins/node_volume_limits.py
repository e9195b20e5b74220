"""Put no more volumes of a CSI driver on a node than its CSINode says the node can take (plugins/nodevolumelimits)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.resource import CSI_NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import Code, Event, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.pod_info import PodInfo
from proa.scheduler.volumes import claim_names

NAME = "NodeVolumeLimits"
TOO_MANY = Status(Code.UNSCHEDULABLE, NAME, ("node(s) exceed max volume count",))

VolumeKey = tuple[str, str]
"""A CSI driver, and what is the volume's own to it."""


class NodeVolumeLimits:
    """A pre-filter that finds the pod's CSI volumes, a filter on how many the node has."""

    NAME = NAME
    HELPED_BY = frozenset({Event.NODE_ADDED, Event.CSI_NODE_CHANGED, Event.POD_REMOVED, Event.CLAIM_CHANGED})
    DEPENDS_ON_PODS = True

    def __init__(self, informers: InformerFactory) -> None:
        self._csi_nodes = informers.informer(CSI_NODES)
        self._claims = informers.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = informers.informer(PERSISTENT_VOLUMES)
        self._classes = informers.informer(STORAGE_CLASSES)

    def pre_filter(self, pod: PodInfo) -> Hashable:
        """Return the pod's CSI volumes, where any node has a limit."""
        if not pod.claims or not len(self._csi_nodes):
            return None
        return tuple(sorted(set(self._keys(pod.namespace, pod.claims)))) or None

    def concerns(self, pod: PodInfo, facts: Hashable) -> bool:
        """Tell whether the pod has CSI volumes."""
        return facts is not None

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Refuse a node that would have too many volumes of a driver."""
        if not isinstance(facts, tuple):
            return None
        limits = self._limits(node.name)
        if not limits:
            return None
        there = {key for other in node.pods.values() for key in self._keys(other.namespace, other.claims)}
        total = Counter(driver for driver, _ in there.union(facts))
        new = {driver for driver, volume in facts if (driver, volume) not in there}
        return TOO_MANY if any(total[driver] > limits.get(driver, total[driver]) for driver in new) else None

    def can_help(self, pod: PodInfo, event: Event, old: Object | None, new: Object | None) -> bool:
        """Tell whether a pod that went had claims."""
        return event is not Event.POD_REMOVED or old is None or bool(claim_names(old))

    def _limits(self, node_name: str) -> dict[str, int]:
        csi_node = self._csi_nodes.get(node_name)
        drivers = csi_node["spec"].get("drivers") or () if csi_node else ()
        counts = {driver["name"]: (driver.get("allocatable") or {}).get("count") for driver in drivers}
        return {name: count for name, count in counts.items() if count is not None}

    def _keys(self, namespace: str, names: Iterable[str]) -> list[VolumeKey]:
        """Return the CSI volumes of claims; one without a volume yet is counted as what its class will make."""
        found = []
        for name in names:
            claim = self._claims.get(name, namespace)
            if claim is None:
                continue
            volume = self._volumes.get(claim["spec"].get("volumeName") or "")
            if volume is not None:
                if csi := volume["spec"].get("csi"):
                    found.append((csi["driver"], csi["volumeHandle"]))
                continue
            storage_class = self._classes.get(claim["spec"].get("storageClassName") or "")
            if storage_class is not None:
                found.append((storage_class["provisioner"], f"{namespace}/{meta.name(claim)}"))
        return found
