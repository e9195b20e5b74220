"""Prefer nodes that have a pod's images already (plugins/imagelocality).

An image counts for as much as its size, and for less where few nodes have it: nodes are not to be heaped upon.
"""

from __future__ import annotations

from collections.abc import Hashable

from proa.scheduler.framework import MAX_SCORE, Event, Sizes, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.pod_info import PodInfo, images
from proa.scheduler.snapshot import Snapshot

MIB = 1024 * 1024
MIN_BYTES = 23 * MIB
MAX_BYTES_A_CONTAINER = 1000 * MIB


class ImageLocality:
    """A score by an overview, for it depends on how many nodes have an image."""

    NAME = "ImageLocality"
    HELPED_BY: frozenset[Event] = frozenset()
    WEIGHT = 1
    FILTERS = False

    def overview(self, pod: PodInfo, facts: Hashable, snapshot: Snapshot) -> ImageOverview:
        """Return what knows which nodes have the images."""
        return ImageOverview([normalized_name(name) for name in images(pod.pod["spec"]) if name], snapshot)


class ImageOverview:
    """A node's key says which of the images it has."""

    COUNTS = False

    def __init__(self, names: list[str], snapshot: Snapshot) -> None:
        self._names = names
        self._snapshot = snapshot

    def look(self, name: str, node: NodeInfo | None) -> Hashable:
        """Return which images the node has."""
        has = node.images if node is not None else {}
        return tuple([image for image in self._names if image in has]) if has else ()

    def filter(self, key: Hashable) -> Status | None:
        """Refuse nothing."""
        return None

    def scores(self, groups: Sizes) -> list[int]:
        """Return how much of the images is there, on a scale from 23 MiB to 1000 MiB for each."""
        most = MAX_BYTES_A_CONTAINER * len(self._names)
        if most <= MIN_BYTES:
            return [0] * len(groups)
        totals = [sum(self._worth(image) for image in key) for key, _ in groups if isinstance(key, tuple)]
        return [
            (min(max(total, MIN_BYTES), most) - MIN_BYTES) * MAX_SCORE // (most - MIN_BYTES)
            for total in totals
        ]

    def _worth(self, image: str) -> int:
        sizes = self._snapshot.images.get(image)
        if not sizes:
            return 0
        return int(next(iter(sizes.values())) * (len(sizes) / len(self._snapshot.nodes)))

    def close(self) -> None:
        """Hold nothing."""


def normalized_name(name: str) -> str:
    """Return an image's name with its tag, `latest` where it has none."""
    return name if name.rfind(":") > name.rfind("/") else f"{name}:latest"
