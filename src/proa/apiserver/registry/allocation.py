"""Make what one write takes from the allocators stand or fall with it.

What is taken is claimed at once, so that nobody else gets it; what is given back goes only at `commit`. `roll_back`
gives back exactly what this write has taken, whatever the object says.
"""

from __future__ import annotations

import asyncio

from proa.apiserver.allocators import ClusterAllocators
from proa.apiserver.claims import ADDRESSES, PORTS, Claim, Owner
from proa.store.protocol import Unavailable


class Allocation:
    """`definition.Allocators` for one write of the object `owner`; a dry run takes nothing."""

    def __init__(self, allocators: ClusterAllocators, owner: Owner, *, dry_run: bool = False) -> None:
        self._allocators = allocators
        self._owner = owner
        self._taken: list[Claim] = []
        self._noted = None if dry_run else self._taken
        self._given_back: list[str] = []

    @property
    def families(self) -> tuple[str, ...]:
        """See `Allocators`."""
        return self._allocators.families

    async def allocate_cluster_ip(self, wanted: str = "", family: str = "IPv4") -> str:
        """See `Allocators`."""
        return await self._allocators.take_address(wanted, family, self._owner, self._noted)

    def release_cluster_ip(self, address: str) -> None:
        """See `Allocators`."""
        self._given_back.append(ADDRESSES + address)

    async def allocate_node_port(self, wanted: int = 0, path: str = "") -> int:
        """See `Allocators`."""
        return await self._allocators.take_port(wanted, path, self._owner, self._noted)

    def release_node_port(self, port: int) -> None:
        """See `Allocators`."""
        self._given_back.append(f"{PORTS}{port}")

    async def commit(self, name: str) -> None:
        """The write is stored, under this name."""
        claims, owner = self._allocators.claims, self._owner._replace(name=name)
        if self._taken:
            await asyncio.gather(*(claims.keep(claim, owner) for claim in self._taken))
        if self._given_back:
            await claims.give_back(self._given_back, owner)

    async def roll_back(self, error: BaseException | None = None, *, is_storing: bool = False) -> None:
        """The write has failed with this error; with some, once it `is_storing`, nobody knows what is stored."""
        claims = self._allocators.claims
        if is_storing and isinstance(error, Unavailable | asyncio.CancelledError):
            for claim in self._taken:
                claims.leave(claim)
        elif self._taken:
            await asyncio.gather(*(claims.undo(claim) for claim in self._taken))
        self._taken.clear()
        self._given_back.clear()
