"""A definition goes when its objects are gone; names that are freed go to who waits for them."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.apiserver.custom_resource_builders import make_boat, make_definition

from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import User
from proa.controllers import custom_resource_definition
from proa.objects.errors import NotFound
from proa.objects.meta import has_condition
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, Resource
from proa.reconcile.manager import Manager
from proa.store.memory import MemoryStore

BOATS = Resource("sea.example", "v1", "boats", "Boat")
SECONDS = 60.0


def run(scenario):
    """Run `scenario(client)` on an API server with this one controller."""

    async def main():
        server = ApiServer(MemoryStore(), DEFINITIONS)
        client = ApiClient(LocalTransport(server.handle, User("admin", ("system:masters",))))
        manager = Manager(client, [custom_resource_definition])
        await manager.start()
        try:
            async with asyncio.timeout(SECONDS):
                await client.create(NAMESPACES, {"metadata": {"name": "default"}})
                await scenario(client)
        finally:
            await manager.stop()

    asyncio.run(main())


async def until(client, condition, name="boats.sea.example"):
    """Wait until the definition, or None where it is gone, passes `condition`."""
    while True:
        try:
            found = await client.get(CUSTOM_RESOURCE_DEFINITIONS, name)
        except NotFound:
            found = None
        if condition(found):
            return found
        await asyncio.sleep(0)


def test_the_objects_go_and_then_the_definition():
    async def scenario(client):
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, make_definition())
        await client.create(BOATS, make_boat("one"), "default")
        await client.create(BOATS, make_boat("two"), "default")
        await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "boats.sea.example")
        await until(client, lambda found: found is None)
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, make_definition())
        assert (await client.list(BOATS)).items == []

    run(scenario)


def test_an_object_with_a_finalizer_holds_its_definition():
    async def scenario(client):
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, make_definition())
        boat = make_boat()
        boat["metadata"]["finalizers"] = ["sea.example/anchor"]
        await client.create(BOATS, boat, "default")
        await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "boats.sea.example")

        def in_progress(found):
            conditions = {c["type"]: c["reason"] for c in found["status"]["conditions"]}
            return conditions["Terminating"] == "InstanceDeletionInProgress"

        await until(client, in_progress)
        await client.patch(BOATS, "dhow", {"metadata": {"finalizers": None}}, "default")
        await until(client, lambda found: found is None)

    run(scenario)


def test_who_waits_for_a_name_gets_it_when_it_is_freed():
    async def scenario(client):
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, make_definition())
        other = await client.create(CUSTOM_RESOURCE_DEFINITIONS, make_definition(names={"plural": "yachts"}))
        assert not has_condition(other, "NamesAccepted")
        await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "boats.sea.example")
        await until(client, lambda o: has_condition(o, "Established"), "yachts.sea.example")
        yachts = Resource("sea.example", "v1", "yachts", "Boat")
        assert (await client.create(yachts, make_boat(), "default"))["kind"] == "Boat"

    run(scenario)


def test_objects_of_a_definition_that_serves_no_version_go_too():
    async def scenario(client):
        definition = await client.create(CUSTOM_RESOURCE_DEFINITIONS, make_definition())
        await client.create(BOATS, make_boat(), "default")
        definition["spec"]["versions"][0]["served"] = False
        await client.update(CUSTOM_RESOURCE_DEFINITIONS, definition)
        with pytest.raises(NotFound):
            await client.list(BOATS)
        await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "boats.sea.example")
        await until(client, lambda found: found is None)
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, make_definition())
        assert (await client.list(BOATS)).items == []

    run(scenario)


def test_of_two_that_get_a_name_at_the_same_moment_one_keeps_it():
    async def scenario(client):
        first = await client.create(CUSTOM_RESOURCE_DEFINITIONS, make_definition())
        other = await client.create(CUSTOM_RESOURCE_DEFINITIONS, make_definition(names={"plural": "yachts"}))
        other["status"] = {  # as another server would have it, that had not heard of the first
            **other["status"],
            "acceptedNames": other["spec"]["names"],
            "conditions": first["status"]["conditions"],
        }
        await client.update(CUSTOM_RESOURCE_DEFINITIONS, other, subresource="status")
        await client.create(BOATS, make_boat(), "default")
        yachts = Resource("sea.example", "v1", "yachts", "Boat")
        with pytest.raises(NotFound):
            await client.list(yachts)
        found = await until(client, lambda o: not has_condition(o, "NamesAccepted"), "yachts.sea.example")
        reasons = {condition["type"]: condition["reason"] for condition in found["status"]["conditions"]}
        assert reasons == {"NamesAccepted": "ListKindConflict", "Established": "NotAccepted"}
        await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "boats.sea.example")
        await until(client, lambda o: has_condition(o, "Established"), "yachts.sea.example")
        assert (await client.list(yachts)).items == []

    run(scenario)
