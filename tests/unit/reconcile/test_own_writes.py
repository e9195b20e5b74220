"""What a client wrote is in its cache at once, and stays true when the watch catches up."""

from __future__ import annotations

import asyncio
from typing import Any

from proa.client.fake import FakeClient
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import CONFIG_MAPS, PODS, SECRETS, Resource
from proa.reconcile.discovery import discover
from proa.reconcile.informer import Informer
from proa.reconcile.own_writes import OwnWritesClient
from proa.reconcile.reflector import Scope


def make(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def test_writes_are_read_back_from_the_cache_before_the_watch_tells() -> None:
    async def scenario() -> None:
        fake = FakeClient()
        cache = Informer(fake, Scope(PODS))
        client = OwnWritesClient(fake, {PODS: cache}.__getitem__)
        created = await client.create(PODS, make("a"), "default")
        assert cache.get("a", "default") == created
        patched = await client.patch(PODS, "a", {"metadata": {"labels": {"x": "y"}}}, "default")
        assert [meta.uid(pod) for pod in cache.by_index("label", "x=y")] == [meta.uid(patched)]
        await client.create_subresource(PODS, "a", "binding", {"target": {"name": "n"}}, "default")
        bound = await fake.get(PODS, "a", "default")
        cache.wrote(bound)
        deleted = await client.delete(PODS, "a", "default")
        assert meta.is_deleting(deleted)
        found = cache.get("a", "default")
        assert found is not None
        assert meta.is_deleting(found)

    asyncio.run(scenario())


def test_what_a_delete_has_ended_is_gone_from_the_cache() -> None:
    async def scenario() -> None:
        fake = FakeClient()
        cache = Informer(fake, Scope(CONFIG_MAPS))
        client = OwnWritesClient(fake, {CONFIG_MAPS: cache}.__getitem__)
        created = await client.create(CONFIG_MAPS, make("a"), "default")
        await client.delete(CONFIG_MAPS, "a", "default", uid=meta.uid(created))
        assert cache.get("a", "default") is None
        await client.create(SECRETS, make("no-cache"), "default")  # nobody has an informer of secrets
        assert (await client.get(SECRETS, "no-cache", "default"))["kind"] == "Secret"

    asyncio.run(scenario())


class ServedClient(FakeClient):
    """Serves a discovery with a group of two versions, and one that does not answer."""

    async def request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answers = {
            "/apis": {
                "groups": [
                    {
                        "versions": [{"groupVersion": "x/v1"}, {"groupVersion": "x/v2"}],
                        "preferredVersion": {"groupVersion": "x/v2"},
                    },
                    {"versions": [{"groupVersion": "gone/v1"}]},
                ]
            },
            "/api/v1": {
                "resources": [{"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["list"]}]
            },
            "/apis/x/v1": {"resources": [{"name": "a", "kind": "A"}, {"name": "old", "kind": "Old"}]},
            "/apis/x/v2": {"resources": [{"name": "a", "kind": "A"}, {"name": "a/status", "kind": "A"}]},
        }
        if path not in answers:
            raise NotFound(path)
        return answers[path]


def test_discovery_finds_each_resource_once_in_its_preferred_version() -> None:
    found = asyncio.run(discover(ServedClient()))
    assert sorted((s.resource.api_version, s.resource.plural) for s in found.served) == [
        ("v1", "pods"),
        ("x/v1", "old"),
        ("x/v2", "a"),
    ]
    assert found.failed == {}


def test_a_cache_of_a_label_selector_takes_in_what_it_selects() -> None:
    async def scenario() -> None:
        fake = FakeClient()
        mine = Informer(fake, Scope(CONFIG_MAPS, label_selector="job"))

        def caches(resource: Resource, fields: str = "", labels: str = "", /) -> Informer:
            return {(CONFIG_MAPS, "job"): mine}[resource, labels]

        client = OwnWritesClient(fake, caches, {CONFIG_MAPS: ["job"]})
        await client.create(CONFIG_MAPS, make("other"), "default")
        found = await client.create(
            CONFIG_MAPS, {"metadata": {"name": "mine", "labels": {"job": "a"}}}, "default"
        )
        assert mine.list() == [found]
        await client.delete(CONFIG_MAPS, "mine", "default", uid=meta.uid(found))
        assert mine.list() == []

    asyncio.run(scenario())
