"""Know which nodes are kept for pods that wait for others to leave there (backend/queue/nominator.go)."""

from __future__ import annotations

from collections.abc import Collection

from proa.scheduler.pod_info import PodInfo


class Nominations:
    """Pods without a node, by the node that each is to have when its victims are gone."""

    def __init__(self) -> None:
        self._node_of: dict[str, str] = {}
        self._on: dict[str, dict[str, PodInfo]] = {}

    def nominate(self, pod: PodInfo, node_name: str) -> None:
        """Keep room for a pod on a node, and nowhere else; "" on none."""
        self.forget(pod.uid)
        if node_name:
            self._node_of[pod.uid] = node_name
            self._on.setdefault(node_name, {})[pod.uid] = pod

    def forget(self, uid: str) -> None:
        """Keep no room for a pod any more."""
        node_name = self._node_of.pop(uid, None)
        if node_name is not None:
            del self._on[node_name][uid]
            if not self._on[node_name]:
                del self._on[node_name]

    def node_of(self, uid: str) -> str:
        """Return the node that is kept for a pod, "" for none."""
        return self._node_of.get(uid, "")

    def on(self, node_name: str) -> Collection[PodInfo]:
        """Return the pods that a node is kept for."""
        kept = self._on.get(node_name)
        return kept.values() if kept else ()

    def ahead_of(self, pod: PodInfo, node_name: str) -> list[PodInfo]:
        """Return the pods that `pod` must leave room for on a node: those no less important."""
        return [each for each in self.on(node_name) if each.priority >= pod.priority and each.uid != pod.uid]

    def below(self, pod: PodInfo, node_name: str) -> list[PodInfo]:
        """Return the pods that lose their room on a node to `pod`: the less important ones."""
        return [each for each in self.on(node_name) if each.priority < pod.priority]
