"""Know which nodes are near one another by a label: those with the same value of it are one domain."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple


class Topology:
    """The domains of one label. `is_unique`: no two nodes share one, as with kubernetes.io/hostname."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.values: dict[str, str] = {}
        """Node name to its domain; nodes without the label are absent."""
        self._sizes: dict[str, int] = {}

    @property
    def is_unique(self) -> bool:
        """Tell whether every domain is a single node."""
        return len(self._sizes) == len(self.values)

    def set(self, node_name: str, value: str | None) -> None:
        """Take in a node's label; None: it has none, or is gone."""
        before = self.values.pop(node_name, None)
        if before is not None:
            self._sizes[before] -= 1
            if not self._sizes[before]:
                del self._sizes[before]
        if value is not None:
            self.values[node_name] = value
            self._sizes[value] = self._sizes.get(value, 0) + 1


class Seen(NamedTuple):
    """What was counted of a node: its nature then, how many pods it had, and the domains they were counted in."""

    nature: int
    numbers: tuple[int, ...]
    domains: tuple[str | None, ...]
    key: tuple[Hashable, ...]
