"""Tell the machine which images this node's containers use, so that nobody removes them, whoever asks.

An image counts from the moment it is found for a container, which comes to be soon after or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proa.images.store import ImageStore
from proa.node.runtime_cache import STORED_IMAGES_LABEL
from proa.node.runtimes.protocol import Container

SOON_SECONDS = 120.0


class ImageUsage:
    """One node's uses of the store's images. `containers` returns all that the runtime has, running or not."""

    def __init__(
        self,
        store: ImageStore,
        node_name: str,
        containers: Callable[[], Iterable[Container]],
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._node_name = node_name
        self._containers = containers
        self._now = now
        self._found: dict[str, float] = {}
        self._told: frozenset[str] = frozenset()

    def use(self, image_id: str) -> None:
        """A container is about to use this image."""
        self._found[image_id] = self._now()
        if image_id not in self._told:
            self._tell(self._told | {image_id})

    def used(self) -> frozenset[str]:
        """Return the ids of the images in use, and tell the machine of them."""
        since = self._now() - SOON_SECONDS
        self._found = {image_id: at for image_id, at in self._found.items() if at >= since}
        used = set(self._found)
        for container in self._containers():
            used.update(filter(None, container.config.labels.get(STORED_IMAGES_LABEL, "").split(",")))
        if used != self._told:
            self._tell(frozenset(used))
        return self._told

    def _tell(self, used: frozenset[str]) -> None:
        self._told = used
        self._store.pin(self._node_name, used)
