"""Keep what the scheduler knows of nodes and of the pods on them, changed one node or pod at a time.

`changes` is a log of the nodes that changed, in themselves or in their pods; rankings replay it. A new `epoch` means
that even nodes that are not in the log may have changed in some ranking's eyes. Follows kube-scheduler's
pkg/scheduler/backend/cache.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.pod_groups import GroupKey
from proa.objects.quick_dataclass import dataclass
from proa.scheduler.census import Census
from proa.scheduler.node_info import NodeInfo, nature_of
from proa.scheduler.pod_info import PodInfo
from proa.scheduler.topology import Topology

CHANGES_KEPT_A_NODE = 4


@dataclass(slots=True)
class Placed:
    """Where a pod is counted. `assumed`: our own decision, which the API has not confirmed yet."""

    info: PodInfo
    node_name: str
    assumed: bool


class Snapshot:
    """All nodes by name, with their pods. A pod of a node that is not known (yet) waits for it."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self.census = Census()
        self.images: dict[str, dict[str, int]] = {}
        """Image name to the nodes that have it, with its size in bytes there."""
        self.claim_users: dict[tuple[str, str], dict[str, int]] = {}
        """A claim's namespace and name to the nodes whose pods mount it, and how many do."""
        self.epoch = 0
        self.changes: list[str] = []
        self.changes_dropped = 0
        self.group_sizes: dict[GroupKey, int] = {}
        """How many pods of each PodGroup have a node."""
        self._topologies: WeakValueDictionary[str, Topology] = WeakValueDictionary()
        self._placed: dict[str, Placed] = {}
        self._waiting: dict[str, dict[str, PodInfo]] = {}

    @property
    def position(self) -> int:
        """Return how many changes there have been: where a reader of the log stands when it has read all."""
        return self.changes_dropped + len(self.changes)

    # Nodes

    def set_node(self, node: Object) -> None:
        """Add a node or take in its new version."""
        info = self.nodes.get(meta.name(node))
        if info is None:
            info = self.nodes[meta.name(node)] = NodeInfo(node)
            self._label(info.name, info)
            for pod in self._waiting.pop(info.name, {}).values():
                self._count(pod, info, 1)
            self._changed(info.name)
            return
        before = nature_of(info.node)
        if nature_of(node) == before:
            info.node = node
            return
        self._unlist_images(info)
        info.set_node(node)
        info.nature += 1
        self._label(info.name, info)
        self._changed(info.name)

    def remove_node(self, name: str) -> None:
        """Forget a node; its pods wait for it to come back."""
        info = self.nodes.pop(name, None)
        if info is None:
            return
        self._unlist_images(info)
        self._label(name, None)
        for pod in [*info.pods.values()]:
            self._count(pod, info, -1)
            self._waiting.setdefault(name, {})[pod.uid] = pod
        self._changed(name)

    def touch(self, name: str) -> None:
        """Have all rankings look again at a node of which something else changed that plugins know of."""
        if name in self.nodes:
            self.nodes[name].nature += 1
            self._changed(name)

    def topology(self, key: str) -> Topology:
        """Return the domains of a label, kept up to date for as long as anyone has them."""
        topology = self._topologies.get(key)
        if topology is None:
            topology = self._topologies[key] = Topology(key)
            for name, node in self.nodes.items():
                topology.set(name, node.labels.get(key))
        return topology

    def set_namespace(self, name: str, namespace: Object | None) -> None:
        """Take in a namespace's labels; None: it is gone."""
        if self.census.set_namespace(name, None if namespace is None else meta.labels(namespace)):
            self.epoch += 1

    # Pods

    def add_pod(self, info: PodInfo, node_name: str, *, assumed: bool = False) -> None:
        """Count a pod on a node: as assumed, or as the API says, which confirms or corrects what was assumed."""
        placed = self._placed.get(info.uid)
        if placed is not None:
            if placed.node_name == node_name and _counts_as(placed.info, info):
                placed.assumed = assumed
                return
            self.remove_pod(info.uid)
        self._placed[info.uid] = Placed(info, node_name, assumed)
        if info.group is not None:
            self.group_sizes[info.group] = self.group_sizes.get(info.group, 0) + 1
        node = self.nodes.get(node_name)
        if node is None:
            self._waiting.setdefault(node_name, {})[info.uid] = info
            return
        self._count(info, node, 1)
        self._changed(node_name)

    def remove_pod(self, uid: str) -> Placed | None:
        """Stop counting a pod; return where it was counted."""
        placed = self._placed.pop(uid, None)
        if placed is None:
            return None
        if (group := placed.info.group) is not None:
            self.group_sizes[group] -= 1
            if not self.group_sizes[group]:
                del self.group_sizes[group]
        node = self.nodes.get(placed.node_name)
        if node is not None:
            self._count(placed.info, node, -1)
            self._changed(placed.node_name)
        else:
            waiting = self._waiting[placed.node_name]
            del waiting[uid]
            if not waiting:
                del self._waiting[placed.node_name]
        return placed

    def forget(self, uid: str) -> bool:
        """Take back what was assumed; tell whether it had not been confirmed."""
        placed = self._placed.get(uid)
        return placed is not None and placed.assumed and self.remove_pod(uid) is not None

    def find(self, uid: str) -> Placed | None:
        """Return where a pod is counted."""
        return self._placed.get(uid)

    def node_of(self, uid: str) -> str:
        """Return the node that a pod is counted on, "" for none."""
        placed = self._placed.get(uid)
        return placed.node_name if placed else ""

    # Trials: what is not told to rankings must be undone before any is asked for its best

    def lift(self, info: PodInfo, node: NodeInfo) -> None:
        """Take a pod off its node for a trial."""
        self._count(info, node, -1)

    def put(self, info: PodInfo, node: NodeInfo) -> None:
        """Put a pod on a node for a trial, or back on it afterwards."""
        self._count(info, node, 1)

    def _count(self, info: PodInfo, node: NodeInfo, sign: int) -> None:
        if sign > 0:
            node.add(info)
        else:
            node.remove(info)
        self.census.count(info, node.name, sign)
        for claim in info.claims:
            users = self.claim_users.setdefault((info.namespace, claim), {})
            users[node.name] = users.get(node.name, 0) + sign
            if not users[node.name]:
                del users[node.name]
                if not users:
                    del self.claim_users[info.namespace, claim]

    def _label(self, name: str, info: NodeInfo | None) -> None:
        """Bring topologies and images up to date with a node; None: it is gone."""
        for key, topology in self._topologies.items():
            was_unique = topology.is_unique
            topology.set(name, info.labels.get(key) if info else None)
            if topology.is_unique != was_unique:
                self.epoch += 1
        for image, size in info.images.items() if info else ():
            self.images.setdefault(image, {})[name] = size

    def _unlist_images(self, info: NodeInfo) -> None:
        for image in info.images:
            nodes = self.images[image]
            del nodes[info.name]
            if not nodes:
                del self.images[image]

    def _changed(self, node_name: str) -> None:
        self.changes.append(node_name)
        if (node := self.nodes.get(node_name)) is not None:
            node.changed_at = self.position
        if len(self.changes) > 2 * CHANGES_KEPT_A_NODE * (len(self.nodes) + 64):
            surplus = len(self.changes) // 2
            del self.changes[:surplus]
            self.changes_dropped += surplus


def _counts_as(known: PodInfo, new: PodInfo) -> bool:
    """Tell whether two versions of a pod are the same to everyone who counts; the old one may stay then."""
    return (
        known.shape == new.shape
        and known.kind == new.kind
        and known.terms == new.terms
        and known.priority == new.priority
    )
