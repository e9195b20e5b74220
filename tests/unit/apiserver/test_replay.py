"""Whoever lists and then watches knows what a fresh list would say: the property that all informers live by.

Random writes, label changes, deletions and compactions run while followers of several kinds list (in pages, from the
cache, as a watch's first events), watch, are cut off, and go on from where they were. Seeds are fixed.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import orjson
import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA_EVENTS = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
SENTINEL = "zz-sentinel"
MERGE = "application/merge-patch+json"
STEPS = 200


class Follower:
    """Keeps a map of what it was told: name to resourceVersion."""

    def __init__(
        self, api, chance: random.Random, query: str = "", *, metadata: bool = False, streams: bool = False
    ):
        self.api = api
        self.chance = chance
        self.query = query
        self.streams = streams
        self.headers = {"accept": METADATA} if metadata else {}
        self.watch_headers = {"accept": METADATA_EVENTS} if metadata else {}
        self.known: dict[str, str] = {}
        self.version = ""
        self.lists = 0

    async def run(self) -> None:
        """Follow until the sentinel is seen."""
        while SENTINEL not in self.known:
            if not self.version and not self.streams:
                await self.list()
                continue
            await self.watch()
            for _ in range(self.chance.choice((0, 0, 5, 80))):  # it was cut off, and away for a while
                await asyncio.sleep(0)

    async def list(self) -> None:
        self.lists += 1
        found: dict[str, str] = {}
        token = ""
        limit = self.chance.choice((0, 2, 5))
        while True:
            path = f"{CONFIG_MAPS}?limit={limit}&continue={token}{self.query}"
            answer = await self.api.ask("GET", path, **self.headers)
            if answer.status == 410:
                return
            assert answer.status == 200, answer.raw
            for item in answer.json["items"]:
                found[item["metadata"]["name"]] = item["metadata"]["resourceVersion"]
            token = answer.json["metadata"].get("continue", "")
            if not token:
                break
            await asyncio.sleep(0)
        self.known, self.version = found, answer.json["metadata"]["resourceVersion"]

    async def watch(self) -> None:
        start = f"resourceVersion={self.version}"
        fresh: dict[str, str] | None = None
        if not self.version:
            start = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
            fresh = {}
        path = f"{CONFIG_MAPS}?watch=1&allowWatchBookmarks=true&{start}{self.query}"
        response = await self.api.send("GET", path, **self.watch_headers)
        patience = self.chance.randrange(1, 8)
        try:
            async for chunk in response.stream:
                for line in chunk.splitlines():
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        assert event["object"]["code"] == 410, event
                        self.version = ""
                        return
                    fresh = self.take(event, fresh)
                patience -= 1
                if patience <= 0 or SENTINEL in self.known:
                    return
        finally:
            await response.stream.aclose()

    def take(self, event: Any, fresh: dict[str, str] | None) -> dict[str, str] | None:
        """Apply an event; before the bookmark that ends the initial ones, to what is gathered."""
        metadata = event["object"]["metadata"]
        into = self.known if fresh is None else fresh
        if event["type"] == "BOOKMARK":
            if fresh is not None and metadata["annotations"] == {"k8s.io/initial-events-end": "true"}:
                self.known, fresh = fresh, None
        elif event["type"] == "DELETED":
            del into[metadata["name"]]
        else:
            assert (metadata["name"] in into) == (event["type"] == "MODIFIED"), event["type"]
            into[metadata["name"]] = metadata["resourceVersion"]
        if fresh is None:
            assert not self.version or int(metadata["resourceVersion"]) >= int(self.version)
            self.version = metadata["resourceVersion"]
        return fresh


async def write(api, chance: random.Random) -> None:
    """Create, change and delete a few objects, and forget the past now and then."""
    for step in range(STEPS):
        name = f"a-{chance.randrange(8)}"
        labels = {"tier": chance.choice(("front", "back"))}
        act = chance.random()
        if act < 0.35:
            await api.ask("POST", CONFIG_MAPS, {"metadata": {"name": name, "labels": labels}})
        elif act < 0.75:
            body = {"metadata": {"labels": labels}, "data": {"step": str(step)}}
            await api.ask("PATCH", f"{CONFIG_MAPS}/{name}", body, content_type=MERGE)
        elif act < 0.95:
            await api.ask("DELETE", f"{CONFIG_MAPS}/{name}")
        else:
            await api.store.compact(api.store.revision)
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
    labels = {"tier": "front"}
    await api.ask("POST", CONFIG_MAPS, {"metadata": {"name": SENTINEL, "labels": labels}})


@pytest.mark.parametrize("seed", range(12))
def test_a_follower_knows_what_a_fresh_list_says(api, seed):
    chance = random.Random(seed)
    followers = [
        Follower(api, chance),
        Follower(api, chance, "&labelSelector=tier%3Dfront"),
        Follower(api, chance, "&labelSelector=tier!%3Dback", metadata=True),
        Follower(api, chance, streams=True),
        Follower(api, chance, "&labelSelector=tier%3Dfront", streams=True, metadata=True),
        Follower(api, chance, f"&fieldSelector=metadata.name%3D{SENTINEL}"),
    ]

    async def scenario() -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(write(api, chance), *(follower.run() for follower in followers))

    asyncio.run(scenario())
    assert sum(follower.lists for follower in followers) > len(followers), "some had to begin again"
    for follower in followers:
        items = api.get(f"{CONFIG_MAPS}?{follower.query}").json["items"]
        fresh = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}
        assert follower.known == fresh
