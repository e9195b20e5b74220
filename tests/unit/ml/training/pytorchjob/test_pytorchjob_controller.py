"""PyTorchJobs reconciled over an API in memory: each thing done once, refusals told, others' objects left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from proa.client.fake import FakeClient
from proa.client.protocol import Client, Object
from proa.ml.training.kinds import POD_GROUPS, PYTORCH_JOBS
from proa.ml.training.pytorchjob.controller import PyTorchJobController
from proa.objects import meta
from proa.objects.errors import Forbidden, Invalid, ServiceUnavailable
from proa.objects.resource import EVENTS, PODS, SERVICES, Resource
from proa.reconcile.manager import Manager

PATIENCE_SECONDS = 60.0


class World:
    def __init__(self, client: FakeClient) -> None:
        self.client = client

    async def create(self, **policy: Any) -> Object:
        template = {"spec": {"containers": [{"name": "pytorch", "image": "torch"}]}}
        roles = {"Master": {"template": template}, "Worker": {"replicas": 2, "template": template}}
        body = {
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": {"name": "train"},
            "spec": {"pytorchReplicaSpecs": roles, "runPolicy": policy},
        }
        return await self.client.create(PYTORCH_JOBS, body, "default")

    async def until(self, is_true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_true():
                await asyncio.sleep(0)

    def names(self, resource: Resource) -> list[str]:
        return sorted(meta.name(one) for one in self.client.all(resource))

    def has(self, type: str) -> bool:
        return any(meta.has_condition(one, type) for one in self.client.all(PYTORCH_JOBS))

    def message(self, type: str) -> str:
        found = (meta.find_condition(one, type) for one in self.client.all(PYTORCH_JOBS))
        return next((one["message"] for one in found if one is not None), "")

    def set_pods(self, phase: str) -> None:
        for pod in self.client.all(PODS):
            self.client.add(PODS, {**pod, "status": {"phase": phase}})


@asynccontextmanager
async def running(client: FakeClient | None = None) -> AsyncIterator[World]:
    client = client or FakeClient()
    manager = Manager(client, [PyTorchJobController()])
    await manager.start()
    try:
        yield World(client)
    finally:
        await manager.stop()


MEMBERS = ["train-master-0", "train-worker-0", "train-worker-1"]


def test_a_job_is_carried_out_and_its_events_say_so() -> None:
    async def scenario() -> None:
        async with running() as world:
            await world.create(schedulingPolicy={}, cleanPodPolicy="All")
            await world.until(lambda: world.has("Created"))
            assert world.names(PODS) == world.names(SERVICES) == MEMBERS
            assert world.names(POD_GROUPS) == ["train"]
            world.set_pods("Running")
            await world.until(lambda: world.has("Running"))
            world.set_pods("Succeeded")
            await world.until(lambda: world.has("Succeeded") and not world.client.all(PODS))
            await world.until(lambda: not world.client.all(SERVICES))
            assert world.names(POD_GROUPS) == []
        told = {(one["reason"], one["message"]) for one in world.client.all(EVENTS)}
        assert ("SuccessfulCreatePod", "Created pod: train-worker-1") in told
        assert ("SuccessfulCreateService", "Created service: train-master-0") in told
        assert ("PyTorchJobSucceeded", "PyTorchJob train is successfully completed.") in told

    asyncio.run(scenario())


def test_a_pod_group_that_has_the_jobs_name_and_is_another_ones_stays() -> None:
    async def scenario() -> None:
        async with running() as world:
            await world.create(schedulingPolicy={})
            await world.until(lambda: world.has("Created"))
            await world.client.delete(POD_GROUPS, "train", "default")
            world.set_pods("Running")
            other = {"metadata": {"name": "train", "namespace": "default", "labels": {"of": "another"}}}
            await world.client.create(POD_GROUPS, {**other, "spec": {"minMember": 1}}, "default")
            world.set_pods("Succeeded")
            await world.until(lambda: world.has("Succeeded"))
        assert world.names(POD_GROUPS) == ["train"]

    asyncio.run(scenario())


class Strict(FakeClient):
    """Takes no pods of workers."""

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None) -> Object:
        if resource is PODS and "worker" in meta.name(obj):
            raise Invalid('Pod "train-worker-0" is invalid: spec.containers[0].image: Required value')
        return await super().create(resource, obj, namespace)


def test_a_template_that_the_server_refuses_fails_the_job_in_the_servers_words() -> None:
    async def scenario() -> None:
        async with running(Strict()) as world:
            await world.create()
            await world.until(lambda: world.has("Failed"))
            (job,) = world.client.all(PYTORCH_JOBS)
            failed = meta.find_condition(job, "Failed")
            assert failed is not None
            assert failed["message"].endswith("spec.containers[0].image: Required value")
            await world.until(lambda: not world.client.all(PODS))

    asyncio.run(scenario())


class Full(FakeClient):
    """Takes no more than two pods, until told otherwise."""

    is_full = True

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None) -> Object:
        if resource is PODS and self.is_full and len(self.all(PODS)) == 2:
            raise Forbidden("exceeded quota: pods, used: pods=2, limited: pods=2")
        return await super().create(resource, obj, namespace)


def test_a_job_that_may_not_have_all_its_pods_says_so_and_goes_on_when_it_may() -> None:
    async def scenario() -> None:
        client = Full()
        async with running(client) as world:
            await world.create()
            await world.until(lambda: "exceeded quota" in world.message("Created"))
            assert len(client.all(PODS)) == 2
            client.is_full = False
            await world.until(lambda: world.message("Created") == "PyTorchJob train is created.")
            assert world.names(PODS) == MEMBERS

    asyncio.run(scenario())


class Mortal:
    """Passes calls on; from the `last`-th write on it is dead, before or just after what that write does."""

    def __init__(self, client: FakeClient, last: int, *, after: bool) -> None:
        self._client = client
        self._left = last
        self._after = after
        self.is_dead = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return self._mortal(found) if name in ("create", "update", "delete") else found

    def _mortal(self, act: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            self.is_dead = self.is_dead or self._left == 0
            if self.is_dead and (self._left or not self._after):
                raise ServiceUnavailable("dead")
            answer = await act(*arguments, **named)
            if self.is_dead:
                raise ServiceUnavailable("dead")
            return answer

        return call


@pytest.mark.parametrize(("last", "after"), [(last, last % 2 == 0) for last in range(1, 16)])
def test_wherever_an_operator_dies_the_next_one_ends_the_job_with_the_same_pods(
    last: int, *, after: bool
) -> None:
    async def live(world: World) -> None:
        await world.until(lambda: world.names(PODS) == MEMBERS and world.has("Created"))
        world.set_pods("Running")
        await world.until(lambda: world.has("Running"))
        (pod,) = (one for one in world.client.all(PODS) if meta.name(one) == "train-worker-1")
        old = meta.uid(pod)
        ended = {"name": "pytorch", "state": {"terminated": {"exitCode": 137}}}
        world.client.add(PODS, {**pod, "status": {"phase": "Failed", "containerStatuses": [ended]}})
        await world.until(
            lambda: world.names(PODS) == MEMBERS and old not in map(meta.uid, world.client.all(PODS))
        )
        world.set_pods("Running")
        await world.until(lambda: world.has("Running"))
        world.set_pods("Succeeded")
        await world.until(lambda: world.has("Succeeded"))

    async def scenario() -> None:
        client = FakeClient()
        mortal = Mortal(client, last, after=after)
        await World(client).create()
        manager = Manager(client, [PyTorchJobController()], client_of=lambda _: cast(Client, mortal))
        await manager.start()
        first = asyncio.create_task(live(World(client)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not mortal.is_dead and not first.done():
                await asyncio.sleep(0)
        await manager.stop()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        async with running(client) as world:
            await world.until(lambda: world.has("Created") and world.names(PODS) == MEMBERS)
            if not world.has("Succeeded"):
                world.set_pods("Running")
                await world.until(lambda: world.has("Running") and world.names(PODS) == MEMBERS)
                world.set_pods("Succeeded")
            await world.until(lambda: world.has("Succeeded"))
            assert world.names(PODS) == world.names(SERVICES) == MEMBERS

    asyncio.run(scenario())


def test_a_job_that_somebody_else_manages_is_left_alone() -> None:
    async def scenario() -> None:
        async with running() as world:
            await world.create(managedBy="kueue.x-k8s.io/multikueue")
            other = await world.client.create(
                PYTORCH_JOBS, {"metadata": {"name": "b"}, "spec": {"pytorchReplicaSpecs": {}}}, "default"
            )
            await world.until(lambda: world.has("Created"))
            assert meta.name(other) == "b"
            assert world.names(PODS) == []

    asyncio.run(scenario())
