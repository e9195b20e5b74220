"""Pods that nobody looks after any more, jobs that have had their time, what nodes may keep."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from proa.controllers import node_ttl, pod_gc, ttl_after_finished
from proa.controllers.pod_gc import PodGarbageCollector
from proa.objects import meta
from proa.objects.resource import NODES, PODS

NOW = 1_750_000_000.0
THEN = meta.format_time(NOW)


def make_node(ready: str = "True", *, taints: Any = (), **spec: Any) -> Any:
    return {
        "metadata": {"name": "proa-1"},
        "spec": {"taints": [dict(t) for t in taints], **spec},
        "status": {"conditions": [{"type": "Ready", "status": ready, "reason": "KubeletReady"}]},
    }


def taint(key: str, effect: str = "NoExecute") -> dict[str, str]:
    return {"key": key, "effect": effect, "timeAdded": THEN}


def make_pod(node: str = "", phase: str = "Running", **metadata: Any) -> Any:
    spec = {"nodeName": node} if node else {}
    return {"metadata": {"name": "p", **metadata}, "spec": spec, "status": {"phase": phase}}


ORPHAN = ("DeletionByPodGC", "PodGC: node no longer exists")
OUT = [taint("node.kubernetes.io/out-of-service")]
GOING = {"deletionTimestamp": THEN}
COLLECTED = [
    ("running", make_pod("n"), make_node(), pod_gc.Plan()),
    ("node gone", make_pod("n"), None, pod_gc.Plan(True, True, ORPHAN, is_orphan=True)),
    ("ended, node gone", make_pod("n", "Failed"), None, pod_gc.Plan(True, is_orphan=True)),
    ("waiting for a node", make_pod(phase="Pending"), None, pod_gc.Plan()),
    ("deleted before it had one", make_pod(**GOING), None, pod_gc.Plan(True, True)),
    (
        "going on a node out of service",
        make_pod("n", **GOING),
        make_node("False", taints=OUT),
        pod_gc.Plan(True, True),
    ),
    ("going on a ready node", make_pod("n", **GOING), make_node("True", taints=OUT), pod_gc.Plan()),
    ("running on a node out of service", make_pod("n"), make_node("False", taints=OUT), pod_gc.Plan()),
]


@pytest.mark.parametrize(("_name", "pod", "node", "expected"), COLLECTED, ids=[c[0] for c in COLLECTED])
def test_which_pods_are_collected(_name: str, pod: Any, node: Any, expected: pod_gc.Plan) -> None:
    assert pod_gc.plan(pod, node) == expected


def test_a_pod_of_a_node_out_of_service_ends_failed(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world([PodGarbageCollector()], settings=settings) as w:
            w.client.add(NODES, make_node("False"))
            w.client.add(PODS, make_pod("proa-1", finalizers=["example.com/keep"], **GOING))
            await w.settle()
            assert w.pods()[0]["status"]["phase"] == "Running"
            w.client.add(NODES, make_node("False", taints=OUT))
            await w.settle()
            (pod,) = w.pods()
            assert pod["status"]["phase"] == "Failed"
            await w.client.patch(PODS, "p", {"metadata": {"finalizers": None}}, "default")
            await w.settle()
            assert w.pods() == []

    asyncio.run(scenario())


def test_evicted_pods_go_before_older_ones() -> None:
    old = make_pod("n", "Succeeded", creationTimestamp="2026-01-01T00:00:00Z")
    evicted = make_pod("n", "Failed", creationTimestamp="2026-01-02T00:00:00Z")
    evicted["status"]["reason"] = "Evicted"
    assert pod_gc.plan_finished([old, evicted], 1) == [evicted]


def test_finished_pods_are_counted_now_and_then(world: Any, settings: Any) -> None:
    few = replace(settings, terminated_pod_threshold=1)

    async def scenario() -> None:
        async with world([PodGarbageCollector()], settings=few) as w:
            w.client.add(NODES, make_node())
            for name in ("a", "b"):
                w.client.add(PODS, {**make_pod("proa-1", "Failed"), "metadata": {"name": name}})
            await w.settle()
            left = len(w.pods())
            w.client.add(PODS, {**make_pod("proa-1", "Failed"), "metadata": {"name": "c"}})
            await w.settle()
            assert len(w.pods()) == left + 1
            w.advance(pod_gc.COUNT_SECONDS)
            await w.reconcile_all()
            assert len(w.pods()) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("step", "nodes", "expected"),
    [
        (0, 1, 0),
        (0, 100, 0),
        (0, 101, 1),
        (1, 95, 1),
        (1, 89, 0),
        (0, 600, 2),
        (2, 450, 2),
        (3, 2001, 4),
        (4, 10, 0),
    ],
)
def test_how_long_nodes_keep_what_they_read_follows_their_number(
    step: int, nodes: int, expected: int
) -> None:
    assert node_ttl.next_step(step, nodes) == expected


def test_every_node_is_told_for_how_long_it_may_keep_what_it_has_read(world: Any) -> None:
    async def scenario() -> None:
        async with world([node_ttl.NodeTtl()]) as w:
            for i in range(101):
                w.client.add(NODES, {"metadata": {"name": f"n{i}"}})
            await w.settle()
            assert {meta.annotations(node)[node_ttl.ANNOTATION] for node in w.client.all(NODES)} == {"15"}
            for i in range(12):
                await w.client.delete(NODES, f"n{i}")
            await w.settle()
            assert {meta.annotations(node)[node_ttl.ANNOTATION] for node in w.client.all(NODES)} == {"0"}

    asyncio.run(scenario())


def test_pods_of_a_node_that_is_gone_are_removed_after_a_while(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world([PodGarbageCollector()], settings=settings) as w:
            w.client.add(NODES, make_node())
            w.client.add(PODS, make_pod("proa-1"))
            await w.settle()
            await w.client.delete(NODES, "proa-1")
            await w.settle()
            w.advance(39)
            await w.reconcile_all()
            assert len(w.pods()) == 1
            w.advance(1)
            await w.reconcile_all()
            assert w.pods() == []

    asyncio.run(scenario())


def test_the_oldest_finished_pods_go_first() -> None:
    pods = [make_pod("n", "Succeeded", creationTimestamp=f"2026-01-0{day}T00:00:00Z") for day in (3, 1, 2)]
    surplus = pod_gc.plan_finished([*pods, make_pod("n")], 2)
    assert [pod["metadata"]["creationTimestamp"][:10] for pod in surplus] == ["2026-01-01"]


def make_job(type: str | None = "Complete", ttl: int | None = 10) -> Any:
    conditions = [{"type": type, "status": "True", "lastTransitionTime": THEN}] if type else []
    spec = {} if ttl is None else {"ttlSecondsAfterFinished": ttl}
    return {"metadata": {"name": "j"}, "spec": spec, "status": {"conditions": conditions}}


TTLS = [
    ("not finished", make_job(None), 99, ttl_after_finished.Plan()),
    ("no ttl", make_job(ttl=None), 99, ttl_after_finished.Plan()),
    ("not yet", make_job(), 4, ttl_after_finished.Plan(wait_seconds=6)),
    ("time has come", make_job("Failed"), 10, ttl_after_finished.Plan(delete=True)),
    ("at once", make_job(ttl=0), 0, ttl_after_finished.Plan(delete=True)),
]


@pytest.mark.parametrize(("_name", "job", "later", "expected"), TTLS, ids=[c[0] for c in TTLS])
def test_when_a_finished_job_goes(
    _name: str, job: Any, later: float, expected: ttl_after_finished.Plan
) -> None:
    assert ttl_after_finished.plan(job, NOW + later) == expected
