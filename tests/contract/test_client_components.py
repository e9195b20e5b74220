"""The scheduler and a controller at work on the real API server, in process: what the fake cannot promise."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import Client, Object, User
from proa.objects import meta, pods
from proa.objects.resource import CONFIG_MAPS, EVENTS, NAMESPACES, NODES, PODS, SERVICE_ACCOUNTS
from proa.reconcile.manager import Manager
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch
from proa.scheduler.cycle import Scheduler
from proa.store.memory import MemoryStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))
SPACE = "default"


class Copier:
    """A controller that keeps a copy of every ConfigMap labelled `copy`."""

    NAME = "copier"
    WATCHES = (Watch(CONFIG_MAPS),)

    async def reconcile(self, context: Context, key: Key) -> Result:
        original = context.caches(CONFIG_MAPS).get(key.name, key.namespace)
        if original is None or "copy" not in meta.labels(original):
            return DONE
        name = f"{key.name}-copy"
        if context.caches(CONFIG_MAPS).get(name, key.namespace) is None:
            copy = {"metadata": {"name": name}, "data": original["data"]}
            await context.client.create(CONFIG_MAPS, copy, key.namespace)
            assert context.caches(CONFIG_MAPS).get(name, key.namespace)
            context.events.event(original, "Normal", "Copied", f"Copied to {name}")
        return DONE


def with_components(scenario: Callable[[Client, Manager], Awaitable[None]]) -> None:
    async def main() -> None:
        store = MemoryStore()
        client = ApiClient(LocalTransport(ApiServer(store, DEFINITIONS).handle, ADMIN))
        await client.create(NAMESPACES, {"metadata": {"name": SPACE}})
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, SPACE)
        manager = Manager(client, [Copier()])
        recorder = manager.events.recorder("default-scheduler")
        scheduler = Scheduler(
            client, manager.informers, lambda name: recorder, time.time, random.Random(1).random
        )
        scheduling = asyncio.create_task(scheduler.run())
        await manager.start()
        try:
            async with asyncio.timeout(60):
                await scenario(client, manager)
            assert not scheduling.done()
        finally:
            await scheduler.stop()
            await manager.stop()
            await store.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


async def make_ready_node(client: Client, name: str) -> None:
    node = await client.create(NODES, {"metadata": {"name": name}})
    node["status"] = {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}}
    node = await client.update(NODES, node, subresource="status")
    await client.patch(NODES, name, {"spec": {"taints": None}})


def make_pod(name: str, cpu: str) -> Object:
    container = {"name": "main", "image": "example.com/app:1", "resources": {"requests": {"cpu": cpu}}}
    return {"metadata": {"name": name}, "spec": {"containers": [container]}}


async def get_pod(client: Client, name: str, is_wanted: Callable[[Object], Any]) -> Object:
    """Return the pod once it is as wanted, following a watch."""
    found = await client.get(PODS, name, SPACE)
    if is_wanted(found):
        return found
    version = meta.resource_version(found)
    watch = client.watch(PODS, SPACE, resource_version=version, field_selector=f"metadata.name={name}")
    async for event in watch:
        if event.type != "BOOKMARK" and is_wanted(event.object):
            await watch.aclose()  # type: ignore[attr-defined]
            return event.object
    raise AssertionError("the watch ended")


def test_pods_are_bound_until_the_nodes_are_full_and_the_rest_says_why():
    async def scenario(client: Client, manager: Manager) -> None:
        for name in ("n1", "n2"):
            await make_ready_node(client, name)
        for index in range(4):
            await client.create(PODS, make_pod(f"p{index}", "900m"), SPACE)
        bound = [await get_pod(client, f"p{index}", pods.node_name) for index in range(4)]
        assert sorted(pods.node_name(pod) for pod in bound) == ["n1", "n1", "n2", "n2"]
        assert all(meta.has_condition(pod, "PodScheduled") for pod in bound)
        await client.create(PODS, make_pod("late", "900m"), SPACE)
        late = await get_pod(client, "late", lambda pod: meta.find_condition(pod, "PodScheduled"))
        condition = meta.find_condition(late, "PodScheduled") or {}
        assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
        assert condition["message"] == (
            "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, "
            "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
        )
        await manager.events.flush()
        reasons = sorted(event["reason"] for event in (await client.list(EVENTS, SPACE)).items)
        assert reasons == ["FailedScheduling", *["Scheduled"] * 4]

    with_components(scenario)


def test_a_node_that_becomes_ready_takes_the_pods_that_wait():
    async def scenario(client: Client, manager: Manager) -> None:
        await client.create(PODS, make_pod("early", "1"), SPACE)
        await get_pod(client, "early", lambda pod: meta.find_condition(pod, "PodScheduled"))
        await make_ready_node(client, "n1")
        assert pods.node_name(await get_pod(client, "early", pods.node_name)) == "n1"

    with_components(scenario)


@pytest.mark.parametrize("count", [1, 30])
def test_a_controller_acts_once_for_each_object(count):
    async def scenario(client: Client, manager: Manager) -> None:
        for index in range(count):
            obj = {"metadata": {"name": f"c{index}", "labels": {"copy": "yes"}}, "data": {"k": "v"}}
            await client.create(CONFIG_MAPS, obj, SPACE)
        while len(manager.informers(CONFIG_MAPS)) < 2 * count or not manager.is_idle():
            await asyncio.sleep(0)
        found = {meta.name(obj) for obj in (await client.list(CONFIG_MAPS, SPACE)).items}
        assert found == {f"c{index}{end}" for index in range(count) for end in ("", "-copy")}
        await manager.events.flush()
        assert len((await client.list(EVENTS, SPACE)).items) == count

    with_components(scenario)
