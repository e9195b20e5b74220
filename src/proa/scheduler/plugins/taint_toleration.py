"""Keep pods off nodes whose taints they do not tolerate, and prefer nodes with fewer such (plugins/tainttoleration)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

from proa.objects.tolerations import tolerates
from proa.scheduler.framework import Code, Event, Status
from proa.scheduler.snapshot import NodeInfo, PodInfo


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
        for taint in node.taints:
            if taint.get("effect") in ("NoSchedule", "NoExecute") and not tolerates(pod.tolerations, taint):
                return self._REJECTED
        return None

    def score(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> int:
        """Count the taints that ask to stay away; fewest is best."""
        relevant = [t for t in pod.tolerations if t.get("effect") in (None, "", "PreferNoSchedule")]
        return sum(t.get("effect") == "PreferNoSchedule" and not tolerates(relevant, t) for t in node.taints)
