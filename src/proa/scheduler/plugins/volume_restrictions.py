"""Keep a pod from volumes that another pod has for itself alone (plugins/volumerestrictions).

A claim with ReadWriteOncePod is for one pod, wherever that is; some kinds of disks cannot be on a node twice, or
only if both pods read them alone.
"""

from __future__ import annotations

from collections.abc import Hashable

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import Code, Event, Sizes, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.pod_info import DISKS, PodInfo
from proa.scheduler.snapshot import Snapshot
from proa.scheduler.volumes import claim_names

NAME = "VolumeRestrictions"
DISK_TAKEN = Status(Code.UNSCHEDULABLE, NAME, ("node(s) had no available disk",))
CLAIM_TAKEN = Status(
    Code.UNSCHEDULABLE,
    NAME,
    ("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",),
)


class VolumeRestrictions:
    """A filter on disks, and an overview of who uses claims that are for one pod."""

    NAME = NAME
    HELPED_BY = frozenset({Event.NODE_ADDED, Event.POD_REMOVED, Event.CLAIM_CHANGED})
    DEPENDS_ON_PODS = True
    WEIGHT = 0
    FILTERS = True

    def __init__(self, informers: InformerFactory) -> None:
        self._claims = informers.informer(PERSISTENT_VOLUME_CLAIMS)

    def pre_filter(self, pod: PodInfo) -> Hashable:
        """Return the claims that are for one pod."""
        if not pod.claims:
            return None
        claims = [self._claims.get(name, pod.namespace) for name in pod.claims]
        return tuple(
            (pod.namespace, meta.name(claim))
            for claim in claims
            if claim is not None and "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ())
        )

    def concerns(self, pod: PodInfo, facts: Hashable) -> bool:
        """Tell whether the pod has disks."""
        return bool(_disks(pod.pod))

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Refuse a node where one of the pod's disks is in use."""
        wanted = _disks(pod.pod)
        taken = (volume for other in node.pods.values() for volume in other.pod["spec"].get("volumes") or ())
        return DISK_TAKEN if any(_clash(mine, theirs) for theirs in taken for mine in wanted) else None

    def overview(self, pod: PodInfo, facts: Hashable, snapshot: Snapshot) -> ClaimOverview | None:
        """Return what knows whether anyone uses the claims."""
        return ClaimOverview(facts, snapshot) if isinstance(facts, tuple) and facts else None

    def can_help(self, pod: PodInfo, event: Event, old: Object | None, new: Object | None) -> bool:
        """Tell whether a pod that went had one of the claims or disks, or whether the claim is the pod's."""
        changed = new or old
        if event is Event.NODE_ADDED or changed is None:
            return True
        if meta.namespace(changed) != pod.namespace:
            return bool(_disks(changed))
        names = [meta.name(changed)] if event is Event.CLAIM_CHANGED else claim_names(changed)
        return bool(set(names) & set(pod.claims)) or bool(_disks(changed))


class ClaimOverview:
    """A node's key is how many of its pods use the claims; one anywhere is too many."""

    COUNTS = True

    def __init__(self, claims: tuple[tuple[str, str], ...], snapshot: Snapshot) -> None:
        self._claims = claims
        self._users = snapshot.claim_users
        self._seen: dict[str, int] = {}
        self._total = 0

    def look(self, name: str, node: NodeInfo | None) -> Hashable:
        """Count the users on a node."""
        users = 0
        if node is not None:
            users = sum(self._users.get(claim, {}).get(name, 0) for claim in self._claims)
        self._total += users - self._seen.pop(name, 0)
        if users:
            self._seen[name] = users
        return ()

    def filter(self, key: Hashable) -> Status | None:
        """Refuse all nodes while anyone uses the claims."""
        return CLAIM_TAKEN if self._total else None

    def scores(self, groups: Sizes) -> list[int]:
        """Prefer none."""
        return [0] * len(groups)

    def close(self) -> None:
        """Hold nothing."""


def _disks(pod: Object) -> list[Object]:
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    return [volume for volume in volumes if any(disk in volume for disk in DISKS)]


def _clash(mine: Object, theirs: Object) -> bool:
    """Tell whether two volumes are one disk that cannot be used twice."""
    for kind, identity in (
        ("gcePersistentDisk", "pdName"),
        ("awsElasticBlockStore", "volumeID"),
        ("iscsi", "iqn"),
    ):
        if kind in mine and kind in theirs and mine[kind].get(identity) == theirs[kind].get(identity):
            both_read = mine[kind].get("readOnly") and theirs[kind].get("readOnly")
            if kind == "awsElasticBlockStore" or not both_read:
                return True
    if "rbd" not in mine or "rbd" not in theirs:
        return False
    ours, others = mine["rbd"], theirs["rbd"]
    is_same = set(ours.get("monitors") or ()) & set(others.get("monitors") or ()) and all(
        ours.get(key) == others.get(key) for key in ("pool", "image")
    )
    return bool(is_same) and not (ours.get("readOnly") and others.get("readOnly"))
