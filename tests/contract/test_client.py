"""What every `Client` does, whatever stands behind it."""

from __future__ import annotations

import asyncio
import datetime
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proa.apiserver.app import ApiServer
from proa.apiserver.pki import Pki, ensure_pki
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.fake import FakeClient
from proa.client.kubeconfig import connect
from proa.client.local import LocalTransport
from proa.client.protocol import JSON_PATCH, STRATEGIC_MERGE_PATCH, Client, Object, User, WatchEvent
from proa.httpd.server import HttpServer, make_server_context
from proa.objects import meta
from proa.objects.errors import AlreadyExists, ApiError, BadRequest, Conflict, Expired, NotFound
from proa.objects.resource import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICE_ACCOUNTS,
    Resource,
)
from proa.store.memory import MemoryStore

MakeClient = Callable[[], AbstractAsyncContextManager[Client]]
SPACE = "default"
ADMIN = User("admin", ("system:masters", "system:authenticated"))


@asynccontextmanager
async def _fake() -> AsyncIterator[Client]:
    yield FakeClient()


@asynccontextmanager
async def _api_server() -> AsyncIterator[ApiServer]:
    store = MemoryStore()
    server = ApiServer(store, DEFINITIONS)
    local = ApiClient(LocalTransport(server.handle, ADMIN))
    await local.create(NAMESPACES, {"metadata": {"name": SPACE}})
    await local.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, SPACE)
    yield server
    await store.close()


@asynccontextmanager
async def _local() -> AsyncIterator[Client]:
    async with _api_server() as server:
        yield ApiClient(LocalTransport(server.handle, ADMIN))


@asynccontextmanager
async def _http() -> AsyncIterator[Client]:
    """Over TLS on loopback, with the administrator's certificate."""
    with tempfile.TemporaryDirectory() as folder:
        pki = ensure_pki(Path(folder), ["127.0.0.1"], datetime.datetime.now(datetime.UTC))
        context = make_server_context(
            str(pki.server.certificate), str(pki.server.key), str(pki.authority.certificate)
        )
        async with _api_server() as server:
            http_server = HttpServer(server.handle, context)
            listener = socket.create_server(("127.0.0.1", 0))
            port = listener.getsockname()[1]
            await http_server.serve(listener)
            client = connect(write_kubeconfig(Path(folder), f"https://127.0.0.1:{port}", pki))
            try:
                yield client
            finally:
                await client.close()
                await http_server.close()


def write_kubeconfig(folder: Path, server: str, pki: Pki) -> Path:
    cluster = {"server": server, "certificate-authority": str(pki.authority.certificate)}
    user = {"client-certificate": str(pki.admin.certificate), "client-key": str(pki.admin.key)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "proa",
        "contexts": [{"name": "proa", "context": {"cluster": "proa", "user": "admin"}}],
        "clusters": [{"name": "proa", "cluster": cluster}],
        "users": [{"name": "admin", "user": user}],
    }
    file = folder / "kubeconfig"
    file.write_text(json.dumps(config))
    return file


MAKERS: dict[str, MakeClient] = {"fake": _fake, "local": _local, "http": _http}


@pytest.fixture(params=sorted(MAKERS))
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[Client], Awaitable[None]]], None]:
    """Run a scenario against one kind of client."""

    def run_scenario(scenario: Callable[[Client], Awaitable[None]]) -> None:
        async def main() -> None:
            async with MAKERS[request.param]() as client:
                await asyncio.wait_for(scenario(client), 60)

        asyncio.run(main())

    return run_scenario


def make_config_map(name: str = "one", **fields: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **fields},
        "data": {"key": "value"},
    }


def make_pod(name: str = "web", **spec: Any) -> Object:
    containers = [{"name": "main", "image": "example.com/app:1"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": containers, **spec},
    }


def make_deployment(name: str = "web", replicas: int = 1) -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": make_pod()["spec"]}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


async def next_events(
    client: Client, resource: Resource, version: str, count: int, **options: Any
) -> list[WatchEvent]:
    """Return the next so many changes, bookmarks left out."""
    found: list[WatchEvent] = []
    async with aclosing(client.watch(resource, SPACE, resource_version=version, **options)) as events:  # type: ignore[type-var]
        async for event in events:
            if event.type != "BOOKMARK":
                found.append(event)
            if len(found) == count:
                return found
    raise AssertionError(f"the watch ended after {found}")


def test_a_created_object_has_uid_version_and_time_and_reads_back(run):
    async def scenario(client: Client) -> None:
        created = await client.create(CONFIG_MAPS, make_config_map(), SPACE)
        assert meta.uid(created)
        assert int(meta.resource_version(created)) > 0
        assert created["metadata"]["creationTimestamp"]
        assert (created["kind"], created["apiVersion"]) == ("ConfigMap", "v1")
        assert await client.get(CONFIG_MAPS, "one", SPACE) == created

    run(scenario)


def test_a_second_object_of_the_same_name_is_refused(run):
    async def scenario(client: Client) -> None:
        await client.create(CONFIG_MAPS, make_config_map(), SPACE)
        with pytest.raises(AlreadyExists, match='configmaps "one" already exists'):
            await client.create(CONFIG_MAPS, make_config_map(), SPACE)

    run(scenario)


def test_a_missing_object_is_not_found(run):
    async def scenario(client: Client) -> None:
        with pytest.raises(NotFound, match=r'deployments\.apps "none" not found'):
            await client.get(DEPLOYMENTS, "none", SPACE)
        with pytest.raises(NotFound):
            await client.delete(CONFIG_MAPS, "none", SPACE)
        with pytest.raises(NotFound):
            await client.patch(CONFIG_MAPS, "none", {"data": {}}, SPACE)

    run(scenario)


def test_a_generated_name_starts_as_asked(run):
    async def scenario(client: Client) -> None:
        obj = {"metadata": {"generateName": "made-"}, "data": {}}
        created = await client.create(CONFIG_MAPS, obj, SPACE)
        assert meta.name(created).startswith("made-")
        assert len(meta.name(created)) == len("made-") + 5

    run(scenario)


def test_the_namespace_of_the_object_serves_where_none_is_given(run):
    async def scenario(client: Client) -> None:
        created = await client.create(CONFIG_MAPS, make_config_map(namespace=SPACE))
        assert meta.namespace(created) == SPACE

    run(scenario)


def test_a_mutated_answer_changes_nothing_that_is_stored(run):
    async def scenario(client: Client) -> None:
        created = await client.create(CONFIG_MAPS, make_config_map(), SPACE)
        created["data"]["key"] = "mutated"
        (await client.list(CONFIG_MAPS, SPACE)).items[0]["data"]["key"] = "mutated"
        assert (await client.get(CONFIG_MAPS, "one", SPACE))["data"] == {"key": "value"}

    run(scenario)


def test_an_update_from_an_old_version_conflicts(run):
    async def scenario(client: Client) -> None:
        old = await client.create(CONFIG_MAPS, make_config_map(), SPACE)
        new = await client.update(CONFIG_MAPS, {**old, "data": {"key": "new"}})
        assert int(meta.resource_version(new)) > int(meta.resource_version(old))
        with pytest.raises(Conflict, match="the object has been modified; please apply your changes"):
            await client.update(CONFIG_MAPS, {**old, "data": {"key": "late"}})

    run(scenario)


def test_an_update_that_changes_nothing_keeps_the_version(run):
    async def scenario(client: Client) -> None:
        created = await client.create(CONFIG_MAPS, make_config_map(), SPACE)
        assert meta.resource_version(await client.update(CONFIG_MAPS, created)) == meta.resource_version(
            created
        )

    run(scenario)


def test_spec_and_status_are_written_apart_and_only_spec_raises_the_generation(run):
    async def scenario(client: Client) -> None:
        created = await client.create(DEPLOYMENTS, make_deployment(), SPACE)
        assert meta.generation(created) == 1
        both = {**created, "spec": {**created["spec"], "replicas": 3}, "status": {"replicas": 7}}
        with_status = await client.update(DEPLOYMENTS, both, subresource="status")
        assert (with_status["spec"]["replicas"], with_status["status"]["replicas"]) == (1, 7)
        assert meta.generation(with_status) == 1
        both["metadata"] = with_status["metadata"]
        both["status"] = {"replicas": 9}
        with_spec = await client.update(DEPLOYMENTS, both)
        assert (with_spec["spec"]["replicas"], with_spec["status"]["replicas"]) == (3, 7)
        assert meta.generation(with_spec) == 2

    run(scenario)


@pytest.mark.parametrize(
    ("patch", "patch_type"),
    [
        pytest.param({"data": {"key": None, "new": "1"}}, "application/merge-patch+json", id="merge"),
        pytest.param({"data": {"key": None, "new": "1"}}, STRATEGIC_MERGE_PATCH, id="strategic"),
        pytest.param(
            [{"op": "remove", "path": "/data/key"}, {"op": "add", "path": "/data/new", "value": "1"}],
            JSON_PATCH,
            id="json",
        ),
    ],
)
def test_patches_change_what_they_name(run, patch, patch_type):
    async def scenario(client: Client) -> None:
        await client.create(CONFIG_MAPS, make_config_map(), SPACE)
        patched = await client.patch(CONFIG_MAPS, "one", patch, SPACE, patch_type=patch_type)
        assert patched["data"] == {"new": "1"}
        assert await client.get(CONFIG_MAPS, "one", SPACE) == patched

    run(scenario)


def test_a_patch_of_the_status_leaves_the_rest(run):
    async def scenario(client: Client) -> None:
        await client.create(DEPLOYMENTS, make_deployment(), SPACE)
        patch = {"spec": {"replicas": 5}, "status": {"replicas": 2}}
        patched = await client.patch(DEPLOYMENTS, "web", patch, SPACE, subresource="status")
        assert (patched["spec"]["replicas"], patched["status"]["replicas"]) == (1, 2)

    run(scenario)


def test_a_patch_with_an_old_version_conflicts(run):
    async def scenario(client: Client) -> None:
        old = await client.create(CONFIG_MAPS, make_config_map(), SPACE)
        await client.patch(CONFIG_MAPS, "one", {"data": {"a": "1"}}, SPACE)
        late = {"metadata": {"resourceVersion": meta.resource_version(old)}, "data": {"b": "2"}}
        with pytest.raises(Conflict):
            await client.patch(CONFIG_MAPS, "one", late, SPACE)

    run(scenario)


def test_lists_pick_by_label_and_field_in_order_of_names(run):
    async def scenario(client: Client) -> None:
        for name, tier in (("c", "web"), ("a", "web"), ("b", "db")):
            await client.create(CONFIG_MAPS, make_config_map(name, labels={"tier": tier}), SPACE)

        async def names(**selectors: str) -> list[str]:
            return [meta.name(obj) for obj in (await client.list(CONFIG_MAPS, SPACE, **selectors)).items]

        assert await names(label_selector="tier in (web,db)") == ["a", "b", "c"]
        assert await names(label_selector="tier=web") == ["a", "c"]
        assert await names(label_selector="tier,tier!=web") == ["b"]
        assert await names(label_selector="tier", field_selector="metadata.name=b") == ["b"]
        with pytest.raises(BadRequest):
            await names(label_selector="a===b")
        with pytest.raises(BadRequest, match=r"no\.such"):
            await names(field_selector="no.such=1")

    run(scenario)


def test_listed_items_say_their_kind(run):
    async def scenario(client: Client) -> None:
        await client.create(DEPLOYMENTS, make_deployment(), SPACE)
        (item,) = (await client.list(DEPLOYMENTS, SPACE)).items
        assert (item["apiVersion"], item["kind"]) == ("apps/v1", "Deployment")

    run(scenario)


def test_pages_hold_every_object_once(run):
    async def scenario(client: Client) -> None:
        wanted = [f"n{index}" for index in range(5)]
        for name in wanted:
            await client.create(CONFIG_MAPS, make_config_map(name, labels={"paged": "yes"}), SPACE)
        found, token, pages = [], "", 0
        while pages == 0 or token:
            page = await client.list(
                CONFIG_MAPS, SPACE, label_selector="paged", limit=2, continue_token=token
            )
            found += [meta.name(obj) for obj in page.items]
            token = page.continue_token
            pages += 1
        assert (found, pages) == (wanted, 3)

    run(scenario)


def test_a_watch_tells_what_happens_after_a_list(run):
    async def scenario(client: Client) -> None:
        version = (await client.list(CONFIG_MAPS, SPACE)).resource_version
        created = await client.create(CONFIG_MAPS, make_config_map(), SPACE)
        updated = await client.patch(CONFIG_MAPS, "one", {"data": {"key": "new"}}, SPACE)
        await client.delete(CONFIG_MAPS, "one", SPACE)
        only = {"field_selector": "metadata.name=one"}
        added, modified, deleted = await next_events(client, CONFIG_MAPS, version, 3, **only)
        assert (added.type, added.object) == ("ADDED", created)
        assert (modified.type, modified.object) == ("MODIFIED", updated)
        assert deleted.type == "DELETED"
        assert int(meta.resource_version(deleted.object)) > int(meta.resource_version(updated))

    run(scenario)


def test_who_asks_for_metadata_gets_no_more(run):
    async def scenario(client: Client) -> None:
        listed = await client.list(CONFIG_MAPS, SPACE, metadata_only=True)
        created = await client.create(CONFIG_MAPS, make_config_map(labels={"a": "b"}), SPACE)
        await client.patch(CONFIG_MAPS, "one", {"metadata": {"labels": {"a": "c"}}}, SPACE)
        partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
        added, modified = await next_events(
            client, CONFIG_MAPS, listed.resource_version, 2, metadata_only=True
        )
        assert added.object == {**partial, "metadata": created["metadata"]}
        assert meta.labels(modified.object) == {"a": "c"}
        selected = {"label_selector": "a=c", "metadata_only": True}
        assert (await client.list(CONFIG_MAPS, SPACE, **selected)).items == [modified.object]
        (seen,) = await next_events(client, CONFIG_MAPS, listed.resource_version, 1, **selected)
        assert (seen.type, seen.object) == ("ADDED", modified.object)
        await client.delete(CONFIG_MAPS, "one", SPACE)
        version = meta.resource_version(modified.object)
        (deleted,) = await next_events(client, CONFIG_MAPS, version, 1, metadata_only=True)
        assert (deleted.type, meta.uid(deleted.object)) == ("DELETED", meta.uid(created))
        assert set(deleted.object) == {"kind", "apiVersion", "metadata"}

    run(scenario)


def test_a_watch_waits_for_what_is_still_to_come(run):
    async def scenario(client: Client) -> None:
        version = (await client.list(CONFIG_MAPS, SPACE)).resource_version
        coming = asyncio.create_task(
            next_events(client, CONFIG_MAPS, version, 2, field_selector="metadata.name=later")
        )
        for _ in range(5):
            await asyncio.sleep(0)
        await client.create(CONFIG_MAPS, make_config_map("later"), SPACE)
        await client.delete(CONFIG_MAPS, "later", SPACE)
        assert [event.type for event in await coming] == ["ADDED", "DELETED"]

    run(scenario)


def test_an_object_that_a_selector_no_longer_picks_is_deleted_to_its_watch(run):
    async def scenario(client: Client) -> None:
        version = (await client.list(CONFIG_MAPS, SPACE)).resource_version
        await client.create(CONFIG_MAPS, make_config_map(labels={"tier": "web"}), SPACE)
        await client.patch(CONFIG_MAPS, "one", {"metadata": {"labels": {"tier": "db"}}}, SPACE)
        await client.patch(CONFIG_MAPS, "one", {"metadata": {"labels": {"tier": "web"}}}, SPACE)
        events = await next_events(client, CONFIG_MAPS, version, 3, label_selector="tier=web")
        assert [event.type for event in events] == ["ADDED", "DELETED", "ADDED"]

    run(scenario)


def test_a_watch_ends_by_its_timeout(run):
    async def scenario(client: Client) -> None:
        version = (await client.list(CONFIG_MAPS, SPACE)).resource_version
        selector = "metadata.name=nothing-of-this-name"
        watch = client.watch(
            CONFIG_MAPS, SPACE, resource_version=version, field_selector=selector, timeout_seconds=1
        )
        assert [event async for event in watch if event.type != "BOOKMARK"] == []

    run(scenario)


def test_an_object_with_finalizers_stays_until_the_last_is_gone(run):
    async def scenario(client: Client) -> None:
        await client.create(CONFIG_MAPS, make_config_map(finalizers=["example.com/hold"]), SPACE)
        answer = await client.delete(CONFIG_MAPS, "one", SPACE)
        assert meta.is_deleting(answer)
        assert meta.is_deleting(await client.get(CONFIG_MAPS, "one", SPACE))
        await client.patch(CONFIG_MAPS, "one", {"metadata": {"finalizers": None}}, SPACE)
        with pytest.raises(NotFound):
            await client.get(CONFIG_MAPS, "one", SPACE)

    run(scenario)


def test_a_delete_with_another_uid_conflicts(run):
    async def scenario(client: Client) -> None:
        await client.create(CONFIG_MAPS, make_config_map(), SPACE)
        with pytest.raises(
            Conflict, match=r"the UID in the precondition \(other\) does not match the UID in record"
        ):
            await client.delete(CONFIG_MAPS, "one", SPACE, uid="other")

    run(scenario)


def test_a_bound_pod_is_given_its_grace_and_goes_when_that_is_nought(run):
    async def scenario(client: Client) -> None:
        await client.create(PODS, make_pod(nodeName="node-1", terminationGracePeriodSeconds=7), SPACE)
        going = await client.delete(PODS, "web", SPACE)
        assert going["metadata"]["deletionGracePeriodSeconds"] == 7
        assert meta.is_deleting(await client.get(PODS, "web", SPACE))
        await client.delete(PODS, "web", SPACE, grace_period_seconds=0)
        with pytest.raises(NotFound):
            await client.get(PODS, "web", SPACE)

    run(scenario)


def test_a_binding_sets_the_node_once(run):
    async def scenario(client: Client) -> None:
        pod = await client.create(PODS, make_pod(), SPACE)
        assert pod["status"]["phase"] == "Pending"
        target = {"apiVersion": "v1", "kind": "Node", "name": "node-1"}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "web", "uid": meta.uid(pod)}}
        await client.create_subresource(PODS, "web", "binding", {**binding, "target": target}, SPACE)
        bound = await client.get(PODS, "web", SPACE)
        assert bound["spec"]["nodeName"] == "node-1"
        assert meta.has_condition(bound, "PodScheduled")
        with pytest.raises(Conflict, match='already assigned to node "node-1"'):
            await client.create_subresource(PODS, "web", "binding", {**binding, "target": target}, SPACE)

    run(scenario)


def test_cluster_scoped_objects_have_no_namespace(run):
    async def scenario(client: Client) -> None:
        await client.create(NODES, {"metadata": {"name": "node-1"}})
        assert "namespace" not in (await client.get(NODES, "node-1"))["metadata"]

    run(scenario)


def test_an_error_says_its_reason_code_and_object(run):
    async def scenario(client: Client) -> None:
        with pytest.raises(ApiError) as caught:
            await client.get(DEPLOYMENTS, "none", SPACE)
        assert (caught.value.code, caught.value.reason) == (404, "NotFound")
        assert caught.value.details == {"name": "none", "group": "apps", "kind": "deployments"}

    run(scenario)


def test_the_fake_expires_watches_from_before_a_compaction():
    async def scenario() -> None:
        client = FakeClient()
        await client.create(CONFIG_MAPS, make_config_map(), SPACE)
        version = (await client.list(CONFIG_MAPS)).resource_version
        await client.create(CONFIG_MAPS, make_config_map("two"), SPACE)
        client.compact()
        with pytest.raises(Expired):
            await next_events(client, CONFIG_MAPS, version, 1)

    asyncio.run(scenario())
