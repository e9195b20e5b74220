"""Hand out ClusterIPs and node ports: what is asked for, if it is free and in range, or else any.

claims.py sees that each has one owner. Words are upstream's (pkg/registry/core/service/ipallocator, portallocator,
storage/alloc.go).
"""

from __future__ import annotations

import random

from proa.apiserver.address_ranges import NODE_PORTS, AddressRange, PortRange
from proa.apiserver.claims import ADDRESSES, PORTS, Claim, Claims, Owner
from proa.objects.errors import Cause, InternalError, Invalid

FULL = "Internal error occurred: failed to allocate a {}: range is full"


class ClusterAllocators:
    """All addresses of one service CIDR, and all node ports.

    What is taken is noted in `taken`; without such a list, for a dry run, nothing is.
    """

    def __init__(
        self, claims: Claims, service_cidr: str = "10.96.0.0/16", node_ports: range = NODE_PORTS
    ) -> None:
        self.claims = claims
        self._addresses = AddressRange(service_cidr)
        self._ports = PortRange(node_ports)

    async def take_address(self, wanted: str, owner: Owner, taken: list[Claim] | None) -> str:
        """Take an address and return it; raise Invalid, InternalError, and what the store says."""
        if wanted:
            try:
                address = self._addresses.read(wanted)
            except ValueError as error:
                raise _bad_address(wanted, str(error)) from None
            if not await self._take(ADDRESSES + address, owner, taken):
                raise _bad_address(wanted, "provided IP is already allocated")
            return address
        for address in self._addresses.automatic(random.randrange):
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


def _bad_address(wanted: str, why: str) -> Invalid:
    message = f"failed to allocate IP {wanted}: {why}"
    cause = Cause("FieldValueInvalid", f'Invalid value: ["{wanted}"]: {message}', "spec.clusterIPs")
    return Invalid(message, causes=[cause])


def _bad_port(wanted: int, path: str, why: str) -> Invalid:
    message = f"Invalid value: {wanted}: {why}"
    return Invalid(message, causes=[Cause("FieldValueInvalid", message, path)])
