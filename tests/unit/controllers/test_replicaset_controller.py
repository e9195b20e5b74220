"""A ReplicaSet has exactly the pods that it asks for, even when its caches lag far behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.client.protocol import WatchEvent
from proa.controllers import replicaset
from proa.objects import meta
from proa.objects.errors import Forbidden
from proa.objects.pods import is_active
from proa.objects.resource import PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, Resource
from proa.reconcile.informer import Informer
from proa.reconcile.own_writes import OwnWritesClient
from proa.reconcile.pod_control import rank_for_deletion
from proa.reconcile.protocol import Context, Key
from proa.reconcile.reflector import Scope

NOW = 1_750_000_000.0


def make_replica_set(replicas: int = 3, **spec: Any) -> Any:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec},
    }


class DeafClient(FakeClient):
    """Tells of no change to pods, as a watch that is cut off."""

    async def watch(self, resource: Resource, *args: Any, **options: Any) -> AsyncIterator[WatchEvent]:
        if resource == PODS:
            await asyncio.Event().wait()
        async for event in super().watch(resource, *args, **options):
            yield event


def test_200_replicas_with_caches_that_never_catch_up_are_200_pods() -> None:
    async def scenario() -> None:
        client = DeafClient(now=lambda: NOW)
        client.add(REPLICA_SETS, make_replica_set(200) | {"metadata": {"name": "web", "generation": 1}})
        informers = {resource: Informer(client, Scope(resource)) for resource in (REPLICA_SETS, PODS)}
        tasks = [asyncio.create_task(informer.run()) for informer in informers.values()]
        for informer in informers.values():
            await informer.wait_synced()

        class Recorder:
            def event(self, *_: object) -> None: ...

        context = Context(
            client=OwnWritesClient(client, informers.__getitem__),
            caches=informers.__getitem__,
            events=Recorder(),
            now=lambda: NOW,
            random=lambda: 0.5,
        )
        for _ in range(5):
            await replicaset.REPLICA_SET.reconcile(context, Key("default", "web"))
        assert len(client.all(PODS)) == 200
        found = client.peek(REPLICA_SETS, "web", "default")
        await client.update(REPLICA_SETS, {**found, "spec": {**found["spec"], "replicas": 50}})
        while informers[REPLICA_SETS].get("web", "default")["spec"]["replicas"] != 50:
            await asyncio.sleep(0)
        for _ in range(5):
            await replicaset.REPLICA_SET.reconcile(context, Key("default", "web"))
        assert len(client.all(PODS)) == 50
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_a_refused_pod_is_a_condition_and_costs_few_requests(world: Any) -> None:
    async def scenario() -> None:
        async with world([replicaset.REPLICA_SET]) as w:
            w.client.fail_next(Forbidden("exceeded quota"), "create", PODS)
            w.client.add(REPLICA_SETS, make_replica_set(30))
            await w.settle()
            first, second = w.client.calls[:2]
            assert (first.verb, first.resource) == ("create", PODS)
            assert (second.verb, second.resource, second.subresource) == ("update", REPLICA_SETS, "status")
            assert ("Warning", "FailedCreate", "Error creating: exceeded quota") in w.events
            for _ in range(20):
                await w.reconcile_all()
            assert len(w.pods()) == 30
            assert w.conditions(REPLICA_SETS, "web") == {}


def test_what_could_not_be_done_is_a_condition_until_it_could() -> None:
    failing = replicaset.status_of(make_replica_set(), [], ("FailedCreate", "exceeded quota"), NOW)
    assert [(c["type"], c["reason"]) for c in failing["conditions"]] == [("ReplicaFailure", "FailedCreate")]
    again = {**make_replica_set(), "status": failing}
    assert (
        replicaset.status_of(again, [], ("FailedCreate", "other"), NOW + 9)["conditions"]
        == failing["conditions"]
    )
    assert "conditions" not in replicaset.status_of(again, [], None, NOW)


def test_orphans_that_match_are_adopted_and_strays_released(world: Any) -> None:
    """[sig-apps] ReplicaSet should adopt matching pods on creation and release no longer matching pods [Conformance]"""

    async def scenario() -> None:
        async with world([replicaset.REPLICA_SET]) as w:
            w.client.add(PODS, {"metadata": {"name": "orphan", "labels": {"app": "web"}}, "spec": {}})
            w.client.add(REPLICA_SETS, make_replica_set(2))
            await w.settle()
            assert len(w.pods()) == 2
            orphan = w.client.peek(PODS, "orphan", "default")
            assert meta.controller_of(orphan)["name"] == "web"
            await w.client.patch(PODS, "orphan", {"metadata": {"labels": {"app": "db"}}}, "default")
            await w.settle()
            assert len(w.pods()) == 3
            assert meta.controller_of(w.client.peek(PODS, "orphan", "default")) is None

    asyncio.run(scenario())


def test_ended_and_deleted_pods_are_replaced(world: Any) -> None:
    async def scenario() -> None:
        async with world([replicaset.REPLICA_SET]) as w:
            w.client.add(REPLICA_SETS, make_replica_set(2))
            await w.settle()
            first, second = w.pods()
            w.set_pod(first, phase="Failed", ready=False)
            await w.client.delete(PODS, meta.name(second), "default")
            await w.settle()
            assert sum(map(is_active, w.pods())) == 2

    asyncio.run(scenario())


def test_a_pod_is_available_only_after_min_ready_seconds(world: Any) -> None:
    async def scenario() -> None:
        async with world([replicaset.REPLICA_SET]) as w:
            w.client.add(REPLICA_SETS, make_replica_set(1, minReadySeconds=30))
            await w.settle()
            w.set_pod(w.pods()[0])
            await w.settle()
            status = w.client.peek(REPLICA_SETS, "web", "default")["status"]
            assert (status["readyReplicas"], status.get("availableReplicas")) == (1, None)
            w.advance(30)
            await w.reconcile_all()
            assert w.client.peek(REPLICA_SETS, "web", "default")["status"]["availableReplicas"] == 1

    asyncio.run(scenario())


def make_pod(name: str, *, node: str = "n", phase: str = "Running", ready_for: int | None = 100, age: int = 1000,
             restarts: int = 0, cost: str = "") -> Any:  # fmt: skip
    conditions = []
    if ready_for is not None:
        since = meta.format_time(NOW - ready_for)
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": since}]
    notes = {"controller.kubernetes.io/pod-deletion-cost": cost} if cost else {}
    created = meta.format_time(NOW - age)
    return {
        "metadata": {"name": name, "uid": name, "creationTimestamp": created, "annotations": notes},
        "spec": {"nodeName": node} if node else {},
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [{"restartCount": restarts}],
        },
    }


def with_sidecar(pod: Any, restarts: int) -> Any:
    sidecar = {"name": "side", "restartPolicy": "Always"}
    statuses = [{"name": "side", "restartCount": restarts}, {"name": "init", "restartCount": 9}]
    spec = {**pod["spec"], "initContainers": [{"name": "init"}, sidecar]}
    return {**pod, "spec": spec, "status": {**pod["status"], "initContainerStatuses": statuses}}


def test_a_replication_controller_keeps_pods_by_the_same_rules(world: Any) -> None:
    async def scenario() -> None:
        async with world([replicaset.REPLICATION_CONTROLLER]) as w:
            controller = make_replica_set(2) | {"metadata": {"name": "old", "namespace": "default"}}
            controller["spec"]["selector"] = {"app": "web"}
            for name, labels in (("orphan", {"app": "web"}), ("other", {"app": "db"})):
                w.client.add(PODS, {"metadata": {"name": name, "labels": labels}, "spec": {}})
            await w.client.create(REPLICATION_CONTROLLERS, controller, "default")
            await w.settle()
            assert len(w.pods()) == 3
            owner = meta.controller_of(w.client.peek(PODS, "orphan", "default"))
            assert (owner["kind"], owner["apiVersion"]) == ("ReplicationController", "v1")
            status = w.client.peek(REPLICATION_CONTROLLERS, "old", "default")["status"]
            assert status == {"replicas": 2, "fullyLabeledReplicas": 2, "observedGeneration": 1}
            await w.client.patch(PODS, "orphan", {"metadata": {"labels": {"app": "db"}}}, "default")
            await w.settle()
            assert meta.controller_of(w.client.peek(PODS, "orphan", "default")) is None
            assert len(w.pods()) == 4

    asyncio.run(scenario())


def test_what_a_going_namespace_refuses_is_no_failure(world: Any) -> None:
    async def scenario() -> None:
        async with world([replicaset.REPLICA_SET]) as w:
            going = Forbidden(
                "unable to create new content in namespace default because it is being terminated"
            )
            w.client.fail_next(going, "create", PODS)
            w.client.add(REPLICA_SETS, make_replica_set(1))
            await w.settle()
            assert w.conditions(REPLICA_SETS, "web") == {}
            assert "FailedCreate" not in {reason for _, reason, _ in w.events}

    asyncio.run(scenario())


RANKS = [
    ("unassigned", make_pod("x", node="", phase="Pending", ready_for=None)),
    ("pending", make_pod("x", phase="Pending", ready_for=None)),
    ("not ready", make_pod("x", ready_for=None)),
    ("cheap", make_pod("x", cost="-1")),
    ("doubled up", make_pod("x", node="crowded")),
    ("ready for a shorter time", make_pod("x", ready_for=10)),
    ("restarted", make_pod("x", restarts=3)),
    ("its sidecar restarted", with_sidecar(make_pod("x"), restarts=2)),
    ("newer", make_pod("x", age=110)),
]


@pytest.mark.parametrize(("_name", "victim"), RANKS, ids=[c[0] for c in RANKS])
def test_who_goes_first(_name: str, victim: Any) -> None:
    ranked = rank_for_deletion([make_pod("a"), victim, make_pod("z")], {"crowded": 2, "n": 1}, NOW)
    assert meta.name(ranked[0]) == "x"
