from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.objects import meta, pods
from proa.objects.errors import Forbidden, ServiceUnavailable
from proa.objects.resource import (
    EVENTS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    Resource,
)
from proa.reconcile.events import EventSink
from proa.reconcile.informer import InformerFactory
from proa.scheduler.configuration import Configuration
from proa.scheduler.cycle import DEFAULT_CONFIGURATION, Scheduler

from .conftest import make_node, make_pod

Scenario = Callable[["Cluster"], Awaitable[None]]


class FastTimers:
    """The event loop's timers, a thousand times as fast."""

    def time(self) -> float:
        return asyncio.get_running_loop().time() * 1000

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay / 1000, callback, *args)


class Cluster:
    """A fake API with a scheduler at work, and what a test asks of them."""

    def __init__(self) -> None:
        self.client = FakeClient()
        self.events = EventSink(self.client, lambda: 0.0)

    async def create(self, resource: Resource, obj: Object) -> Object:
        return await self.client.create(resource, obj)

    def pod(self, name: str) -> Object:
        return self.client.peek(PODS, name, "default") or {}

    def node_of(self, name: str) -> str:
        return pods.node_name(self.pod(name))

    def condition(self, name: str) -> tuple[str, str]:
        condition = meta.find_condition(self.pod(name), "PodScheduled") or {}
        return condition.get("reason", ""), condition.get("message", "")

    async def event_messages(self, reason: str) -> list[str]:
        await self.events.flush()
        return [event["message"] for event in self.client.all(EVENTS) if event["reason"] == reason]

    async def expect(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.001)

    async def expect_node(self, name: str, node: str) -> None:
        await self.expect(lambda: self.node_of(name))
        assert self.node_of(name) == node


def with_scheduler(
    scenario: Scenario,
    *objects: tuple[Resource, Object],
    nodes: tuple[Object, ...] = (),
    configuration: Configuration = DEFAULT_CONFIGURATION,
) -> None:
    async def main() -> None:
        cluster = Cluster()
        for resource, obj in (*((NODES, node) for node in nodes), *objects):
            cluster.client.add(resource, obj)
        informers = InformerFactory(cluster.client)
        recorder = cluster.events.recorder
        scheduler = Scheduler(
            cluster.client,
            informers,
            recorder,
            lambda: 0.0,
            random.Random(1).random,
            timers=FastTimers(),
            configuration=configuration,
        )
        running = asyncio.create_task(scheduler.run())
        try:
            await scenario(cluster)
            assert not running.done()
        finally:
            await scheduler.stop()
            await informers.stop()
            await cluster.events.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_a_pod_is_bound_and_the_event_says_where():
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod("web"))
        await cluster.expect_node("web", "n1")
        assert await cluster.event_messages("Scheduled") == ["Successfully assigned default/web to n1"]

    with_scheduler(scenario, nodes=(make_node("n1"),))


def test_a_pod_that_nothing_fits_says_why_and_waits():
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod("web", cpu="3"))
        await cluster.expect(lambda: cluster.condition("web")[0])
        message = (
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). no new claims to "
            "deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        )
        assert cluster.condition("web") == ("Unschedulable", message)
        assert await cluster.event_messages("FailedScheduling") == [message]
        writes = [call for call in cluster.client.calls if call.resource == PODS and call.verb == "patch"]
        assert len(writes) == 1

    taint = {"key": "a", "effect": "NoSchedule"}
    tainted = (make_node("t1", taints=[taint]), make_node("t2", taints=[taint]))
    with_scheduler(scenario, nodes=(make_node("n1", cpu="2"), *tainted))


def test_without_nodes_a_pod_waits_for_one():
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod("web"))
        await cluster.expect(lambda: cluster.condition("web")[1] == "no nodes available to schedule pods")
        await cluster.create(NODES, make_node("n1"))
        node = cluster.client.peek(NODES, "n1")
        node["status"] = make_node("n1")["status"]
        await cluster.client.update(NODES, node, subresource="status")
        await cluster.expect_node("web", "n1")

    with_scheduler(scenario)


def test_a_pod_that_is_gone_makes_room_for_one_that_waits():
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod("first", cpu="3"))
        await cluster.expect_node("first", "n1")
        await cluster.create(PODS, make_pod("second", cpu="3"))
        await cluster.expect(lambda: cluster.condition("second")[0] == "Unschedulable")
        assert cluster.condition("second")[1].endswith("1 No preemption victims found for incoming pod.")
        await cluster.client.delete(PODS, "first", "default", grace_period_seconds=0)
        await cluster.expect_node("second", "n1")

    with_scheduler(scenario, nodes=(make_node("n1"),))


def test_a_vital_pod_takes_the_place_of_another_and_all_are_told():
    async def scenario(cluster: Cluster) -> None:
        low = make_pod("low", cpu="3")
        low["metadata"]["generation"] = 1
        await cluster.create(PODS, low)
        await cluster.expect_node("low", "n1")
        await cluster.create(PODS, make_pod("vital", cpu="3", priority=10))
        await cluster.expect(lambda: meta.is_deleting(cluster.pod("low")))
        condition = meta.find_condition(cluster.pod("low"), "DisruptionTarget") or {}
        assert {key: condition[key] for key in ("status", "reason", "message", "observedGeneration")} == {
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": "default-scheduler: preempting to accommodate a higher priority pod",
            "observedGeneration": 1,
        }
        await cluster.expect(
            lambda: (cluster.pod("vital").get("status") or {}).get("nominatedNodeName") == "n1"
        )
        assert cluster.condition("vital") == ("Unschedulable", "0/1 nodes are available: 1 Insufficient cpu.")
        uid = meta.uid(cluster.pod("vital"))
        assert await cluster.event_messages("Preempted") == [f"Preempted by pod {uid} on node n1"]
        await cluster.client.delete(PODS, "low", "default", grace_period_seconds=0)
        await cluster.expect_node("vital", "n1")

    with_scheduler(scenario, nodes=(make_node("n1"),))


def test_a_more_vital_pod_takes_over_a_nomination():
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod("low", cpu="3"))
        await cluster.expect_node("low", "n1")

        def nominated(name: str) -> str:
            return (cluster.pod(name).get("status") or {}).get("nominatedNodeName") or ""

        await cluster.create(PODS, make_pod("vital", cpu="3", priority=10))
        await cluster.expect(lambda: nominated("vital") == "n1")
        await cluster.create(PODS, make_pod("most-vital", cpu="3", priority=20))
        await cluster.expect(lambda: nominated("most-vital") == "n1")
        await cluster.expect(lambda: not nominated("vital"))
        await cluster.client.delete(PODS, "low", "default", grace_period_seconds=0)
        await cluster.expect_node("most-vital", "n1")
        assert cluster.node_of("vital") == ""

    with_scheduler(scenario, nodes=(make_node("n1"),))


def test_a_pod_that_ends_makes_room():
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod("job", cpu="3"))
        await cluster.expect_node("job", "n1")
        await cluster.client.patch(
            PODS, "job", {"status": {"phase": "Succeeded"}}, "default", subresource="status"
        )
        await cluster.create(PODS, make_pod("next", cpu="3"))
        await cluster.expect_node("next", "n1")

    with_scheduler(scenario, nodes=(make_node("n1"),))


def test_pods_of_another_scheduler_with_gates_or_going_are_left_alone():
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod("other", schedulerName="mine"))
        await cluster.create(PODS, make_pod("gated", schedulingGates=[{"name": "example.com/wait"}]))
        going = make_pod("going")
        going["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/hold"]}
        cluster.client.add(PODS, going)
        await cluster.create(PODS, make_pod("web"))
        await cluster.expect_node("web", "n1")
        assert [cluster.node_of(name) for name in ("other", "gated", "going")] == ["", "", ""]
        await cluster.client.patch(PODS, "gated", {"spec": {"schedulingGates": None}}, "default")
        await cluster.expect_node("gated", "n1")

    with_scheduler(scenario, nodes=(make_node("n1"),))


def test_a_binding_that_fails_is_taken_back_and_tried_again(caplog):
    async def scenario(cluster: Cluster) -> None:
        cluster.client.fail_next(ServiceUnavailable("away for a moment"), "create", PODS)
        cluster.client.add(PODS, make_pod("web", cpu="3"))
        await cluster.expect_node("web", "n1")
        assert await cluster.event_messages("FailedScheduling") == ["away for a moment"]

    with_scheduler(scenario, nodes=(make_node("n1"),))
    assert "binding failed namespace=default name=web node=n1" in caplog.text


def test_a_pod_that_somebody_else_bound_is_counted_where_it_is():
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod("theirs", cpu="3", nodeName="n1"))
        await cluster.create(PODS, make_pod("ours", cpu="3"))
        await cluster.expect_node("ours", "n2")

    with_scheduler(scenario, nodes=(make_node("n1"), make_node("n2")))


def test_many_pods_are_spread_and_nothing_is_overcommitted():
    async def scenario(cluster: Cluster) -> None:
        for index in range(60):
            await cluster.create(PODS, make_pod(f"p{index}", cpu="500m"))
        await cluster.expect(lambda: sum(bool(cluster.node_of(f"p{i}")) for i in range(60)) == 40)
        placed = [cluster.node_of(f"p{index}") for index in range(60)]
        assert {node: placed.count(node) for node in set(placed)} == {
            "": 20,
            **{f"n{i}": 8 for i in range(5)},
        }

    with_scheduler(scenario, nodes=tuple(make_node(f"n{index}") for index in range(5)))


# Volumes


def make_claim(name: str = "data", storage_class: str = "late", **status: Any) -> Object:
    spec = {"storageClassName": storage_class, **status.pop("spec", {})}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
        "status": {"phase": "Pending", **status},
    }


def make_volume(node: str) -> Object:
    expressions = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]
    required = {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
    return {"metadata": {"name": "volume-1"}, "spec": {"nodeAffinity": {"required": required}}}


def make_pod_with_claim(name: str = "web") -> Object:
    return make_pod(name, volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}])


LATE = {"metadata": {"name": "late"}, "provisioner": "x", "volumeBindingMode": "WaitForFirstConsumer"}
NOW = {"metadata": {"name": "now"}, "provisioner": "x", "volumeBindingMode": "Immediate"}
CLASSES = ((STORAGE_CLASSES, LATE), (STORAGE_CLASSES, NOW))
THREE_NODES = tuple(make_node(f"n{index}") for index in (1, 2, 3))


def test_a_pod_goes_to_the_node_of_its_volume():
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod_with_claim())
        await cluster.expect_node("web", "n2")

    claim = make_claim(spec={"volumeName": "volume-1"}, phase="Bound")
    objects = ((PERSISTENT_VOLUMES, make_volume("n2")), (PERSISTENT_VOLUME_CLAIMS, claim), *CLASSES)
    with_scheduler(scenario, *objects, nodes=THREE_NODES)


def test_a_volume_on_a_node_that_is_not_there_makes_the_pod_wait():
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod_with_claim())
        await cluster.expect(lambda: cluster.condition("web")[0])
        assert "3 node(s) didn't match PersistentVolume's node affinity." in cluster.condition("web")[1]

    claim = make_claim(spec={"volumeName": "volume-1"}, phase="Bound")
    objects = ((PERSISTENT_VOLUMES, make_volume("n9")), (PERSISTENT_VOLUME_CLAIMS, claim), *CLASSES)
    with_scheduler(scenario, *objects, nodes=THREE_NODES)


def test_a_claim_that_waits_for_its_consumer_is_told_the_node_and_then_the_pod_is_bound():
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod_with_claim())
        told = "volume.kubernetes.io/selected-node"

        def claim() -> Object:
            return cluster.client.peek(PERSISTENT_VOLUME_CLAIMS, "data", "default") or {}

        await cluster.expect(lambda: told in meta.annotations(claim()))
        assert cluster.node_of("web") == ""
        node = meta.annotations(claim())[told]
        await cluster.client.patch(PERSISTENT_VOLUME_CLAIMS, "data", {"spec": {"volumeName": "v"}}, "default")
        await cluster.client.patch(
            PERSISTENT_VOLUME_CLAIMS, "data", {"status": {"phase": "Bound"}}, "default", subresource="status"
        )
        await cluster.expect_node("web", node)

    with_scheduler(scenario, (PERSISTENT_VOLUME_CLAIMS, make_claim()), *CLASSES, nodes=THREE_NODES)


def test_a_provisioner_that_gives_up_has_the_pod_scheduled_anew():
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod_with_claim())
        told = "volume.kubernetes.io/selected-node"

        def is_told() -> bool:
            claim = cluster.client.peek(PERSISTENT_VOLUME_CLAIMS, "data", "default") or {}
            return told in meta.annotations(claim)

        await cluster.expect(is_told)
        await cluster.client.patch(
            PERSISTENT_VOLUME_CLAIMS, "data", {"metadata": {"annotations": {told: None}}}, "default"
        )
        await cluster.expect(lambda: cluster.condition("web")[1] == 'provisioning failed for PVC "data"')
        await cluster.expect(is_told)

    with_scheduler(scenario, (PERSISTENT_VOLUME_CLAIMS, make_claim()), *CLASSES, nodes=THREE_NODES)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ([], 'persistentvolumeclaim "data" not found'),
        ([make_claim(storage_class="now")], "pod has unbound immediate PersistentVolumeClaims"),
        ([make_claim(storage_class="")], "pod has unbound immediate PersistentVolumeClaims"),
        (
            [make_claim(spec={"volumeName": "v"}, phase="Lost")],
            'persistentvolumeclaim "data" bound to non-existent persistentvolume "v"',
        ),
    ],
)
def test_a_claim_that_cannot_be_used_yet_makes_the_pod_wait(claims, reason):
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod_with_claim())
        await cluster.expect(lambda: cluster.condition("web")[0])
        assert cluster.condition("web")[1] == (
            f"0/3 nodes are available: {reason}. no new claims to deallocate, "
            "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        )

    with_scheduler(scenario, *((PERSISTENT_VOLUME_CLAIMS, c) for c in claims), *CLASSES, nodes=THREE_NODES)


def test_a_claim_that_is_bound_at_last_lets_the_pod_go(pod):
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod_with_claim())
        await cluster.expect(lambda: cluster.condition("web")[0])
        cluster.client.add(PERSISTENT_VOLUMES, make_volume("n3"))
        bound = make_claim(storage_class="now", spec={"volumeName": "volume-1"}, phase="Bound")
        cluster.client.add(PERSISTENT_VOLUME_CLAIMS, bound)
        await cluster.expect_node("web", "n3")

    with_scheduler(
        scenario, (PERSISTENT_VOLUME_CLAIMS, make_claim(storage_class="now")), *CLASSES, nodes=THREE_NODES
    )


def test_stopping_ends_bindings_that_wait_for_volumes():
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod_with_claim())
        await cluster.expect(lambda: any(call.verb == "patch" for call in cluster.client.calls))

    with_scheduler(scenario, (PERSISTENT_VOLUME_CLAIMS, make_claim()), *CLASSES, nodes=THREE_NODES)


def test_a_condition_that_cannot_be_written_is_logged_and_no_more(caplog):
    async def scenario(cluster: Cluster) -> None:
        cluster.client.fail_next(Forbidden("not allowed"), "patch", PODS)
        await cluster.create(PODS, make_pod("web", cpu="9"))
        await cluster.expect(lambda: "condition not written" in caplog.text)

    with_scheduler(scenario, nodes=(make_node("n1"),))
