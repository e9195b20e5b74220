"""What upstream's conformance suite asks of watches (test/e2e/apimachinery/watch.go)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from proa.client.api import ApiClient
from proa.client.protocol import Object, WatchEvent
from proa.objects.resource import CONFIG_MAPS
from support.api_operations import run_with_api

LABEL = "watch-this-configmap"
SECONDS = 60.0


def config_map(name: str, label: str = "", data: str = "") -> Object:
    return {
        "metadata": {"name": name, "labels": {LABEL: label} if label else {}},
        "data": {"mutation": data} if data else {},
    }


async def mutate(client: ApiClient, name: str, count: int) -> Object:
    return await client.patch(CONFIG_MAPS, name, {"data": {"mutation": str(count)}}, "default")


class Watch:
    """A watch that runs from the moment it is made on, as a client's does."""

    def __init__(self, client: ApiClient, selector: str = "", version: str = "") -> None:
        self._events: AsyncIterator[WatchEvent] = client.watch(
            CONFIG_MAPS, "default", label_selector=selector, resource_version=version
        )

    async def next(self) -> tuple[str, str, str]:
        """Return (type, name, the data's mutation) of the next event."""
        event = await asyncio.wait_for(anext(self._events), SECONDS)
        self.version = event.object["metadata"]["resourceVersion"]
        mutation = (event.object.get("data") or {}).get("mutation", "")
        return event.type, event.object["metadata"]["name"], mutation

    async def close(self) -> None:
        await self._events.aclose()  # type: ignore[attr-defined]


async def version_now(client: ApiClient) -> str:
    return (await client.list(CONFIG_MAPS, "default")).resource_version


def test_add_update_and_delete() -> None:
    """[sig-api-machinery] Watchers should observe add, update, and delete watch notifications on configmaps
    [Conformance]"""

    async def scenario(client: ApiClient) -> None:
        version = await version_now(client)
        watches = {
            "A": Watch(client, f"{LABEL}=A", version),
            "B": Watch(client, f"{LABEL}=B", version),
            "AB": Watch(client, f"{LABEL} in (A,B)", version),
        }

        async def expect(label: str, *event: str) -> None:
            for watched in (label, "AB"):
                assert await watches[watched].next() == event

        await client.create(CONFIG_MAPS, config_map("a", "A"), "default")
        await expect("A", "ADDED", "a", "")
        await mutate(client, "a", 1)
        await expect("A", "MODIFIED", "a", "1")
        await mutate(client, "a", 2)
        await expect("A", "MODIFIED", "a", "2")
        await client.delete(CONFIG_MAPS, "a", "default")
        await expect("A", "DELETED", "a", "2")
        await client.create(CONFIG_MAPS, config_map("b", "B"), "default")
        await expect("B", "ADDED", "b", "")
        await client.delete(CONFIG_MAPS, "b", "default")
        await expect("B", "DELETED", "b", "")
        for watch in watches.values():
            await watch.close()

    run_with_api(scenario)


def test_from_a_version_on() -> None:
    """[sig-api-machinery] Watchers should be able to start watching from a specific resource version [Conformance]"""

    async def scenario(client: ApiClient) -> None:
        await client.create(CONFIG_MAPS, config_map("from", "from"), "default")
        first = await mutate(client, "from", 1)
        await mutate(client, "from", 2)
        await client.delete(CONFIG_MAPS, "from", "default")
        watch = Watch(client, f"{LABEL}=from", first["metadata"]["resourceVersion"])
        assert await watch.next() == ("MODIFIED", "from", "2")
        assert await watch.next() == ("DELETED", "from", "2")
        await watch.close()

    run_with_api(scenario)


def test_where_the_last_watch_ended() -> None:
    """[sig-api-machinery] Watchers should be able to restart watching from the last resource version observed by the
    previous watch [Conformance]"""

    async def scenario(client: ApiClient) -> None:
        watch = Watch(client, f"{LABEL}=again", await version_now(client))
        await client.create(CONFIG_MAPS, config_map("again", "again"), "default")
        await mutate(client, "again", 1)
        assert await watch.next() == ("ADDED", "again", "")
        assert await watch.next() == ("MODIFIED", "again", "1")
        await watch.close()
        await mutate(client, "again", 2)
        second = Watch(client, f"{LABEL}=again", watch.version)
        await client.delete(CONFIG_MAPS, "again", "default")
        assert await second.next() == ("MODIFIED", "again", "2")
        assert await second.next() == ("DELETED", "again", "2")
        await second.close()

    run_with_api(scenario)


def test_an_object_that_stops_matching() -> None:
    """[sig-api-machinery] Watchers should observe an object deletion if it stops meeting the requirements of the
    selector [Conformance]"""

    async def scenario(client: ApiClient) -> None:
        watch = Watch(client, f"{LABEL}=here", await version_now(client))

        async def label(value: str) -> None:
            await client.patch(CONFIG_MAPS, "x", {"metadata": {"labels": {LABEL: value}}}, "default")

        await client.create(CONFIG_MAPS, config_map("x", "here"), "default")
        await mutate(client, "x", 1)
        await label("elsewhere")
        expected = [("ADDED", "x", ""), ("MODIFIED", "x", "1"), ("DELETED", "x", "1")]
        assert [await watch.next() for _ in expected] == expected
        await mutate(client, "x", 2)
        await label("here")
        await mutate(client, "x", 3)
        await client.delete(CONFIG_MAPS, "x", "default")
        expected = [("ADDED", "x", "2"), ("MODIFIED", "x", "3"), ("DELETED", "x", "3")]
        assert [await watch.next() for _ in expected] == expected
        await watch.close()

    run_with_api(scenario)


def test_concurrent_watches_agree_on_the_order() -> None:
    """[sig-api-machinery] Watchers should receive events on concurrent watches in same order [Conformance]"""
    rounds, names = 25, ("1", "2", "3", "4")

    async def write(client: ApiClient, name: str) -> None:
        for count in range(rounds):
            await client.create(CONFIG_MAPS, config_map(f"cm-{name}", "order"), "default")
            await mutate(client, f"cm-{name}", count)
            await client.delete(CONFIG_MAPS, f"cm-{name}", "default")

    async def versions(client: ApiClient, since: str) -> list[Any]:
        watch, seen = Watch(client, f"{LABEL}=order", since), list[Any]()
        while len(seen) < rounds * len(names) * 3:
            await watch.next()
            seen.append(watch.version)
        await watch.close()
        return seen

    async def scenario(client: ApiClient) -> None:
        since = await version_now(client)
        writers = asyncio.gather(*(write(client, name) for name in names))
        early = asyncio.gather(*(versions(client, since) for _ in range(5)))
        await writers
        late = await asyncio.gather(*(versions(client, since) for _ in range(5)))
        orders = [*await early, *late]
        assert all(order == orders[0] for order in orders)
        assert orders[0] == sorted(orders[0], key=int)

    run_with_api(scenario)
