"""Keep what the scheduler knows of nodes and of the pods on them, changed one pod at a time.

Amounts are integers: cpu in thousandths, all else in units. `changes` is a log of the nodes whose pods changed;
rankings replay it. A change of a node itself (labels, taints, allocatable) starts a new `epoch`, in which no
earlier ranking counts. Follows kube-scheduler's pkg/scheduler/framework/types.go and backend/cache.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from proa.client.protocol import Object
from proa.objects import meta, pods
from proa.objects.pods import HostPort
from proa.objects.quick_dataclass import dataclass

DEFAULT_CPU_MILLIS = 100
DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024
"""What scoring assumes of a container that requests nothing (pkg/scheduler/util/pod_resources.go)."""

ANY_ADDRESS = "0.0.0.0"  # noqa: S104
CHANGES_KEPT_A_NODE = 4


@dataclass(frozen=True, slots=True, eq=False)
class PodInfo:
    """A pod as scheduling sees it. Pods with equal `shape` are alike to every filter and score."""

    pod: Object
    uid: str
    namespace: str
    name: str
    priority: int
    requests: dict[str, int]
    scored_cpu_millis: int
    scored_memory_bytes: int
    ports: tuple[HostPort, ...]
    shape: bytes

    @property
    def tolerations(self) -> list[Object]:
        """Return spec.tolerations."""
        return self.pod["spec"].get("tolerations") or []


def make_pod_info(pod: Object) -> PodInfo:
    """Build a PodInfo from a pod."""
    spec = pod["spec"]
    requests = pods.resource_requests(pod)
    cpu, memory = _scored_amounts(pod, requests)
    ports = tuple(pods.host_ports(pod))
    shape = orjson.dumps(
        [
            requests,
            cpu,
            memory,
            [list(port) for port in ports],
            spec.get("nodeSelector"),
            (spec.get("affinity") or {}).get("nodeAffinity"),
            spec.get("tolerations"),
        ],
        option=orjson.OPT_SORT_KEYS,
    )
    return PodInfo(
        pod, meta.uid(pod), meta.namespace(pod), meta.name(pod), spec.get("priority") or 0,
        requests, cpu, memory, ports, shape,
    )  # fmt: skip


def _scored_amounts(pod: Object, requests: dict[str, int]) -> tuple[int, int]:
    """Return cpu and memory requests, with defaults for each container that has none."""
    pod_level = (pod["spec"].get("resources") or {}).get("requests") or {}
    amounts = []
    for resource, default in (("cpu", DEFAULT_CPU_MILLIS), ("memory", DEFAULT_MEMORY_BYTES)):
        missing = sum(resource not in pods.container_requests(c) for c in pods.containers(pod))
        amounts.append(requests.get(resource, 0) + (0 if resource in pod_level else missing * default))
    return amounts[0], amounts[1]


class NodeInfo:
    """A node and what its pods take of it."""

    __slots__ = (
        "_ports", "allocatable", "allowed_pods", "name", "node", "pods", "requested", "scored_cpu_millis",
        "scored_memory_bytes",
    )  # fmt: skip

    def __init__(self, node: Object) -> None:
        self.pods: dict[str, PodInfo] = {}
        self.requested: dict[str, int] = {}
        self.scored_cpu_millis = 0
        self.scored_memory_bytes = 0
        self._ports: Counter[HostPort] = Counter()
        self.name = meta.name(node)
        self.set_node(node)

    def set_node(self, node: Object) -> None:
        """Take in a new version of the node."""
        self.node = node
        self.allocatable = pods.amounts((node.get("status") or {}).get("allocatable") or {})
        self.allowed_pods = self.allocatable.get("pods", 0)

    @property
    def labels(self) -> dict[str, str]:
        """Return metadata.labels."""
        return meta.labels(self.node)

    @property
    def taints(self) -> list[Object]:
        """Return spec.taints."""
        return (self.node.get("spec") or {}).get("taints") or []

    @property
    def is_unschedulable(self) -> bool:
        """Tell whether it is cordoned."""
        return bool((self.node.get("spec") or {}).get("unschedulable"))

    def add(self, pod: PodInfo) -> None:
        """Count a pod in."""
        self.pods[pod.uid] = pod
        self._count(pod, 1)

    def remove(self, pod: PodInfo) -> None:
        """Count a pod out."""
        del self.pods[pod.uid]
        self._count(pod, -1)

    def has_port_conflict(self, ports: tuple[HostPort, ...]) -> bool:
        """Tell whether one of the ports is taken; all addresses clash with each."""
        return any(
            taken.port == port.port
            and taken.protocol == port.protocol
            and (taken.ip == port.ip or ANY_ADDRESS in (taken.ip, port.ip))
            for port in ports
            for taken in self._ports
        )

    def _count(self, pod: PodInfo, sign: int) -> None:
        for resource, amount in pod.requests.items():
            self.requested[resource] = self.requested.get(resource, 0) + sign * amount
        self.scored_cpu_millis += sign * pod.scored_cpu_millis
        self.scored_memory_bytes += sign * pod.scored_memory_bytes
        for port in pod.ports:
            self._ports[port] += sign
            if not self._ports[port]:
                del self._ports[port]


@dataclass(slots=True)
class _Placed:
    """Where a pod is counted. `assumed`: our own decision, which the API has not confirmed yet."""

    info: PodInfo
    node_name: str
    assumed: bool


class Snapshot:
    """All nodes by name, with their pods. A pod of a node that is not known (yet) waits for it."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self.epoch = 0
        self.changes: list[str] = []
        self.changes_dropped = 0
        self._placed: dict[str, _Placed] = {}
        self._waiting: dict[str, dict[str, PodInfo]] = {}

    @property
    def position(self) -> int:
        """Return how many changes there have been: where a reader of the log stands when it has read all."""
        return self.changes_dropped + len(self.changes)

    def set_node(self, node: Object) -> None:
        """Add a node or take in its new version."""
        info = self.nodes.get(meta.name(node))
        if info is None:
            info = self.nodes[meta.name(node)] = NodeInfo(node)
            for pod in self._waiting.pop(info.name, {}).values():
                info.add(pod)
            self.epoch += 1
            return
        before = _nature(info.node)
        info.set_node(node)
        if _nature(node) != before:
            self.epoch += 1

    def remove_node(self, name: str) -> None:
        """Forget a node; its pods wait for it to come back."""
        info = self.nodes.pop(name, None)
        if info is not None:
            if info.pods:
                self._waiting[name] = info.pods
            self.epoch += 1

    def add_pod(self, info: PodInfo, node_name: str, *, assumed: bool = False) -> None:
        """Count a pod on a node: as assumed, or as the API says, which confirms or corrects what was assumed."""
        placed = self._placed.get(info.uid)
        if placed is not None:
            if placed.node_name == node_name and placed.info.shape == info.shape:
                placed.assumed = assumed
                return
            self.remove_pod(info.uid)
        self._placed[info.uid] = _Placed(info, node_name, assumed)
        node = self.nodes.get(node_name)
        if node is None:
            self._waiting.setdefault(node_name, {})[info.uid] = info
            return
        node.add(info)
        self._changed(node_name)

    def remove_pod(self, uid: str) -> bool:
        """Stop counting a pod; tell whether it was counted."""
        placed = self._placed.pop(uid, None)
        if placed is None:
            return False
        node = self.nodes.get(placed.node_name)
        if node is not None:
            node.remove(placed.info)
            self._changed(placed.node_name)
        else:
            waiting = self._waiting[placed.node_name]
            del waiting[uid]
            if not waiting:
                del self._waiting[placed.node_name]
        return True

    def forget(self, uid: str) -> bool:
        """Take back what was assumed; tell whether it had not been confirmed."""
        placed = self._placed.get(uid)
        return placed is not None and placed.assumed and self.remove_pod(uid)

    def node_of(self, uid: str) -> str:
        """Return the node that a pod is counted on, "" for none."""
        placed = self._placed.get(uid)
        return placed.node_name if placed else ""

    def has_lower_priority_pod(self, priority: int) -> bool:
        """Tell whether any node has a pod below that priority."""
        return any(placed.info.priority < priority for placed in self._placed.values())

    def _changed(self, node_name: str) -> None:
        self.changes.append(node_name)
        if len(self.changes) > 2 * CHANGES_KEPT_A_NODE * (len(self.nodes) + 64):
            surplus = len(self.changes) // 2
            del self.changes[:surplus]
            self.changes_dropped += surplus


def _nature(node: Object) -> tuple[Any, ...]:
    """Return what of a node filters and scores look at, apart from its pods."""
    spec = node.get("spec") or {}
    return (
        meta.labels(node),
        spec.get("taints"),
        spec.get("unschedulable"),
        (node.get("status") or {}).get("allocatable"),
    )
