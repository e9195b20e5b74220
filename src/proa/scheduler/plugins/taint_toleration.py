"""Keep pods off nodes whose taints they do not tolerate, and prefer nodes with fewer such (plugins/tainttoleration)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

from proa.client.protocol import Object
from proa.objects.tolerations import find_untolerated, tolerates
from proa.scheduler.framework import Code, Event, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.pod_info import PodInfo


class TaintToleration:
    """A filter on NoSchedule and NoExecute taints, a score on PreferNoSchedule ones."""

    NAME = "TaintToleration"
    HELPED_BY = frozenset({Event.NODE_ADDED, Event.NODE_TAINTS})
    DEPENDS_ON_PODS = False
    WEIGHT = 3
    NORMALIZE: Literal["lowest"] = "lowest"
    SCORE_DEPENDS_ON_PODS = False
    _REJECTED = Status(Code.UNRESOLVABLE, NAME, ("node(s) had untolerated taint(s)",))

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Refuse a node with a taint that the pod does not tolerate."""
        taints = node.taints
        return self._REJECTED if taints and find_untolerated(pod.tolerations, taints) else None

    def score(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> int:
        """Count the taints that ask to stay away; fewest is best."""
        if not node.taints:
            return 0
        relevant = [t for t in pod.tolerations if t.get("effect") in (None, "", "PreferNoSchedule")]
        return sum(t.get("effect") == "PreferNoSchedule" and not tolerates(relevant, t) for t in node.taints)

    def can_help(self, pod: PodInfo, event: Event, old: Object | None, new: Object | None) -> bool:
        """Tell whether the pod tolerates the node's taints now."""
        return new is None or self.filter(pod, NodeInfo(new), None) is None
