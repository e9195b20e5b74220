"""Put a pod in the zones that labels of its bound volumes name (plugins/volumezone)."""

from __future__ import annotations

from collections.abc import Hashable

from proa.objects import meta
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import Code, Event, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.pod_info import PodInfo

NAME = "VolumeZone"
ELSEWHERE = Status(Code.UNRESOLVABLE, NAME, ("node(s) had no available volume zone",))
GENERAL = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region": "topology.kubernetes.io/region",
}
"""The labels that count, and what the old ones are called now."""


class VolumeZone:
    """A pre-filter that reads volumes' labels, a filter on the node's. A node without any such label is anywhere."""

    NAME = NAME
    HELPED_BY = frozenset(
        {Event.NODE_ADDED, Event.NODE_LABELS, Event.CLAIM_CHANGED, Event.VOLUME_CHANGED, Event.CLASS_CHANGED}
    )
    DEPENDS_ON_PODS = False

    def __init__(self, informers: InformerFactory) -> None:
        self._claims = informers.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = informers.informer(PERSISTENT_VOLUMES)

    def pre_filter(self, pod: PodInfo) -> Hashable:
        """Return each label with the values that will do."""
        found = set()
        for name in pod.claims:
            claim = self._claims.get(name, pod.namespace)
            volume = self._volumes.get((claim["spec"].get("volumeName") or "") if claim else "")
            labels = meta.labels(volume) if volume else {}
            found |= {(key, frozenset(labels[key].split("__"))) for key in GENERAL if key in labels}
        return frozenset(found) or None

    def concerns(self, pod: PodInfo, facts: Hashable) -> bool:
        """Tell whether the pod has volumes with zones."""
        return facts is not None

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Refuse a node in another zone."""
        if not isinstance(facts, frozenset) or not any(key in node.labels for key in GENERAL):
            return None
        for key, values in facts:
            if node.labels.get(key, node.labels.get(GENERAL[key])) not in values:
                return ELSEWHERE
        return None
