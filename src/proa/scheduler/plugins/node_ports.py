"""Keep apart pods that take the same port of the node (plugins/nodeports)."""

from __future__ import annotations

from collections.abc import Hashable

from proa.scheduler.framework import Code, Event, Status
from proa.scheduler.snapshot import NodeInfo, PodInfo


class NodePorts:
    """A filter on host ports."""

    NAME = "NodePorts"
    HELPED_BY = frozenset({Event.NODE_ADDED, Event.POD_REMOVED})
    DEPENDS_ON_PODS = True
    _REJECTED = Status(
        Code.UNSCHEDULABLE, NAME, ("node(s) didn't have free ports for the requested pod ports",)
    )

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Refuse a node where one of the pod's host ports is taken."""
        return self._REJECTED if pod.ports and node.has_port_conflict(pod.ports) else None
