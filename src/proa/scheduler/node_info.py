"""A node and what its pods take of it, kept up to date one pod at a time (framework/types.go, NodeInfo)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from proa.client.protocol import Object
from proa.objects import meta, pods
from proa.objects.pods import HostPort
from proa.scheduler.pod_info import PodInfo

ANY_ADDRESS = "0.0.0.0"  # noqa: S104


class NodeInfo:
    """`nature` is a number that changes whenever the node itself does, its pods apart, `changed_at` where in
    the snapshot's log it, or one of its pods, changed last.

    cpu and memory, which every pod's score looks at, are attributes too.
    """

    __slots__ = (
        "_ports", "allocatable", "allowed_pods", "changed_at", "cpu_millis", "images", "labels", "memory_bytes",
        "name", "nature", "node", "pods", "requested", "requested_cpu_millis", "requested_memory_bytes",
        "scored_cpu_millis", "scored_memory_bytes",
    )  # fmt: skip

    def __init__(self, node: Object) -> None:
        self.pods: dict[str, PodInfo] = {}
        self.requested: dict[str, int] = {}
        self.requested_cpu_millis = 0
        self.requested_memory_bytes = 0
        self.scored_cpu_millis = 0
        self.scored_memory_bytes = 0
        self._ports: Counter[HostPort] = Counter()
        self.name = meta.name(node)
        self.nature = 0
        self.changed_at = 0
        self.set_node(node)

    def set_node(self, node: Object) -> None:
        """Take in a new version of the node."""
        self.node = node
        self.labels = meta.labels(node)
        status = node.get("status") or {}
        self.allocatable = pods.amounts(status.get("allocatable") or {})
        self.allowed_pods = self.allocatable.get("pods", 0)
        self.cpu_millis = self.allocatable.get("cpu", 0)
        self.memory_bytes = self.allocatable.get("memory", 0)
        self.images = image_sizes(status)

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
        self.requested_cpu_millis += sign * pod.cpu_millis
        self.requested_memory_bytes += sign * pod.memory_bytes
        self.scored_cpu_millis += sign * pod.scored_cpu_millis
        self.scored_memory_bytes += sign * pod.scored_memory_bytes
        for port in pod.ports:
            self._ports[port] += sign
            if not self._ports[port]:
                del self._ports[port]


def image_sizes(status: Object) -> dict[str, int]:
    """Return the size in bytes of each image that a node has, by all of its names."""
    return {
        name: image.get("sizeBytes") or 0
        for image in status.get("images") or ()
        for name in image.get("names") or ()
    }


def nature_of(node: Object) -> tuple[Any, ...]:
    """Return what of a node filters and scores look at, apart from its pods."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    return (
        meta.labels(node),
        spec.get("taints"),
        spec.get("unschedulable"),
        status.get("allocatable"),
        status.get("images"),
    )
