"""More important pods take the place of less important ones: which, where, and what everyone is told."""

from __future__ import annotations

import random
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.reconcile.informer import InformerFactory
from proa.scheduler.budgets import Budget, split_by_budgets
from proa.scheduler.decision import Decider, Placement, Refusal
from proa.scheduler.failure import fit_error
from proa.scheduler.framework import Profile
from proa.scheduler.nominations import Nominations
from proa.scheduler.plugins import default_plugins
from proa.scheduler.pod_info import PodInfo, make_pod_info
from proa.scheduler.preemption import Candidate, Failure, Preemption
from proa.scheduler.snapshot import Snapshot

from .conftest import make_node, make_pod

ZONE = "topology.kubernetes.io/zone"


class World:
    """Nodes with pods, and what would be evicted for another one."""

    def __init__(self, *nodes: Object, budgets: tuple[Object, ...] = ()) -> None:
        client = FakeClient()
        self.snapshot, self.nominations = Snapshot(), Nominations()
        profile = Profile("test", default_plugins(client, InformerFactory(client), self.snapshot))
        rng = random.Random(1).random
        self.decider = Decider(profile, self.snapshot, self.nominations, rng)
        self.preemption = Preemption(
            self.decider, self.snapshot, self.nominations, lambda: budgets, lambda info: info.pod, rng
        )
        for node in nodes:
            self.snapshot.set_node(node)

    def put(self, name: str, node: str, started: str = "", **kind: Any) -> PodInfo:
        pod = make_pod(name, **kind)
        if started:
            pod["status"]["startTime"] = started
        info = make_pod_info(pod)
        self.snapshot.add_pod(info, node)
        return info

    def find(self, **kind: Any) -> tuple[str, list[str]] | str:
        """Return the node and the victims, or why there are none."""
        pod = make_pod_info(make_pod("vital", **kind))
        refusal = self.decider.decide(pod)
        assert isinstance(refusal, Refusal)
        before = self.state()
        found = self.preemption.find(pod, refusal)
        assert self.state() == before
        if isinstance(found, Failure):
            return fit_error(refusal, f"preemption: {found.message}")
        assert isinstance(found, Candidate)
        return found.node_name, [victim.name for victim in found.victims]

    def state(self) -> Any:
        return {name: (set(node.pods), dict(node.requested)) for name, node in self.snapshot.nodes.items()}


def test_the_least_important_pods_go_and_no_more_of_them_than_needed():
    world = World(make_node("n", cpu="4"))
    for index, (cpu, priority) in enumerate([("1", 1), ("1", 2), ("1", 3), ("1", 4)]):
        world.put(f"p{index}", "n", cpu=cpu, priority=priority)
    assert world.find(cpu="2", priority=10) == ("n", ["p1", "p0"])
    assert world.find(cpu="4", priority=10) == ("n", ["p3", "p2", "p1", "p0"])
    assert world.find(cpu="1", priority=2) == ("n", ["p0"])


def test_a_large_pod_may_stay_where_a_small_one_must_go():
    world = World(make_node("n", cpu="4"))
    world.put("large", "n", cpu="3", priority=1)
    world.put("small", "n", cpu="1", priority=0)
    assert world.find(cpu="1", priority=5) == ("n", ["small"])
    assert world.find(cpu="2", priority=5) == ("n", ["large"])


@pytest.mark.parametrize(
    ("pods", "node"),
    [
        ([("a", 5), ("b", 1)], "b"),
        ([("a", 5), ("b", 5), ("b", 1)], "a"),
        ([("a", 5), ("a", 5), ("b", 5)], "b"),
    ],
)
def test_the_node_is_chosen_where_the_least_harm_is_done(pods, node):
    world = World(make_node("a", cpu="2"), make_node("b", cpu="2"))
    shares = {name: sum(on == name for on, _ in pods) for name in ("a", "b")}
    for index, (on, priority) in enumerate(pods):
        world.put(f"p{index}", on, cpu=f"{2000 // shares[on]}m", priority=priority)
    found = world.find(cpu="2", priority=10)
    assert found[0] == node


def test_among_equals_those_go_that_started_last():
    world = World(make_node("a", cpu="2"), make_node("b", cpu="2"))
    world.put("old", "a", "2026-01-01T00:00:00Z", cpu="2", priority=1)
    world.put("young", "b", "2026-01-02T00:00:00Z", cpu="2", priority=1)
    assert world.find(cpu="2", priority=10) == ("b", ["young"])
    world = World(make_node("a", cpu="2"))
    world.put("young", "a", "2026-01-02T00:00:00Z", cpu="1", priority=1)
    world.put("old", "a", "2026-01-01T00:00:00Z", cpu="1", priority=1)
    assert world.find(cpu="1", priority=10) == ("a", ["young"])


def make_budget(app: str, allowed: int, namespace: str = "default", **status: Any) -> Object:
    return {
        "metadata": {"name": app, "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": app}}},
        "status": {"disruptionsAllowed": allowed, **status},
    }


def test_budgets_are_kept_where_that_is_possible():
    guarded, free = {"labels": {"app": "guarded"}, "cpu": "1"}, {"labels": {"app": "free"}, "cpu": "1"}
    world = World(make_node("n", cpu="2"), budgets=(make_budget("guarded", 0),))
    world.put("guarded", "n", priority=0, **guarded)
    world.put("free", "n", priority=5, **free)
    assert world.find(cpu="1", priority=10) == ("n", ["free"])
    assert world.find(cpu="2", priority=10) == ("n", ["free", "guarded"])
    world = World(make_node("a", cpu="1"), make_node("b", cpu="1"), budgets=(make_budget("guarded", 0),))
    world.put("guarded", "a", priority=0, **guarded)
    world.put("free", "b", priority=5, **free)
    assert world.find(cpu="1", priority=10) == ("b", ["free"])


@pytest.mark.parametrize(
    ("budget", "breaking"),
    [
        (make_budget("x", 2), []),
        (make_budget("x", 1), ["b"]),
        (make_budget("x", 0), ["a", "b"]),
        (make_budget("x", 0, disruptedPods={"a": "2026-01-01T00:00:00Z"}), ["b"]),
        (make_budget("x", 0, namespace="other"), []),
        ({**make_budget("x", 0), "spec": {"selector": {}}}, []),
        ({**make_budget("x", 0), "spec": {}}, []),
    ],
)
def test_a_budget_is_spent_pod_by_pod(budget, breaking):
    pods = [make_pod_info(make_pod(name, labels={"app": "x"})) for name in ("a", "b")]
    assert [pod.name for pod in split_by_budgets(pods, [Budget(budget)])[0]] == breaking


def test_nothing_is_evicted_where_that_does_not_help_and_it_is_said():
    taint = [{"key": "a", "effect": "NoSchedule"}]
    world = World(make_node("n1", cpu="2"), make_node("n2", cpu="2"), make_node("n3", cpu="4", taints=taint))
    world.put("equal", "n1", cpu="2", priority=10)
    world.put("part", "n2", cpu="1", priority=10)
    world.put("other", "n2", cpu="1", priority=1)
    assert world.find(cpu="2", priority=10) == (
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. preemption: 0/3 nodes are "
        "available: 1 Insufficient cpu, 1 No preemption victims found for incoming pod, 1 Preemption is not helpful "
        "for scheduling."
    )
    assert str(world.find(cpu="2", priority=10, preemptionPolicy="Never")).endswith(
        "2 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    )


def test_a_pod_whose_victims_are_going_waits_for_them():
    world = World(make_node("n", cpu="2"))
    going = make_pod("going", cpu="2", priority=1)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    going["status"]["conditions"] = [condition]
    world.snapshot.add_pod(make_pod_info(going), "n")
    world.nominations.nominate(make_pod_info(make_pod("vital", cpu="2", priority=10)), "n")
    assert str(world.find(cpu="2", priority=10)).endswith(
        "preemption: not eligible due to a terminating pod on the nominated node."
    )


def test_others_leave_room_for_a_pod_that_a_node_is_kept_for_unless_they_are_more_important():
    world = World(make_node("a", cpu="2"), make_node("b", cpu="1"))
    kept = make_pod_info(make_pod("kept", cpu="2", priority=5))
    world.nominations.nominate(kept, "a")

    def decide(name: str, **kind: Any) -> str:
        decision = world.decider.decide(make_pod_info(make_pod(name, **kind)))
        return decision.node.name if isinstance(decision, Placement) else fit_error(decision)

    assert decide("low", cpu="2", priority=4) == "0/2 nodes are available: 2 Insufficient cpu."
    assert decide("low", cpu="1", priority=4) == "b"
    assert decide("high", cpu="2", priority=6) == "a"
    assert decide("kept", cpu="2", priority=5) == "a"


def test_pods_that_nobody_can_stand_are_evicted_too():
    def apart() -> Any:
        term = {"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": "noisy"}}}
        return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}

    world = World(make_node("a1", labels={ZONE: "a"}), make_node("a2", labels={ZONE: "a"}))
    world.put("noisy", "a1", labels={"app": "noisy"}, priority=1)
    assert world.find(affinity=apart(), priority=10) == ("a1", ["noisy"])


def test_what_is_remembered_of_nodes_is_as_they_are():
    rng = random.Random(3)
    budgets = (make_budget("a", 1), make_budget("b", 0))
    for _ in range(10):
        world = World(*(make_node(f"n{i}", cpu="8", pods="50") for i in range(6)), budgets=budgets)
        for index in range(60):
            kind = {"cpu": "500m", "priority": rng.randint(0, 4), "labels": {"app": rng.choice("abc")}}
            world.put(f"p{index}", f"n{index % 6}", **kind)
        for index in range(30):
            pod = make_pod_info(make_pod(f"v{index}", cpu="4", priority=rng.choice([3, 6])))
            decision = world.decider.decide(pod)
            if isinstance(decision, Placement):
                world.snapshot.add_pod(pod, decision.node.name)
                continue
            fresh = World(budgets=budgets)
            fresh.preemption._decider, fresh.preemption._snapshot = world.decider, world.snapshot
            fresh.preemption._nominations = world.nominations
            found, expected = (each.preemption.find(pod, decision) for each in (world, fresh))
            assert type(found) is type(expected)
            if isinstance(found, Candidate) and isinstance(expected, Candidate):
                assert harm(found) == harm(expected)
                for victim in found.victims if rng.random() < 0.7 else ():
                    world.snapshot.remove_pod(victim.uid)
                if rng.random() < 0.5:
                    world.nominations.nominate(pod, found.node_name)


def harm(candidate: Candidate) -> Any:
    return candidate.broken_budgets, sorted(victim.priority for victim in candidate.victims)


def test_random_preemptions_make_just_enough_room():
    rng = random.Random(7)
    for _ in range(60):
        sizes = [rng.randint(2, 8) for _ in range(4)]
        world = World(*(make_node(f"n{i}", cpu=str(size), pods="50") for i, size in enumerate(sizes)))
        count = 0
        for node, size in enumerate(sizes):
            left = size * 1000
            while left >= 250:
                cpu = min(left, rng.choice([250, 500, 1000, 1500]))
                world.put(f"p{count}", f"n{node}", cpu=f"{cpu}m", priority=rng.randint(0, 5))
                count, left = count + 1, left - cpu
        priority, cpu = rng.randint(1, 6), rng.randint(1, 8) * 500
        found = world.find(cpu=f"{cpu}m", priority=priority)
        if isinstance(found, str):
            for node in world.snapshot.nodes.values():
                gain = sum(p.requests["cpu"] for p in node.pods.values() if p.priority < priority)
                assert gain < cpu or node.allocatable["cpu"] < cpu
            continue
        node = world.snapshot.nodes[found[0]]
        victims = {p.name: p for p in node.pods.values() if p.name in found[1]}
        assert all(p.priority < priority for p in victims.values())
        freed = sum(p.requests["cpu"] for p in victims.values())
        spare = node.allocatable["cpu"] - node.requested["cpu"] + freed - cpu
        assert spare >= 0
        assert all(p.requests["cpu"] > spare for p in victims.values())
