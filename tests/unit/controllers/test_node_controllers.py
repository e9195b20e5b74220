"""Nodes that fall silent, taints and who bears them, pods that nobody looks after any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.controllers import node_lifecycle, node_ttl, pod_gc, taint_eviction, ttl_after_finished
from proa.controllers.node_lifecycle import NOT_READY, UNREACHABLE, NodeLifecycle
from proa.controllers.pod_gc import PodGarbageCollector
from proa.objects import meta
from proa.objects.pods import is_ready
from proa.objects.resource import LEASES, NODES, PODS

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


def keys(taints: Any) -> list[tuple[str, str]]:
    return [(t["key"].rpartition("/")[2], t["effect"]) for t in taints or ()]


FOREIGN = {"key": "gpu", "effect": "NoSchedule"}
TAINTS = [
    ("ready", make_node(), 0, None),
    ("not ready", make_node("False"), 0, [("not-ready", "NoExecute"), ("not-ready", "NoSchedule")]),
    ("silent", make_node(), 41, [("unreachable", "NoExecute"), ("unreachable", "NoSchedule")]),
    ("ready again", make_node(taints=[taint(NOT_READY), FOREIGN]), 0, [("gpu", "NoSchedule")]),
    (
        "from not ready to silent",
        make_node("False", taints=[taint(NOT_READY)]),
        41,
        [("unreachable", "NoExecute"), ("unreachable", "NoSchedule")],
    ),
    ("cordoned", make_node(unschedulable=True), 0, [("unschedulable", "NoSchedule")]),
]


@pytest.mark.parametrize(("_name", "node", "silent", "expected"), TAINTS, ids=[c[0] for c in TAINTS])
def test_taints_follow_conditions(_name: str, node: Any, silent: float, expected: Any) -> None:
    decided = node_lifecycle.plan(node, silent, 40, NOW)
    assert (None if decided.taints is None else keys(decided.taints)) == expected


def test_a_silent_node_is_unknown_and_its_pods_are_not_ready(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world([NodeLifecycle()], settings=settings) as w:
            w.client.add(NODES, make_node())
            lease = w.client.add(
                LEASES,
                {"metadata": {"name": "proa-1", "namespace": "kube-node-lease"}, "spec": {"renewTime": "1"}},
            )
            pod = w.client.add(PODS, {"metadata": {"name": "web"}, "spec": {"nodeName": "proa-1"}})
            w.set_pod(pod)
            await w.settle()
            w.advance(49)
            await w.reconcile_all()
            assert w.conditions(NODES, "proa-1", "")["Ready"] == ("True", "KubeletReady")
            await w.client.update(LEASES, {**lease, "spec": {"renewTime": "2"}})
            await w.settle()
            w.advance(49)
            await w.reconcile_all()
            assert w.conditions(NODES, "proa-1", "")["Ready"][0] == "True"
            w.advance(2)
            await w.reconcile_all()
            assert w.conditions(NODES, "proa-1", "")["Ready"] == ("Unknown", "NodeStatusUnknown")
            node = w.client.peek(NODES, "proa-1")
            assert {t["key"] for t in node["spec"]["taints"]} == {UNREACHABLE}
            assert not is_ready(w.pods()[0])
            calls = len(w.client.calls)
            await w.reconcile_all()
            assert w.client.calls[calls:] == []

    asyncio.run(scenario())


def test_a_machine_that_was_suspended_gives_the_kubelet_time_to_speak(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world([NodeLifecycle()], settings=settings) as w:
            w.client.add(NODES, make_node())
            await w.settle()
            w.advance(3600)
            await w.reconcile_all()
            w.advance(node_lifecycle.WAKE_GRACE_SECONDS - 1)
            await w.reconcile_all()
            assert w.conditions(NODES, "proa-1", "")["Ready"][0] == "True"
            w.advance(2)
            await w.reconcile_all()
            assert w.conditions(NODES, "proa-1", "")["Ready"][0] == "Unknown"

    asyncio.run(scenario())


def tolerating(key: str = NOT_READY, seconds: int | None = None, **more: Any) -> Any:
    limit = {} if seconds is None else {"tolerationSeconds": seconds}
    return {"key": key, "operator": "Exists", "effect": "NoExecute", **limit, **more}


TOLERATIONS = [
    ("none", [], 0.0),
    ("for ever", [tolerating()], None),
    ("everything", [{"operator": "Exists"}], None),
    ("for five minutes", [tolerating(seconds=300)], 300.0),
    ("the shorter of two", [tolerating(seconds=300), tolerating(seconds=60)], 60.0),
    ("another effect", [tolerating(effect="NoSchedule")], 0.0),
    ("another key", [tolerating("other")], 0.0),
    ("by value", [{"key": NOT_READY, "operator": "Equal", "value": ""}], None),
    ("negative", [tolerating(seconds=-5)], 0.0),
]


@pytest.mark.parametrize(("_name", "tolerations", "expected"), TOLERATIONS, ids=[c[0] for c in TOLERATIONS])
def test_how_long_a_taint_is_borne(_name: str, tolerations: Any, expected: float | None) -> None:
    assert taint_eviction.seconds_tolerated([taint(NOT_READY)], tolerations, NOW) == expected


def test_pods_are_evicted_when_their_toleration_ends(world: Any) -> None:
    async def scenario() -> None:
        async with world([taint_eviction]) as w:
            for name, tolerations in (
                ("soon", []),
                ("later", [tolerating(seconds=60)]),
                ("never", [tolerating()]),
            ):
                spec = {"nodeName": "proa-1", "tolerations": tolerations, "terminationGracePeriodSeconds": 0}
                w.client.add(PODS, {"metadata": {"name": name}, "spec": spec})
            w.client.add(NODES, make_node("False", taints=[taint(NOT_READY)]))
            await w.settle()
            assert [meta.name(pod) for pod in w.pods()] == ["later", "never"]
            w.advance(60)
            await w.reconcile_all()
            assert [meta.name(pod) for pod in w.pods()] == ["never"]
            message = "Marking for deletion Pod default/soon"
            assert ("Normal", "TaintManagerEviction", message) in w.events

    asyncio.run(scenario())


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
