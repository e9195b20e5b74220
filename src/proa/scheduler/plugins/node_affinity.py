"""Put pods on nodes that their nodeSelector and node affinity ask for (plugins/nodeaffinity)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

from proa.client.protocol import Object
from proa.objects.node_selectors import is_picked_by, selects, term_holds
from proa.scheduler.framework import Code, Event, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.pod_info import PodInfo

NAME = "NodeAffinity"
REJECTED = Status(Code.UNRESOLVABLE, NAME, ("node(s) didn't match Pod's node affinity/selector",))
NOT_ADDED = Status(Code.UNRESOLVABLE, NAME, ("node(s) didn't match scheduler-enforced node affinity",))


class NodeAffinity:
    """A filter on what is required, a score on what is preferred."""

    NAME = NAME
    HELPED_BY = frozenset({Event.NODE_ADDED, Event.NODE_LABELS})
    DEPENDS_ON_PODS = False
    WEIGHT = 2
    NORMALIZE: Literal["highest"] = "highest"
    SCORE_DEPENDS_ON_PODS = False

    def __init__(self, added: Object | None = None) -> None:
        """`added` is node affinity that the profile asks of every pod."""
        self._required = (added or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
        self._preferred = (added or {}).get("preferredDuringSchedulingIgnoredDuringExecution") or []

    def concerns(self, pod: PodInfo, facts: Hashable) -> bool:
        """Tell whether anything is required of nodes."""
        spec = pod.pod["spec"]
        return bool(
            self._required or spec.get("nodeSelector") or (spec.get("affinity") or {}).get("nodeAffinity")
        )

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Refuse a node that the selector or the required terms do not pick."""
        if self._required is not None and not selects(self._required, node.node):
            return NOT_ADDED
        return None if is_picked_by(pod.pod["spec"], node.node) else REJECTED

    def score(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> int:
        """Add up the weights of the preferred terms that pick the node."""
        preferred = _affinity(pod).get("preferredDuringSchedulingIgnoredDuringExecution") or []
        if not (preferred or self._preferred):
            return 0
        terms = (*self._preferred, *preferred)
        return sum(term["weight"] for term in terms if term_holds(term["preference"], node.node))

    def can_help(self, pod: PodInfo, event: Event, old: Object | None, new: Object | None) -> bool:
        """Tell whether the node is one that the pod may use."""
        return new is None or self.filter(pod, NodeInfo(new), None) is None


def _affinity(pod: PodInfo) -> Object:
    return (pod.pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
