"""One revision in a small world: its scale, its slice, and what is told of it to the activator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.ml.serving.kinds import ACTIVATOR_PORT, REVISION_LABEL
from proa.ml.serving.records import Backends, Load
from proa.ml.serving.scaling.controller import ScalingController, was_ready
from proa.ml.serving.scaling.lifecycle import Phase
from proa.ml.serving.scaling.load_client import LoadClient, NoLoad
from proa.objects.errors import AlreadyExists
from proa.objects.resource import DEPLOYMENTS, ENDPOINT_SLICES, PODS, SERVICES
from proa.reconcile.manager import Manager
from proa.reconcile.protocol import Key

Object = dict[str, Any]

REVISION = "digits-predictor-00001"
KEY = Key("default", REVISION)
LABELS = {REVISION_LABEL: REVISION}
ADDRESS = "10.243.255.1"


class Gate:
    """What an activator is told, and what it holds."""

    def __init__(self) -> None:
        self.backends: dict[Key, Backends] = {}
        self.held: Load | None = None

    def update(self, key: Key, backends: Backends) -> None:
        self.backends[key] = backends

    def forget(self, key: Key) -> None:
        self.backends.pop(key, None)

    def load(self, key: Key) -> Load | None:
        return self.held


class Silent(LoadClient):
    """No pod tells anything, but for what is put into `told`, by address."""

    def __init__(self) -> None:
        super().__init__(dial=_nowhere)
        self.told: dict[str, Load] = {}

    async def ask(self, address: str) -> Load:
        if address not in self.told:
            raise NoLoad(address)
        return self.told[address]


async def _nowhere(host: str, port: int) -> Any:
    raise OSError("nowhere")


class World:
    """A Deployment with its Service; its pods are made by hand."""

    def __init__(self, annotations: dict[str, str], address: str = ADDRESS) -> None:
        self.client = FakeClient()
        self.gate = Gate()
        self.loads = Silent()
        self.time = 1000.0
        self.controller = ScalingController(self.gate, _nowhere, address, ACTIVATOR_PORT, self.loads)
        self.controller.autoscaler.clock = lambda: self.time
        self.manager = Manager(self.client, [self.controller])
        self.annotations = {f"autoscaling.knative.dev/{key}": value for key, value in annotations.items()}

    async def __aenter__(self) -> World:
        metadata = {"name": f"{REVISION}-deployment", "labels": LABELS, "annotations": self.annotations}
        await self.client.create(DEPLOYMENTS, {"metadata": metadata, "spec": {"replicas": 1}}, "default")
        port = {"name": "http", "port": 80, "targetPort": "h1"}
        service = {
            "metadata": {"name": REVISION, "labels": LABELS},
            "spec": {"clusterIP": "None", "ports": [port]},
        }
        await self.client.create(SERVICES, service, "default")
        await self.manager.start_reconciling()
        self.controller._enqueue = self.manager._runners[0].queue.add
        await self.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.controller.autoscaler.forget(KEY)
        await self.manager.stop()

    async def settle(self) -> None:
        quiet = 0
        while quiet < 30:
            await asyncio.sleep(0)
            quiet = quiet + 1 if self.manager.is_idle() else 0

    async def again(self, *, decision: Callable[[], None] = lambda: None, seconds: float = 0.0) -> None:
        """Let time pass, and have the revision looked at."""
        self.time += seconds
        decision()
        self.controller.wake(KEY)
        await self.settle()

    async def pod(self, name: str, *, is_ready: bool) -> None:
        conditions = [{"type": "Ready", "status": "True" if is_ready else "False"}]
        container = {
            "name": "kserve-container",
            "ports": [{"name": "h1", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": "h1"}},
        }
        body = {"metadata": {"name": name, "labels": LABELS}, "spec": {"containers": [container]}}
        status = {"phase": "Running", "podIP": "10.244.1.9", "conditions": conditions}
        with suppress(AlreadyExists):
            await self.client.create(PODS, body, "default")
        await self.client.patch(PODS, name, {"status": status}, "default", subresource="status")
        await self.settle()

    async def endpoints(self, *, is_ready: bool) -> None:
        """Have the cluster's own slice say this of the pod."""
        labels = {**LABELS, "kubernetes.io/service-name": REVISION}
        endpoint = {"addresses": ["10.244.1.9"], "conditions": {"ready": is_ready}}
        body = {
            "metadata": {"name": f"{REVISION}-x7", "labels": labels},
            "endpoints": [endpoint],
            "ports": [],
        }
        await self.client.create(ENDPOINT_SLICES, body, "default")
        await self.settle()

    async def replicas(self) -> int:
        return int(
            (await self.client.get(DEPLOYMENTS, f"{REVISION}-deployment", "default"))["spec"]["replicas"]
        )

    async def slice(self) -> Object | None:
        found = (await self.client.list(ENDPOINT_SLICES, "default")).items
        return next((one for one in found if one["metadata"]["name"] == f"{REVISION}-activator"), None)

    @property
    def phase(self) -> Phase:
        watched = self.controller.autoscaler.find(KEY)
        assert watched is not None
        return watched.lifecycle.phase

    def observe(self, concurrency: float) -> None:
        """Have the last second's load be so much."""
        watched = self.controller.autoscaler.find(KEY)
        assert watched is not None
        load = Load("p", self.time, concurrency * self.time, 0, round(concurrency))
        watched.observation.add({"p": load}, self.gate.held, self.time)
        self.controller.autoscaler.decide(watched, self.time)


def test_a_revision_goes_from_start_to_zero_and_back() -> None:
    async def test() -> None:
        async with World({"min-scale": "0", "max-scale": "4", "window": "6s"}) as world:
            made = await world.slice()
            assert made is not None
            assert made["endpoints"][0]["addresses"] == [ADDRESS]
            assert made["ports"] == [{"name": "http", "port": ACTIVATOR_PORT, "protocol": "TCP"}]
            assert made["metadata"]["ownerReferences"][0]["kind"] == "Service"
            await world.pod("p", is_ready=False)
            (backend,) = world.gate.backends[KEY].pods
            assert (backend.address, backend.http_port, backend.is_ready) == ("10.244.1.9", 8080, False)
            assert backend.probe == (8080, "/v2/health/ready", "")
            await world.again(seconds=3600)
            assert (world.phase, await world.replicas()) == (Phase.ACTIVATING, 1)  # a slow starter

            await world.pod("p", is_ready=True)
            assert world.phase == Phase.ACTIVE
            assert await world.slice() is not None  # proxies have nothing else yet
            await world.endpoints(is_ready=True)
            assert await world.slice() is None

            await world.again(seconds=5, decision=lambda: world.observe(0))
            assert (world.phase, await world.replicas()) == (Phase.ACTIVE, 1)
            await world.again(seconds=2, decision=lambda: world.observe(0))
            assert (world.phase, await world.replicas()) == (Phase.INACTIVE, 1)
            assert await world.slice() is not None
            await world.again(seconds=30, decision=lambda: world.observe(0))
            assert await world.replicas() == 0

            await world.client.delete(PODS, "p", "default", grace_period_seconds=0)
            await world.settle()
            assert world.gate.backends[KEY].pods == ()
            world.gate.held = Load("a", 1.0, 0.0, 1, 1)
            await world.again()
            assert (world.phase, await world.replicas()) == (Phase.ACTIVATING, 1)

    asyncio.run(test())


def test_a_load_is_answered_with_pods_and_no_more_than_allowed() -> None:
    async def test() -> None:
        async with World({"max-scale": "4", "target": "10", "target-utilization-percentage": "100"}) as world:
            await world.pod("p", is_ready=True)
            await world.again(seconds=1, decision=lambda: world.observe(25))
            assert await world.replicas() == 3
            await world.again(seconds=60, decision=lambda: world.observe(900))
            assert await world.replicas() == 4

    asyncio.run(test())


def test_without_an_activator_nothing_goes_to_zero_and_no_slice_is_made() -> None:
    async def test() -> None:
        async with World({"min-scale": "0", "window": "6s"}, address="") as world:
            await world.pod("p", is_ready=True)
            await world.again(seconds=100, decision=lambda: world.observe(0))
            await world.again(seconds=100, decision=lambda: world.observe(0))
            assert (world.phase, await world.replicas()) == (Phase.ACTIVE, 1)
            assert await world.slice() is None

    asyncio.run(test())


def test_a_slice_that_says_something_else_is_put_right() -> None:
    async def test() -> None:
        async with World({}) as world:
            made = await world.slice()
            assert made is not None
            endpoints = [{"addresses": ["10.0.0.9"], "conditions": {"ready": True}}]
            await world.client.update(ENDPOINT_SLICES, {**made, "endpoints": endpoints})
            await world.settle()
            made = await world.slice()
            assert made is not None
            assert made["endpoints"][0]["addresses"] == [ADDRESS]

    asyncio.run(test())


def test_a_revision_that_is_no_more_leaves_nothing() -> None:
    async def test() -> None:
        async with World({}) as world:
            await world.client.delete(DEPLOYMENTS, f"{REVISION}-deployment", "default")
            await world.settle()
            assert await world.slice() is None
            assert world.gate.backends == {}
            assert world.controller.autoscaler.find(KEY) is None

    asyncio.run(test())


def test_reconciling_again_writes_nothing() -> None:
    async def test() -> None:
        async with World({}) as world:
            await world.pod("p", is_ready=True)
            before = len(world.client.calls)
            await world.again()
            await world.again()
            assert len(world.client.calls) == before

    asyncio.run(test())


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, False),
        ({"readyReplicas": 1}, True),
        ({"conditions": [{"type": "Progressing", "reason": "NewReplicaSetAvailable"}]}, True),
        ({"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}, False),
    ],
)
def test_a_deployment_tells_whether_its_revision_was_ready(status: Object, expected: bool) -> None:
    assert was_ready({"status": status}) is expected
