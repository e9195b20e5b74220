"""Several API servers keep the endpoints of default/kubernetes together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proa.apiserver.app import ApiServer
from proa.apiserver.members import FORGOTTEN_SECONDS, Members, Place, make_slices, make_subsets
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import Client, User
from proa.objects.resource import ENDPOINT_SLICES, ENDPOINTS, LEASES, NAMESPACES
from proa.store.memory import MemoryStore
from support.virtual_time import run_in_virtual_time

ADMIN = User("admin", ("system:masters", "system:authenticated"))
A, B, C = Place("10.0.0.1", 6443), Place("10.0.0.2", 6443), Place("10.0.0.1", 6444)


@pytest.mark.parametrize(
    ("places", "found"),
    [
        pytest.param([A], [(["10.0.0.1"], 6443)], id="one"),
        pytest.param([B, A, B], [(["10.0.0.1", "10.0.0.2"], 6443)], id="one-port"),
        pytest.param(
            [C, B, A], [(["10.0.0.1", "10.0.0.2"], 6443), (["10.0.0.1"], 6444)], id="two-on-a-machine"
        ),
    ],
)
def test_there_is_a_part_for_each_port(places, found):
    subsets = [([a["ip"] for a in s["addresses"]], s["ports"][0]["port"]) for s in make_subsets(places)]
    slices = [
        ([e["addresses"][0] for e in s["endpoints"]], s["ports"][0]["port"]) for s in make_slices(places)
    ]
    assert subsets == slices == found
    assert [s["metadata"]["name"] for s in make_slices(places)][:2] == ["kubernetes", "kubernetes-6444"][
        : len(found)
    ]


class World:
    """A server that outlives those that say that they live."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.client: Client = ApiClient(LocalTransport(ApiServer(self.store, DEFINITIONS).handle, ADMIN))
        self.running: dict[Place, asyncio.Task[None]] = {}
        self.members: dict[Place, Members] = {}

    def start(self, place: Place, holder: str = "h", skew: float = 0.0) -> None:
        now = asyncio.get_running_loop().time
        self.members[place] = Members(self.client, place, holder, lambda: 1_800_000_000.0 + skew + now())
        self.running[place] = asyncio.create_task(self.members[place].run())

    async def kill(self, place: Place) -> None:
        self.running[place].cancel()
        await asyncio.gather(self.running.pop(place), return_exceptions=True)

    async def places(self) -> set[Place]:
        """What Endpoints and EndpointSlices both say."""
        found = await self.client.get(ENDPOINTS, "kubernetes", "default")
        said = {Place(a["ip"], s["ports"][0]["port"]) for s in found["subsets"] for a in s["addresses"]}
        slices = (await self.client.list(ENDPOINT_SLICES, "default")).items
        assert said == {
            Place(e["addresses"][0], s["ports"][0]["port"]) for s in slices for e in s["endpoints"]
        }
        return said


def with_world(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        made = World()
        for name in ("default", "kube-system"):
            await made.client.create(NAMESPACES, {"metadata": {"name": name}})
        try:
            await scenario(made)
        finally:
            for place in [*made.running]:
                await made.kill(place)
            await made.store.close()

    run_in_virtual_time(main())


def test_servers_that_live_are_there_whatever_their_clocks_say_and_those_that_are_killed_are_not():
    async def scenario(made: World) -> None:
        for place, skew in ((A, 0), (B, 7200), (C, -7200)):
            made.start(place, skew=skew)
        await asyncio.sleep(30)
        assert await made.places() == {A, B, C}
        await made.kill(C)
        await asyncio.sleep(10)
        assert await made.places() == {A, B, C}
        await asyncio.sleep(12)
        assert await made.places() == {A, B}
        made.start(C, "another")
        await asyncio.sleep(6)
        assert await made.places() == {A, B, C}

    with_world(scenario)


def test_who_leaves_is_gone_at_once_and_the_last_one_stays():
    async def scenario(made: World) -> None:
        made.start(A)
        made.start(B)
        await asyncio.sleep(10)
        for place in (A, B):
            await made.kill(place)
            await made.members[place].leave()
            assert await made.places() == {B}
        await made.members[B].leave()
        assert (await made.client.list(LEASES, "kube-system")).items == []

    with_world(scenario)


def test_who_has_been_away_for_long_is_forgotten():
    async def scenario(made: World) -> None:
        made.start(A)
        made.start(B)
        await asyncio.sleep(10)
        await made.kill(B)
        await asyncio.sleep(FORGOTTEN_SECONDS - 100)
        assert len((await made.client.list(LEASES, "kube-system")).items) == 2
        await asyncio.sleep(200)
        assert len((await made.client.list(LEASES, "kube-system")).items) == 1

    with_world(scenario)
