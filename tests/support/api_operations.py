"""Take a resource through all operations of the API, as upstream's "should support ... API operations" do.

An `ApiServer` over a memory store, asked in process by an administrator.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proa.apiserver.app import ApiServer
from proa.apiserver.bootstrap import ensure_system_objects
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import MERGE_PATCH, Object, User, WatchEvent
from proa.objects.errors import NotFound
from proa.objects.resource import Resource
from proa.store.memory import MemoryStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))
LABEL = "special-label"
SECONDS = 60.0


def resource_of(group: str, plural: str) -> Resource:
    """Return a built-in resource."""
    return next(d.resource for d in DEFINITIONS if (d.resource.group, d.resource.plural) == (group, plural))


@asynccontextmanager
async def api_server() -> AsyncIterator[ApiClient]:
    """Yield a client of a server that has what every cluster has."""
    server = ApiServer(MemoryStore(), DEFINITIONS)
    client = ApiClient(LocalTransport(server.handle, ADMIN))
    await ensure_system_objects(client, service_cidr="10.96.0.0/16", address="10.243.0.1", port=6443)
    try:
        yield client
    finally:
        await client.close()


def run_with_api(scenario: Callable[[ApiClient], Any]) -> None:
    """Run a scenario against a new server."""

    async def run() -> None:
        async with api_server() as client:
            await scenario(client)

    asyncio.run(run())


def check_api_operations(
    resource: Resource,
    spec: Object,
    *,
    names: tuple[str, str, str] = ("a", "b", "c"),
    status: Object | None = None,
) -> None:
    """Discover, create, get, list, watch, patch, update and delete three objects; write a status where there is one."""

    async def scenario(client: ApiClient) -> None:
        await check_discovery(client, resource)
        namespace = "default" if resource.namespaced else None
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        for name in names:
            body = {**head, "metadata": {"name": name, "labels": {LABEL: "test"}}, **spec}
            made = await client.create(resource, body, namespace)
            assert made["metadata"]["uid"]
        found = await client.get(resource, names[0], namespace)
        assert found["metadata"]["name"] == names[0]
        for where in (namespace, None):
            listed = await client.list(resource, where, label_selector=f"{LABEL}=test")
            assert sorted(item["metadata"]["name"] for item in listed.items) == sorted(names)
        watch = asyncio.create_task(_watch_until_gone(client, resource, listed.resource_version, names[0]))
        await _change(client, resource, found, namespace)
        if status is not None:
            await _check_status(client, resource, names[0], namespace, status)
        await _delete(client, resource, names, namespace)
        seen = await asyncio.wait_for(watch, SECONDS)
        assert [event.type for event in seen][-1] == "DELETED"
        assert any("patched" in (event.object["metadata"].get("annotations") or {}) for event in seen)

    run_with_api(scenario)


async def check_discovery(client: ApiClient, resource: Resource) -> None:
    """Find the resource from the list of groups on."""
    groups = await client.request("GET", "/apis")
    group = next(g for g in groups["groups"] if g["name"] == resource.group)
    assert resource.api_version in [version["groupVersion"] for version in group["versions"]]
    served = await client.request("GET", f"/apis/{resource.api_version}")
    assert resource.plural in [entry["name"] for entry in served["resources"]]


async def _watch_until_gone(
    client: ApiClient, resource: Resource, version: str, name: str
) -> list[WatchEvent]:
    seen: list[WatchEvent] = []
    async for event in client.watch(resource, resource_version=version, label_selector=f"{LABEL}=test"):
        if event.type != "BOOKMARK" and event.object["metadata"]["name"] == name:
            seen.append(event)
            if event.type == "DELETED":
                break
    return seen


async def _change(client: ApiClient, resource: Resource, found: Object, namespace: str | None) -> None:
    name = found["metadata"]["name"]
    annotated = {"metadata": {"annotations": {"patched": "true"}}}
    patched = await client.patch(resource, name, annotated, namespace, patch_type=MERGE_PATCH)
    assert patched["metadata"]["annotations"] == {"patched": "true"}
    metadata = {**patched["metadata"], "annotations": {"patched": "true", "updated": "true"}}
    updated = await client.update(resource, {**patched, "metadata": metadata})
    assert updated["metadata"]["annotations"]["updated"] == "true"


async def _check_status(
    client: ApiClient, resource: Resource, name: str, namespace: str | None, status: Object
) -> None:
    patched = await client.patch(
        resource, name, {"status": status}, namespace, patch_type=MERGE_PATCH, subresource="status"
    )
    assert patched["status"] == status
    noted = {
        **patched,
        "metadata": {**patched["metadata"], "annotations": {"by-status": "true", "patched": "true"}},
    }
    updated = await client.update(resource, noted, "status")
    assert (updated["status"], updated["metadata"]["annotations"]["by-status"]) == (status, "true")
    read = await client.request("GET", resource.path(namespace, name, "status"))
    assert read["status"] == status


async def _delete(
    client: ApiClient, resource: Resource, names: tuple[str, str, str], namespace: str | None
) -> None:
    await client.delete(resource, names[0], namespace)
    with pytest.raises(NotFound):
        await client.get(resource, names[0], namespace)
    await client.request("DELETE", f"{resource.path(namespace)}?labelSelector={LABEL}%3Dtest")
    assert (await client.list(resource, namespace, label_selector=f"{LABEL}=test")).items == []
