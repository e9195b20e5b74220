"""Nodes that fall silent, taints and who bears them, pods that nobody looks after any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.controllers import node_lifecycle, pod_gc, taint_eviction, ttl_after_finished
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
COLLECTED = [
    ("running", make_pod("n"), True, pod_gc.Plan()),
    ("node gone", make_pod("n"), False, pod_gc.Plan(True, ORPHAN, is_orphan=True)),
    ("ended, node gone", make_pod("n", "Failed"), False, pod_gc.Plan(True, None, is_orphan=True)),
    ("waiting for a node", make_pod(phase="Pending"), False, pod_gc.Plan()),
    ("deleted before it had one", make_pod(deletionTimestamp=THEN), False, pod_gc.Plan(True)),
]


@pytest.mark.parametrize(("_name", "pod", "there", "expected"), COLLECTED, ids=[c[0] for c in COLLECTED])
def test_which_pods_are_collected(_name: str, pod: Any, there: bool, expected: pod_gc.Plan) -> None:
    assert pod_gc.plan(pod, there) == expected


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
