"""Hand out ClusterIPs and node ports: what is asked for, if it is free and in range, or else any.

claims.py sees that each has one owner. Words are upstream's (pkg/registry/core/service/ipallocator, portallocator,
storage/alloc.go).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from proa.apiserver.address_ranges import NODE_PORTS, AddressRange, PortRange
from proa.apiserver.claims import ADDRESSES, PORTS, Claim, Claims, Owner
from proa.objects.errors import Cause, InternalError, Invalid

FULL = "Internal error occurred: failed to allocate a {}: range is full"


class ClusterAllocators:
    """The addresses of all service ranges, and all node ports.

    What is taken is noted in `taken`; without such a list, for a dry run, nothing is.
    """

    def __init__(
        self,
        claims: Claims,
        ranges: Callable[[], Sequence[AddressRange]],
        node_ports: range = NODE_PORTS,
        families: Sequence[str] = ("IPv4",),
    ) -> None:
        self.claims = claims
        self.families = tuple(families)
        self._ranges = ranges
        self._ports = PortRange(node_ports)

    async def take_address(self, wanted: str, family: str, owner: Owner, taken: list[Claim] | None) -> str:
        """Take an address of a family and return it; raise Invalid, InternalError, and what the store says."""
        ranges = [addresses for addresses in self._ranges() if addresses.family == family]
        if wanted:
            address = _read(wanted, ranges)
            if not await self._take(ADDRESSES + address, owner, taken):
                raise _bad_address(wanted, "provided IP is already allocated")
            return address
        for addresses in ranges:
            for address in addresses.automatic(random.randrange):
                if await self._take(ADDRESSES + address, owner, taken):
                    return address
        raise InternalError(FULL.format("serviceIP"))

    async def take_port(self, wanted: int, path: str, owner: Owner, taken: list[Claim] | None) -> int:
        """Take a node port and return it; `path` is the field that asks for it. Raises as `take_address` does."""
        if wanted:
            try:
                port = self._ports.read(wanted)
            except ValueError as error:
                raise _bad_port(wanted, path, str(error)) from None
            if not await self._take(f"{PORTS}{port}", owner, taken):
                raise _bad_port(wanted, path, "provided port is already allocated")
            return port
        for port in self._ports.automatic(random.randrange):
            if await self._take(f"{PORTS}{port}", owner, taken):
                return port
        raise InternalError(FULL.format("nodePort"))

    async def _take(self, key: str, owner: Owner, taken: list[Claim] | None) -> bool:
        return self.claims.is_free(key) if taken is None else await self.claims.take(key, owner, taken)


def _read(wanted: str, ranges: Sequence[AddressRange]) -> str:
    """Return an address as it is written; raise Invalid for one that is in no range."""
    for addresses in ranges:
        if (address := addresses.find(wanted)) is not None:
            return address
    valid = ", ".join(str(addresses.network) for addresses in ranges)
    why = f"the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {valid}"
    raise _bad_address(wanted, why)


def _bad_address(wanted: str, why: str) -> Invalid:
    message = f"failed to allocate IP {wanted}: {why}"
    cause = Cause("FieldValueInvalid", f'Invalid value: ["{wanted}"]: {message}', "spec.clusterIPs")
    return Invalid(message, causes=[cause])


def _bad_port(wanted: int, path: str, why: str) -> Invalid:
    message = f"Invalid value: {wanted}: {why}"
    return Invalid(message, causes=[Cause("FieldValueInvalid", message, path)])
