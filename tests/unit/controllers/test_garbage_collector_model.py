"""Whatever is deleted, in whichever way, what is left is what a few lines say should be."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proa.client.fake import FakeClient
from proa.controllers.garbage_collector.controller import GarbageCollector
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import CONFIG_MAPS, SECRETS, Resource
from proa.reconcile.protocol import DONE, Watch, no_keys

NAMES = ("a", "b", "c", "d", "e", "f", "g")
SERVED = (CONFIG_MAPS, SECRETS)


async def _done(*_: object) -> Any:
    return DONE


CACHING = SimpleNamespace(NAME="caching", WATCHES=(Watch(CONFIG_MAPS, keys_of=no_keys),), reconcile=_done)
"""ConfigMaps are heard of from an informer, Secrets from a stream of metadata."""


class DiscoverableClient(FakeClient):
    async def request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        if path == "/apis":
            return {"groups": []}
        verbs = ["create", "delete", "get", "list", "watch"]
        return {
            "resources": [
                {"name": r.plural, "kind": r.kind, "namespaced": True, "verbs": verbs} for r in SERVED
            ]
        }


def resource_of(name: str) -> Resource:
    return SERVED[NAMES.index(name) % 2]


owns = st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.booleans())
"""Who owns, who is owned, and whether the latter blocks."""
deletions = st.one_of(
    st.tuples(st.sampled_from(("Background", "Foreground", "meanwhile")), st.sets(st.sampled_from(NAMES), min_size=1)),
    st.tuples(st.just("Orphan"), st.sets(st.sampled_from(NAMES), min_size=1, max_size=1)),
)  # fmt: skip


class Model:
    """Who is there, and owned by whom."""

    def __init__(self, edges: list[tuple[str, str, bool]]) -> None:
        self.owners: dict[str, set[str]] = {name: set() for name in NAMES}
        for owner, owned, _ in edges:
            self.owners[owned].add(owner)

    def delete(self, policy: str, names: set[str]) -> None:
        going = [name for name in names if name in self.owners]
        while going:
            gone = going.pop()
            if self.owners.pop(gone, None) is None:
                continue
            for name, owners in self.owners.items():
                if gone in owners:
                    owners.discard(gone)
                    if not owners and policy != "Orphan":
                        going.append(name)


async def make(client: FakeClient, edges: list[tuple[str, str, bool]]) -> None:
    for name in NAMES:
        client.add(resource_of(name), {"metadata": {"name": name, "uid": f"uid-{name}"}})
    references: dict[str, dict[str, Any]] = {name: {} for name in NAMES}
    for owner, owned, blocks in edges:
        references[owned][owner] = {
            "apiVersion": "v1",
            "kind": resource_of(owner).kind,
            "name": owner,
            "uid": f"uid-{owner}",
            "blockOwnerDeletion": blocks,
        }
    for name, owners in references.items():
        if owners:
            patch = {"metadata": {"ownerReferences": [*owners.values()]}}
            await client.patch(resource_of(name), name, patch, "default")


def found(client: FakeClient) -> dict[str, set[str]]:
    objects = [obj for resource in SERVED for obj in client.all(resource)]
    return {meta.name(obj): {o["name"] for o in meta.owner_references(obj)} for obj in objects}


async def delete(client: FakeClient, policy: Any, names: set[str]) -> None:
    for name in sorted(names):
        try:
            await client.delete(resource_of(name), name, "default", propagation_policy=policy)
        except NotFound:
            continue


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edges=st.lists(owns, max_size=12), steps=st.lists(deletions, min_size=1, max_size=4))
def test_what_is_left_is_what_has_an_owner_left_or_never_had_one(
    world: Any, edges: list[tuple[str, str, bool]], steps: list[tuple[str, set[str]]]
) -> None:
    async def body() -> None:
        client = DiscoverableClient(now=lambda: 1_750_000_000.0)
        model = Model(edges)
        await make(client, edges)
        collector = await begin(client)
        for policy, names in steps:
            model.delete(policy, names)
            if policy == "meanwhile":  # while no collector runs
                await collector.__aexit__()
                await delete(client, "Background", names)
                collector = await begin(client)
            else:
                await delete(client, policy, names)
            await collector.settle()
            assert found(client) == model.owners
        await collector.__aexit__()

    async def begin(client: FakeClient) -> Any:
        return await world([CACHING, GarbageCollector()], client=client).__aenter__()

    asyncio.run(body())
