"""Make what one write takes from the allocators stand or fall with it.

What is taken is taken at once, so that nobody else gets it; what is given back goes only at `commit`. `roll_back`
gives back exactly what this write has taken, whatever the object says.
"""

from __future__ import annotations

from collections.abc import Callable

from proa.apiserver.registry.definition import Allocators


class Allocation:
    """`definition.Allocators` for one write."""

    def __init__(self, allocators: Allocators) -> None:
        self._allocators = allocators
        self._taken: list[Callable[[], None]] = []
        self._given_back: list[Callable[[], None]] = []

    def allocate_cluster_ip(self, wanted: str = "") -> str:
        """See `Allocators`."""
        address = self._allocators.allocate_cluster_ip(wanted)
        self._taken.append(lambda: self._allocators.release_cluster_ip(address))
        return address

    def release_cluster_ip(self, address: str) -> None:
        """See `Allocators`."""
        self._given_back.append(lambda: self._allocators.release_cluster_ip(address))

    def allocate_node_port(self, wanted: int = 0, protocol: str = "TCP") -> int:
        """See `Allocators`."""
        port = self._allocators.allocate_node_port(wanted, protocol)
        self._taken.append(lambda: self._allocators.release_node_port(port, protocol))
        return port

    def release_node_port(self, port: int, protocol: str = "TCP") -> None:
        """See `Allocators`."""
        self._given_back.append(lambda: self._allocators.release_node_port(port, protocol))

    def commit(self) -> None:
        """The write is stored."""
        for give_back in self._given_back:
            give_back()

    def roll_back(self) -> None:
        """The write is not stored."""
        for give_back in self._taken:
            give_back()
        self._taken.clear()
        self._given_back.clear()
