"""Put pods on nodes that their nodeSelector and node affinity ask for (plugins/nodeaffinity)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

from proa.client.protocol import Object
from proa.objects.node_selectors import is_picked_by, term_holds
from proa.scheduler.framework import Code, Event, Status
from proa.scheduler.snapshot import NodeInfo, PodInfo


class NodeAffinity:
    """A filter on what is required, a score on what is preferred."""

    NAME = "NodeAffinity"
    HELPED_BY = frozenset({Event.NODE_ADDED, Event.NODE_LABELS})
    DEPENDS_ON_PODS = False
    WEIGHT = 2
    NORMALIZE: Literal["highest"] = "highest"
    SCORE_DEPENDS_ON_PODS = False
    _REJECTED = Status(Code.UNRESOLVABLE, NAME, ("node(s) didn't match Pod's node affinity/selector",))

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Refuse a node that the selector or the required terms do not pick."""
        return None if is_picked_by(pod.pod["spec"], node.node) else self._REJECTED

    def score(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> int:
        """Add up the weights of the preferred terms that pick the node."""
        preferred = _affinity(pod).get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        return sum(term["weight"] for term in preferred if term_holds(term["preference"], node.node))


def _affinity(pod: PodInfo) -> Object:
    return (pod.pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
