"""Nodes that fall silent: what is said of them, which taints they get, how fast, and what becomes of their pods."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.controllers.node_lifecycle.controller import NodeLifecycle
from proa.controllers.node_lifecycle.health import WAKE_GRACE_SECONDS, with_unknown
from proa.controllers.node_lifecycle.taints import NOT_READY, UNREACHABLE, decide
from proa.controllers.node_lifecycle.zones import Zones, rate_of, state_of, zone_of
from proa.objects import meta
from proa.objects.pods import is_ready
from proa.objects.resource import LEASES, NODES, PODS

NOW = 1_750_000_000.0
THEN = meta.format_time(NOW - 3600)
FOREIGN = {"key": "gpu", "effect": "NoSchedule"}


def make_node(ready: str | None = "True", name: str = "proa-1", zone: str = "", **spec: Any) -> Any:
    condition = {"type": "Ready", "status": ready, "reason": "KubeletReady", "lastHeartbeatTime": THEN}
    return {
        "metadata": {
            "name": name,
            "labels": {"topology.kubernetes.io/zone": zone} if zone else {},
            "creationTimestamp": THEN,
        },
        "spec": spec,
        "status": {"conditions": [] if ready is None else [{**condition, "lastTransitionTime": THEN}]},
    }


def taint(key: str, effect: str = "NoExecute") -> dict[str, str]:
    return {"key": key, "effect": effect, "timeAdded": THEN}


def condition(type: str, status: str) -> Any:
    return {"type": type, "status": status}


def keys(taints: Any) -> list[tuple[str, str]]:
    return [(t["key"].rpartition("/")[2], t["effect"]) for t in taints or ()]


NODE_TAINTS = [
    ("ready", [], [condition("Ready", "True")], [], False),
    ("never reported", [], [], [], False),
    ("not ready", [], [condition("Ready", "False")], [("not-ready", "NoSchedule")], True),
    (
        "silent",
        [FOREIGN],
        [condition("Ready", "Unknown")],
        [("gpu", "NoSchedule"), ("unreachable", "NoSchedule")],
        True,
    ),
    ("ready again", [taint(NOT_READY), FOREIGN], [condition("Ready", "True")], [("gpu", "NoSchedule")], False),
    (
        "from not ready to silent",
        [taint(NOT_READY), taint(NOT_READY, "NoSchedule")],
        [condition("Ready", "Unknown")],
        [("unreachable", "NoExecute"), ("unreachable", "NoSchedule")],
        False,
    ),
    (
        "as it was",
        [taint(UNREACHABLE), taint(UNREACHABLE, "NoSchedule")],
        [condition("Ready", "Unknown")],
        [("unreachable", "NoExecute"), ("unreachable", "NoSchedule")],
        False,
    ),
    (
        "pressure",
        [],
        [condition("MemoryPressure", "True"), condition("DiskPressure", "True"), condition("PIDPressure", "True")],
        [("disk-pressure", "NoSchedule"), ("memory-pressure", "NoSchedule"), ("pid-pressure", "NoSchedule")],
        False,
    ),
    (
        "no network",
        [],
        [condition("NetworkUnavailable", "True"), condition("Ready", "True")],
        [("network-unavailable", "NoSchedule")],
        False,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("_name", "before", "conditions", "expected", "waits"), NODE_TAINTS, ids=[c[0] for c in NODE_TAINTS]
)
def test_taints_follow_conditions(
    _name: str, before: Any, conditions: Any, expected: Any, waits: bool
) -> None:
    decided = decide(before, conditions, unschedulable=False, may_evict=False, now=NOW)
    assert (keys(decided.taints), decided.is_waiting) == (expected, waits)
    again = decide(decided.taints, conditions, unschedulable=False, may_evict=False, now=NOW + 9)
    assert again == decided
    driven = decide(before, conditions, unschedulable=False, may_evict=True, now=NOW)
    assert not driven.is_waiting
    assert any(effect == "NoExecute" for _, effect in keys(driven.taints)) == (
        waits or any(effect == "NoExecute" for _, effect in expected)
    )


def test_a_cordoned_node_is_tainted() -> None:
    decided = decide([], [condition("Ready", "True")], unschedulable=True, may_evict=False, now=NOW)
    assert keys(decided.taints) == [("unschedulable", "NoSchedule")]


def test_what_a_silent_kubelet_reported_is_unknown_and_what_it_never_did_too() -> None:
    node = make_node()
    node["status"]["conditions"].append({"type": "NetworkUnavailable", "status": "False"})
    said = {c["type"]: c for c in with_unknown(node, NOW)}
    assert said["NetworkUnavailable"]["status"] == "False"
    assert said["Ready"] == {
        "type": "Ready",
        "status": "Unknown",
        "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.",
        "lastHeartbeatTime": THEN,
        "lastTransitionTime": meta.format_time(NOW),
    }
    assert said["PIDPressure"]["reason"] == "NodeStatusNeverUpdated"
    assert said["PIDPressure"]["lastHeartbeatTime"] == THEN
    unknown = {**node, "status": {"conditions": [*said.values()]}}
    assert with_unknown(unknown, NOW + 60) == [*said.values()]


STATES = [
    (0, 0, "normal", 0.1),
    (0, 1, "full", 0.1),
    (1, 2, "normal", 0.1),
    (2, 3, "partial", 0.0),
    (3, 3, "normal", 0.1),
    (40, 60, "partial", 0.01),
]


@pytest.mark.parametrize(("ready", "not_ready", "state", "rate"), STATES)
def test_how_fast_a_zone_may_give_up_nodes(ready: int, not_ready: int, state: Any, rate: float) -> None:
    assert state_of(ready, not_ready) == state
    assert rate_of(state, ready + not_ready) == rate


def test_one_node_of_a_zone_in_ten_seconds() -> None:
    now = [NOW]
    zones = Zones(lambda: now[0])
    nodes = [make_node("Unknown", f"a{n}", "a") for n in range(2)] + [make_node("Unknown", "b0", "b")]
    for node in (*nodes, *(make_node("True", f"ok{n}", "a") for n in range(3))):
        zones.put(node, is_ready=meta.has_condition(node, "Ready"))
    assert zones.settle() == ""
    assert [zones.may_evict(node) for node in nodes] == [True, False, True]
    now[0] += 9
    assert not zones.may_evict(nodes[1])
    now[0] += 1
    assert zones.may_evict(nodes[1])


def test_zones_are_told_by_labels_old_ones_too() -> None:
    node = make_node(zone="a")
    node["metadata"]["labels"]["failure-domain.beta.kubernetes.io/region"] = "r"
    assert zone_of(node) == ("r", "a")


class Cluster:
    """Nodes with leases, in a world with a node lifecycle controller."""

    def __init__(self, w: Any) -> None:
        self.w = w
        self._renewals = 0

    def add(self, name: str, ready: str = "True", **more: Any) -> None:
        self.w.client.add(NODES, make_node(ready, name, **more))
        self.renew(name)

    def renew(self, *names: str) -> None:
        self._renewals += 1
        for name in names:
            lease = {"metadata": {"name": name, "namespace": "kube-node-lease"}}
            self.w.client.add(LEASES, {**lease, "spec": {"renewTime": str(self._renewals)}})

    async def pass_time(self, seconds: float, *alive: str) -> None:
        """Let time pass in steps in which these nodes speak."""
        while seconds > 0:
            step = min(seconds, 5.0)
            self.w.advance(step)
            seconds -= step
            self.renew(*alive)
            await self.w.reconcile_all()

    def ready(self, name: str) -> tuple[str, str]:
        found: tuple[str, str] = self.w.conditions(NODES, name, "")["Ready"]
        return found

    def taints(self, name: str) -> list[tuple[str, str]]:
        return keys(self.w.client.peek(NODES, name)["spec"].get("taints"))


DRIVEN = [("unreachable", "NoExecute"), ("unreachable", "NoSchedule")]


def test_a_silent_node_is_unknown_and_its_pods_are_not_ready(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world([NodeLifecycle()], settings=settings) as w:
            cluster = Cluster(w)
            cluster.add("one")
            cluster.add("two")
            for name, node in (("lost", "one"), ("well", "two")):
                pod = w.client.add(PODS, {"metadata": {"name": name}, "spec": {"nodeName": node}})
                w.set_pod(pod)
            await w.settle()
            await cluster.pass_time(50, "two")
            assert cluster.ready("one") == ("True", "KubeletReady")
            await cluster.pass_time(0.1, "two")
            assert cluster.ready("one") == ("Unknown", "NodeStatusUnknown")
            await w.reconcile_all()
            assert sorted(cluster.taints("one")) == DRIVEN
            assert {meta.name(pod): is_ready(pod) for pod in w.pods()} == {"lost": False, "well": True}
            for event in (
                ("Normal", "RegisteredNode", "Node one event: Registered Node one in Controller"),
                ("Normal", "NodeNotReady", "Node one status is now: NodeNotReady"),
                ("Warning", "NodeNotReady", "Node is not ready"),
            ):
                assert event in w.events
            calls = len(w.client.calls)
            await w.reconcile_all()
            assert w.client.calls[calls:] == []
            await w.client.delete(NODES, "one")
            await w.settle()
            assert ("Normal", "RemovingNode", "Node one event: Removing Node one from Controller") in w.events

    asyncio.run(scenario())


def test_a_node_that_speaks_again_has_its_taints_taken(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world([NodeLifecycle()], settings=settings) as w:
            cluster = Cluster(w)
            cluster.add("one")
            cluster.add("two")
            await w.settle()
            await cluster.pass_time(60, "two")
            assert sorted(cluster.taints("one")) == DRIVEN
            cluster.add("one")
            await w.settle()
            assert cluster.taints("one") == []

    asyncio.run(scenario())


def test_nodes_of_one_zone_are_given_up_one_after_the_other(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world([NodeLifecycle()], settings=settings) as w:
            cluster = Cluster(w)
            names = [f"n{number}" for number in range(5)]
            for name in names:
                cluster.add(name)
            await w.settle()

            def driven() -> int:
                return sum(("unreachable", "NoExecute") in cluster.taints(name) for name in names)

            await cluster.pass_time(51, *names[2:])
            assert (driven(), cluster.ready("n0")[0], cluster.ready("n1")[0]) == (1, "Unknown", "Unknown")
            await cluster.pass_time(9, *names[2:])
            assert driven() == 1
            await cluster.pass_time(2, *names[2:])
            assert driven() == 2

    asyncio.run(scenario())


def test_when_no_node_is_ready_nothing_is_evicted(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world([NodeLifecycle()], settings=settings) as w:
            cluster = Cluster(w)
            cluster.add("one")
            cluster.add("two")
            await w.settle()
            await cluster.pass_time(60, "two")
            assert ("unreachable", "NoExecute") in cluster.taints("one")
            await cluster.pass_time(60)
            for name in ("one", "two"):
                assert cluster.ready(name)[0] == "Unknown"
                assert cluster.taints(name) == [("unreachable", "NoSchedule")]
            cluster.add("two")
            await w.settle()
            await cluster.pass_time(40, "two")
            assert cluster.taints("two") == []
            assert ("unreachable", "NoExecute") in cluster.taints("one")

    asyncio.run(scenario())


def test_a_restart_does_not_take_one_lost_node_for_the_whole_cluster(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world([], settings=settings) as before:
            client = before.client
            client.add(NODES, make_node("Unknown", "a", taints=[taint(UNREACHABLE)]))
            client.add(NODES, make_node("True", "b"))
        async with world([NodeLifecycle()], client, settings=settings) as w:
            assert sorted(Cluster(w).taints("a")) == DRIVEN
            assert [reason for _, reason, _ in w.events].count("NodeNotReady") == 0

    asyncio.run(scenario())


def test_a_machine_that_was_suspended_gives_the_kubelet_time_to_speak(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world([NodeLifecycle()], settings=settings) as w:
            w.client.add(NODES, make_node())
            await w.settle()
            w.advance(3600)
            await w.reconcile_all()
            w.advance(WAKE_GRACE_SECONDS - 1)
            await w.reconcile_all()
            assert w.conditions(NODES, "proa-1", "")["Ready"][0] == "True"
            w.advance(2)
            await w.reconcile_all()
            assert w.conditions(NODES, "proa-1", "")["Ready"][0] == "Unknown"

    asyncio.run(scenario())


def test_a_node_that_never_reported_has_a_minute_from_its_creation(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world([NodeLifecycle()], settings=settings) as w:
            node = make_node(None)
            node["metadata"]["creationTimestamp"] = meta.format_time(w.time)
            w.client.add(NODES, node)
            await w.settle()
            w.advance(59)
            await w.reconcile_all()
            assert w.conditions(NODES, "proa-1", "") == {}
            w.advance(2)
            await w.reconcile_all()
            assert w.conditions(NODES, "proa-1", "")["Ready"] == ("Unknown", "NodeStatusNeverUpdated")

    asyncio.run(scenario())


def test_old_labels_follow_the_new_ones(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world([NodeLifecycle()], settings=settings) as w:
            node = make_node()
            node["metadata"]["labels"] = {
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "arm64",
                "beta.kubernetes.io/arch": "amd64",
            }
            w.client.add(NODES, node)
            await w.settle()
            labels = w.client.peek(NODES, "proa-1")["metadata"]["labels"]
            assert labels["beta.kubernetes.io/os"] == "linux"
            assert labels["beta.kubernetes.io/arch"] == "arm64"

    asyncio.run(scenario())
