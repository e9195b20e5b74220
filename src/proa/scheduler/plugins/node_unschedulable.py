"""Keep pods off cordoned nodes, unless they tolerate that (plugins/nodeunschedulable)."""

from __future__ import annotations

from collections.abc import Hashable

from proa.client.protocol import Object
from proa.objects.tolerations import tolerates
from proa.scheduler.framework import Code, Event, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.pod_info import PodInfo

TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


class NodeUnschedulable:
    """A filter on spec.unschedulable."""

    NAME = "NodeUnschedulable"
    HELPED_BY = frozenset({Event.NODE_ADDED, Event.NODE_TAINTS})
    DEPENDS_ON_PODS = False
    _REJECTED = Status(Code.UNRESOLVABLE, NAME, ("node(s) were unschedulable",))

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Refuse a cordoned node."""
        return self._REJECTED if node.is_unschedulable and not tolerates(pod.tolerations, TAINT) else None

    def can_help(self, pod: PodInfo, event: Event, old: Object | None, new: Object | None) -> bool:
        """Tell whether the node takes the pod now."""
        return new is None or self.filter(pod, NodeInfo(new), None) is None
