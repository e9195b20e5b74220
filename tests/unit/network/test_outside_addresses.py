"""The node has the ClusterIPs that no route leads to it."""

from __future__ import annotations

import asyncio

import pytest

from proa.network.data_path import ServiceKey, ServicePort
from proa.network.outside_addresses import OutsideAddresses

A, B = ServiceKey("default", "a"), ServiceKey("default", "b")


class Node:
    """A NodeNetwork of addresses; `refuses` fails the next call."""

    def __init__(self) -> None:
        self.has: set[str] = set()
        self.refuses = False

    async def add_addresses(self, addresses: list[str]) -> None:
        if self.refuses:
            self.refuses = False
            raise OSError("noded is gone")
        self.has |= set(addresses)

    async def remove_addresses(self, addresses: list[str]) -> None:
        assert set(addresses) <= self.has
        self.has -= set(addresses)


def port(key: ServiceKey, *addresses: str) -> ServicePort:
    return ServicePort(key, "", "TCP", addresses, 80, 0, 0, (), ())


def test_addresses_come_and_go_with_the_last_service_that_has_them() -> None:
    async def body() -> None:
        node = Node()
        outside = OutsideAddresses(node, ["10.96.0.0/16"])  # type: ignore[arg-type]
        await outside.start()
        await outside.apply({A: (port(A, "10.96.0.7", "10.200.0.7"), port(A, "10.200.0.7"))})
        assert node.has == {"10.200.0.7/32"}
        await outside.apply({B: (port(B, "10.200.0.7"),), A: (port(A, "10.200.0.8"),)})
        assert node.has == {"10.200.0.7/32", "10.200.0.8/32"}
        await outside.apply({A: ()})
        assert node.has == {"10.200.0.7/32"}
        await outside.apply({A: ()})
        await outside.stop()
        assert node.has == set()

    asyncio.run(body())


def test_what_failed_is_done_the_next_time() -> None:
    async def body() -> None:
        node = Node()
        node.refuses = True
        outside = OutsideAddresses(node, ["10.96.0.0/16"])  # type: ignore[arg-type]
        changes = {A: (port(A, "10.200.0.7"),)}
        with pytest.raises(OSError, match="noded is gone"):
            await outside.apply(changes)
        await outside.apply(changes)
        assert node.has == {"10.200.0.7/32"}

    asyncio.run(body())
