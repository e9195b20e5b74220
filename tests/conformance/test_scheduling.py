"""What upstream's conformance suite asks of the scheduler, on nodes whose kubelets only write status.

Follows test/e2e/scheduling/{predicates,preemption}.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.pods import node_name
from proa.objects.resource import EVENTS, NODES, PODS, PRIORITY_CLASSES, REPLICA_SETS, SERVICE_ACCOUNTS
from support.control_plane import Cluster, running

NODE_NAMES = ("n1", "n2")
FOO = "example.com/foo"
PRIORITIES = {"high": 1000, "medium": 100, "low": 1}
Play = Callable[[Callable[[Cluster], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Return a function that plays a scenario on a control plane with a scheduler and two nodes."""

    def play(scenario: Callable[[Cluster], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            async with running(tmp_path, schedules=NODE_NAMES) as cluster:
                for namespace in ("default", "kube-system"):
                    await cluster.until(
                        lambda namespace=namespace: cluster.has(SERVICE_ACCOUNTS, "default", namespace)
                    )
                for name, value in PRIORITIES.items():
                    await cluster.client.create(
                        PRIORITY_CLASSES, {"metadata": {"name": name}, "value": value}
                    )
                await scenario(cluster)

        asyncio.run(run())

    return play


def pod(name: str, request: dict[str, str] | None = None, ports: Any = (), **spec: Any) -> Object:
    resources = {"requests": request, "limits": request} if request else {}
    container = {"name": "c", "image": "registry.example/app:1", "resources": resources, "ports": list(ports)}
    metadata = {"name": name, "finalizers": spec.pop("finalizers", [])}
    return {"metadata": metadata, "spec": {"containers": [container], **spec}}


async def start(cluster: Cluster, made: Object, namespace: str = "default") -> str:
    """Create a pod and return the node that it gets."""
    name = meta.name(made)
    await cluster.client.create(PODS, made, namespace)

    async def node() -> str:
        return node_name(await cluster.client.get(PODS, name, namespace))

    found: str = await cluster.until(node)
    return found


async def expect_refused(cluster: Cluster, made: Object) -> None:
    """Create a pod and wait until it is said that nothing fits it."""
    await cluster.client.create(PODS, made, "default")

    async def is_said() -> bool:
        events = await cluster.all(EVENTS)
        return any(
            (event["reason"], event["involvedObject"]["name"]) == ("FailedScheduling", meta.name(made))
            for event in events
        )

    await cluster.until(is_said)
    assert not node_name(await cluster.client.get(PODS, meta.name(made), "default"))


async def give_foo(cluster: Cluster, amount: str = "5") -> None:
    """Give each node so much of an extended resource."""
    for name in NODE_NAMES:
        amounts = {"capacity": {FOO: amount}, "allocatable": {FOO: amount}}
        await cluster.client.patch(NODES, name, {"status": amounts}, subresource="status")


def test_predicates(play: Play) -> None:
    """[sig-scheduling] SchedulerPredicates validates resource limits of pods that are allowed to run [Serial]
    [Conformance]
    [sig-scheduling] SchedulerPredicates validates that NodeSelector is respected if matching [Serial] [Conformance]
    [sig-scheduling] SchedulerPredicates validates that NodeSelector is respected if not matching [Serial] [Conformance]
    [sig-scheduling] SchedulerPredicates validates that there exists conflict between pods with same hostPort and
    protocol but one using 0.0.0.0 hostIP [Serial] [Conformance]"""

    async def scenario(cluster: Cluster) -> None:
        for name in NODE_NAMES:
            filler = pod(f"filler-{name}", {"cpu": "2800m"}, nodeSelector={"kubernetes.io/hostname": name})
            assert await start(cluster, filler) == name
        await expect_refused(cluster, pod("additional", {"cpu": "2"}))

        await expect_refused(cluster, pod("restricted", nodeSelector={"label": "nonempty"}))
        await cluster.client.patch(NODES, "n2", {"metadata": {"labels": {"example.com/e2e": "42"}}})
        assert await start(cluster, pod("with-labels", nodeSelector={"example.com/e2e": "42"})) == "n2"

        def with_port(name: str, address: str) -> Object:
            port = {"containerPort": 80, "hostPort": 54322, "hostIP": address, "protocol": "TCP"}
            return pod(name, ports=[port], nodeSelector={"example.com/e2e": "42"})

        assert await start(cluster, with_port("pod4", "0.0.0.0")) == "n2"
        await expect_refused(cluster, with_port("pod5", "127.0.0.1"))

    play(scenario)


def test_preemption(play: Play) -> None:
    """[sig-scheduling] SchedulerPreemption validates basic preemption works [Serial] [Conformance]
    [sig-scheduling] SchedulerPreemption validates lower priority pod preemption by critical pod [Serial] [Conformance]
    [sig-scheduling] SchedulerPreemption validates pod disruption condition is added to the preempted pod [Serial]
    [Conformance]"""

    async def scenario(cluster: Cluster) -> None:
        await give_foo(cluster)
        victims = {"pod0": "low", "pod1": "medium", "pod2": "medium", "pod3": "medium"}
        for index, (name, priority) in enumerate(victims.items()):
            selector = {"kubernetes.io/hostname": NODE_NAMES[index % 2]}
            finalizers = ["example.com/keep"] if priority == "low" else []
            made = pod(
                name, {FOO: "2"}, priorityClassName=priority, nodeSelector=selector, finalizers=finalizers
            )
            await start(cluster, made)
        await cluster.client.create(PODS, pod("preemptor", {FOO: "2"}, priorityClassName="high"), "default")

        async def victim() -> Object | None:
            found = await cluster.client.get(PODS, "pod0", "default")
            return found if meta.is_deleting(found) else None

        preempted = await cluster.until(victim)
        condition = meta.find_condition(preempted, "DisruptionTarget") or {}
        assert (condition["status"], condition["reason"]) == ("True", "PreemptionByScheduler")
        await cluster.client.patch(PODS, "pod0", {"metadata": {"finalizers": None}}, "default")

        async def has_node() -> str:
            return node_name(await cluster.client.get(PODS, "preemptor", "default"))

        assert await cluster.until(has_node) == "n1"
        for name in ("pod1", "pod2", "pod3"):
            assert not meta.is_deleting(await cluster.client.get(PODS, name, "default"))

        critical = pod("critical", {FOO: "3"}, priorityClassName="system-cluster-critical")
        await start(cluster, critical, "kube-system")
        left = {meta.name(each) for each in await cluster.all(PODS)}
        assert "preemptor" in left
        assert len(left & {"pod1", "pod2", "pod3"}) == 2

    play(scenario)


def test_preemption_of_replica_sets(play: Play) -> None:
    """[sig-scheduling] SchedulerPreemption PreemptionExecutionPath runs ReplicaSets to verify preemption running path
    [Serial] [Conformance]"""

    async def scenario(cluster: Cluster) -> None:
        await give_foo(cluster, "5")
        for index in range(1, 5):
            await cluster.client.create(PRIORITY_CLASSES, {"metadata": {"name": f"p{index}"}, "value": index})

        async def add(name: str, replicas: int, amount: int) -> None:
            template = pod("", {FOO: str(amount)}, priorityClassName=name.split("-")[1])
            template["metadata"] = {"labels": {"name": name}}
            template["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "n1"}
            spec = {"replicas": replicas, "selector": {"matchLabels": {"name": name}}, "template": template}
            await cluster.client.create(REPLICA_SETS, {"metadata": {"name": name}, "spec": spec}, "default")

        async def running_of(name: str) -> int:
            found = (await cluster.client.list(PODS, "default", label_selector=f"name={name}")).items
            return sum(bool(node_name(each)) and not meta.is_deleting(each) for each in found)

        for name, replicas, amount in (("rs-p1", 1, 1), ("rs-p2", 1, 1), ("rs-p3", 1, 3)):
            await add(name, replicas, amount)
            await cluster.until(lambda name=name, replicas=replicas: _is(running_of(name), replicas))
        await add("rs-p4", 1, 2)
        await cluster.until(lambda: _is(running_of("rs-p4"), 1))
        assert [await running_of(f"rs-p{index}") for index in (1, 2, 3)] == [0, 0, 1]

    play(scenario)


async def _is(number: Coroutine[Any, Any, int], expected: int) -> bool:
    return await number == expected
