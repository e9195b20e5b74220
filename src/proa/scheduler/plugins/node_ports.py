"""Keep apart pods that take the same port of the node (plugins/nodeports)."""

from __future__ import annotations

from collections.abc import Hashable

from proa.client.protocol import Object
from proa.objects import pods
from proa.scheduler.framework import Code, Event, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.pod_info import PodInfo


class NodePorts:
    """A filter on host ports; 0.0.0.0 clashes with every address."""

    NAME = "NodePorts"
    HELPED_BY = frozenset({Event.NODE_ADDED, Event.POD_REMOVED})
    DEPENDS_ON_PODS = True
    _REJECTED = Status(
        Code.UNSCHEDULABLE, NAME, ("node(s) didn't have free ports for the requested pod ports",)
    )

    def concerns(self, pod: PodInfo, facts: Hashable) -> bool:
        """Tell whether the pod takes ports."""
        return bool(pod.ports)

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Refuse a node where one of the pod's host ports is taken."""
        return self._REJECTED if pod.ports and node.has_port_conflict(pod.ports) else None

    def can_help(self, pod: PodInfo, event: Event, old: Object | None, new: Object | None) -> bool:
        """Tell whether the pod that is gone had one of the ports."""
        if event is not Event.POD_REMOVED or old is None:
            return True
        wanted = {(port.protocol, port.port) for port in pod.ports}
        return any((port.protocol, port.port) in wanted for port in pods.host_ports(old))
