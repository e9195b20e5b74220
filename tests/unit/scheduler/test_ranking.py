"""Properties of every placement: the same as the plain rules', never too much on a node, never against a constraint."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.objects import meta
from proa.objects.resource import SERVICES
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import Code, Profile, Status
from proa.scheduler.plugins import default_plugins
from proa.scheduler.pod_info import make_pod_info
from proa.scheduler.rankings import Rankings
from proa.scheduler.snapshot import Snapshot

from .conftest import make_node, make_pod


def _load_plain() -> Any:
    """Load the plain scheduler that the benchmark compares with."""
    path = Path(__file__).parents[3] / "bench" / "plain_scheduler.py"
    spec = importlib.util.spec_from_file_location("plain_scheduler", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plain_scheduler"] = module
    spec.loader.exec_module(module)
    return module


plain = _load_plain()
GPU = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
SOFT = {"key": "old", "effect": "PreferNoSchedule"}
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
PREFER_SSD = {
    "preferredDuringSchedulingIgnoredDuringExecution": [
        {
            "weight": 7,
            "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]},
        }
    ]
}
ON_NODE = {
    "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]
    }
}
REQUIRE_SSD = {
    "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]
    }
}
NAMESPACES = {"default": {"team": "a"}, "other": {"team": "b"}}
SERVICE = {
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"selector": {"app": "web"}},
}


def draw_node(random: random.Random) -> dict[str, Any]:
    labels = {"disk": random.choice(["ssd", "ssd", "hdd"])}
    if zone := random.choice(["a", "a", "b", "c", None]):
        labels[ZONE] = zone
    if random.random() < 0.1:
        labels[HOST] = "same"
    image = {"names": ["example.com/app:1"], "sizeBytes": 400_000_000}
    return {
        "cpu": str(random.randint(1, 8)),
        "memory": f"{random.randint(1, 8)}Gi",
        "pods": str(random.choice([2, 5, 20])),
        "labels": labels,
        "images": random.choice([[], [image]]),
        "taints": random.choice([[], [], [], [GPU], [SOFT], [GPU, SOFT]]),
        "unschedulable": random.random() < 0.1,
    }


def draw_selector(random: random.Random) -> Any:
    return random.choice(
        [
            {"matchLabels": {"app": "web"}},
            {"matchLabels": {"app": "web"}},
            {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]},
            {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]},
            {},
            None,
        ]
    )


def draw_term(random: random.Random) -> dict[str, Any]:
    where = {
        "namespaces": random.choice([None, None, None, ["other"], ["default", "other"]]),
        "namespaceSelector": random.choice([None, None, None, {}, {"matchLabels": {"team": "b"}}]),
    }
    return {
        "topologyKey": random.choice([ZONE, HOST, "disk"]),
        "labelSelector": draw_selector(random),
        **{key: value for key, value in where.items() if value is not None},
    }


def draw_side(random: random.Random) -> dict[str, Any]:
    required = [draw_term(random) for _ in range(random.choice([0, 0, 1, 1, 2]))]
    preferred = [
        {"weight": random.randint(1, 100), "podAffinityTerm": draw_term(random)}
        for _ in range(random.choice([0, 1, 2]))
    ]
    return {
        "requiredDuringSchedulingIgnoredDuringExecution": required,
        "preferredDuringSchedulingIgnoredDuringExecution": preferred,
    }


def draw_affinity(random: random.Random) -> dict[str, Any]:
    parts = {
        "nodeAffinity": random.choice([None, None, PREFER_SSD, REQUIRE_SSD, ON_NODE]),
        "podAffinity": draw_side(random) if random.random() < 0.3 else None,
        "podAntiAffinity": draw_side(random) if random.random() < 0.3 else None,
    }
    return {key: part for key, part in parts.items() if part}


def draw_constraint(random: random.Random) -> dict[str, Any]:
    action = random.choice(["DoNotSchedule", "ScheduleAnyway"])
    options = {
        "minDomains": random.choice([None, None, 2, 3]) if action == "DoNotSchedule" else None,
        "nodeAffinityPolicy": random.choice([None, "Honor", "Ignore"]),
        "nodeTaintsPolicy": random.choice([None, "Honor", "Ignore"]),
        "matchLabelKeys": random.choice([None, None, ["app"]]),
    }
    return {
        "maxSkew": random.randint(1, 3),
        "topologyKey": random.choice([ZONE, HOST, "disk"]),
        "whenUnsatisfiable": action,
        "labelSelector": draw_selector(random),
        **{key: value for key, value in options.items() if value is not None},
    }


def draw_kind(random: random.Random) -> dict[str, Any]:
    spread = (
        [draw_constraint(random) for _ in range(random.choice([1, 2]))] if random.random() < 0.4 else None
    )
    spec = {
        "ports": random.choice([(), (), (), (80,)]),
        "labels": random.choice(
            [{}, {"app": "web"}, {"app": "web"}, {"app": "db"}, {"app": "web", "tier": "x"}]
        ),
        "namespace": random.choice(["default", "default", "default", "other"]),
        "nodeSelector": random.choice([None, None, None, {"disk": "ssd"}]),
        "affinity": draw_affinity(random),
        "topologySpreadConstraints": spread,
        "tolerations": random.choice(
            [None, [{"operator": "Exists"}], [{"key": "gpu", "operator": "Exists"}]]
        ),
    }
    return {
        "cpu": random.choice(["", "", "100m", "500m"]),
        "memory": random.choice(["", "", "64Mi", "256Mi"]),
        **{key: value for key, value in spec.items() if value},
    }


ACTIONS = ["place"] * 12 + ["remove", "remove", "terminate", "node", "drop node", "namespace"]


class World:
    """A snapshot with the rankings over it, and the placements so far."""

    def __init__(self, seed: int = 1) -> None:
        client = FakeClient()
        informers = InformerFactory(client)
        self.snapshot = Snapshot()
        self.profile = Profile("test", default_plugins(client, informers, self.snapshot))
        informers(SERVICES).wrote({**SERVICE, "metadata": {**SERVICE["metadata"], "resourceVersion": "1"}})
        self.rankings = Rankings(self.profile, self.snapshot, random.Random(seed).random)
        self.placed: dict[str, tuple[Any, str]] = {}
        self.namespaces = dict(NAMESPACES)
        for name, labels in NAMESPACES.items():
            self.snapshot.set_namespace(name, {"metadata": {"name": name, "labels": labels}})
        self._count = 0
        plain.READ.clear()  # uids begin anew

    def place(self, kind: dict[str, Any]) -> str | None:
        """Place a pod as the scheduler does, checking the choice against the rules; return the node's name."""
        self._count += 1
        pod = make_pod_info(make_pod(f"p{self._count}", **kind))
        facts = self.profile.run_pre_filters(pod)
        assert not isinstance(facts, Status)
        ranking = self.rankings.ranking_for(pod, facts)
        node = ranking.best()
        scores = plain.score_nodes(self.cluster(), pod.pod)
        for name in self.snapshot.nodes:
            assert ranking.fits(name) == (name in scores)
        diagnosis = ranking.diagnose()
        assert sum(diagnosis.reasons.values()) >= len(self.snapshot.nodes) - len(scores)
        assert all(ranking.status_of(name).code is Code.UNSCHEDULABLE for name in diagnosis.hopeful)
        if node is None:
            assert scores == {}
            return None
        assert scores[node.name] == max(scores.values())
        others = [node.name]
        while others:
            second, scores = ranking.best(others), plain.score_nodes(self.cluster(), pod.pod, others)
            assert (second is None) == (not scores)
            if second is None:
                break
            assert scores[second.name] == max(scores.values())
            others.append(second.name)
        self.snapshot.add_pod(pod, node.name, assumed=True)
        self.placed[pod.uid] = (pod, node.name)
        return node.name

    def cluster(self) -> Any:
        """Return the same world as the plain rules see it."""
        on_nodes = [(pod.pod, name) for pod, name in self.placed.values() if name in self.snapshot.nodes]
        all_nodes = [info.node for info in self.snapshot.nodes.values()]
        return plain.Cluster(all_nodes, on_nodes, self.namespaces, [SERVICE])

    def remove(self, index: int) -> None:
        if index < len(self.placed):
            uid = [*self.placed][index]
            del self.placed[uid]
            assert self.snapshot.remove_pod(uid)

    def terminate(self, index: int) -> None:
        """Let a pod begin to go: it is there still, but spreading looks past it."""
        if index < len(self.placed):
            uid = [*self.placed][index]
            pod, name = self.placed[uid]
            metadata = {**pod.pod["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
            going = make_pod_info({**pod.pod, "metadata": metadata})
            self.placed[uid] = (going, name)
            self.snapshot.add_pod(going, name)

    def relabel(self, index: int) -> None:
        """Give a namespace the labels of the other one."""
        name = [*self.namespaces][index]
        labels = {"team": "b" if self.namespaces[name] == {"team": "a"} else "a"}
        self.namespaces[name] = labels
        self.snapshot.set_namespace(name, {"metadata": {"name": name, "labels": labels}})


def check_invariants(world: World) -> None:
    for name, node in world.snapshot.nodes.items():
        mine = [pod for pod, on in world.placed.values() if on == name]
        assert set(node.pods) == {pod.uid for pod in mine}
        assert len(mine) <= node.allowed_pods
        for resource in ("cpu", "memory"):
            used = sum(pod.requests.get(resource, 0) for pod in mine)
            assert used == node.requested.get(resource, 0) <= node.allocatable[resource]
        ports = [port for pod in mine for port in pod.ports]
        assert len(ports) == len(set(ports))


@pytest.mark.parametrize("seed", range(40))
def test_every_choice_is_that_of_the_plain_rules_and_nothing_is_ever_overcommitted(seed):
    draw = random.Random(seed)
    world = World(seed)
    node_kinds = [draw_node(draw) for _ in range(draw.choice([1, 3, 6, 9]))]
    for index, kind in enumerate(node_kinds):
        world.snapshot.set_node(make_node(f"n{index}", **kind))
    kinds = [draw_kind(draw) for _ in range(5)]
    for _ in range(50):
        action, number = draw.choice(ACTIONS), draw.randrange(40)
        name = f"n{number % len(node_kinds)}"
        if action == "place":
            kind = kinds[number % len(kinds)]
            chosen = world.place(kind)
            if chosen is not None:
                check_hard_constraints(world, chosen, kind)
        elif action in ("remove", "terminate"):
            (world.remove if action == "remove" else world.terminate)(number % 20)
        elif action == "namespace":
            world.relabel(number % 2)
        elif action == "drop node" and not any(on == name for _, on in world.placed.values()):
            world.snapshot.remove_node(name)
        elif action == "node":
            grown = {"pods": "110", "cpu": "64", "memory": "256Gi"}  # no pod is left without what it has
            world.snapshot.set_node(make_node(name, **{**draw_node(draw), **grown}))
        check_invariants(world)


def check_hard_constraints(world: World, name: str, kind: dict[str, Any]) -> None:
    node = world.snapshot.nodes[name]
    assert meta.labels(node.node).items() >= (kind.get("nodeSelector") or {}).items()
    tolerated = {toleration.get("key", "all") for toleration in kind.get("tolerations") or ()}
    assert GPU not in node.taints or tolerated & {"gpu", "all"}
    assert not node.is_unschedulable or "all" in tolerated


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_gives_the_same_placements(seed):
    runs = []
    for _ in range(2):
        draw, world = random.Random(seed), World(seed)
        for index in range(5):
            world.snapshot.set_node(make_node(f"n{index}", **draw_node(draw)))
        runs.append([world.place(draw_kind(draw)) for _ in range(20)])
    assert runs[0] == runs[1]


def test_a_pod_that_names_its_node_is_refused_by_the_others_in_one_word():
    world = World()
    for index in range(3):
        world.snapshot.set_node(make_node(f"n{index}", cpu="1"))
    assert world.place({"affinity": {"nodeAffinity": ON_NODE}, "cpu": "1"}) == "n1"
    pod = make_pod_info(make_pod("p", affinity={"nodeAffinity": ON_NODE}, cpu="1"))
    diagnosis = world.rankings.ranking_for(pod, world.profile.run_pre_filters(pod)).diagnose()
    assert diagnosis.reasons == {"Insufficient cpu": 1, "node(s) didn't satisfy plugin(s) [NodeAffinity]": 2}
    assert diagnosis.hopeful == ("n1",)


def test_equal_nodes_take_turns():
    world = World()
    for index in range(4):
        world.snapshot.set_node(make_node(f"n{index}"))
    placed = [world.place({"cpu": "500m"}) for _ in range(8)]
    assert sorted(placed) == sorted([f"n{index}" for index in range(4)] * 2)


def test_what_was_assumed_can_be_taken_back_unless_it_is_confirmed():
    snapshot = Snapshot()
    snapshot.set_node(make_node("n"))
    pod = make_pod_info(make_pod("p", cpu="1"))
    snapshot.add_pod(pod, "n", assumed=True)
    assert snapshot.forget(pod.uid)
    assert snapshot.nodes["n"].requested["cpu"] == 0
    snapshot.add_pod(pod, "n", assumed=True)
    snapshot.add_pod(pod, "n")
    assert not snapshot.forget(pod.uid)
    assert snapshot.nodes["n"].requested["cpu"] == 1000


def test_pods_of_a_node_that_comes_later_or_again_are_counted():
    snapshot = Snapshot()
    snapshot.add_pod(make_pod_info(make_pod("p", cpu="1")), "n")
    snapshot.set_node(make_node("n"))
    assert snapshot.nodes["n"].requested["cpu"] == 1000
    snapshot.remove_node("n")
    snapshot.set_node(make_node("n"))
    assert snapshot.nodes["n"].requested["cpu"] == 1000
    assert snapshot.remove_pod("uid-p")
    assert snapshot.nodes["n"].requested["cpu"] == 0


def test_a_long_log_of_changes_is_cut_and_rankings_start_anew():
    world = World()
    world.snapshot.set_node(make_node("n"))
    other = make_pod_info(make_pod("other", cpu="4"))
    assert world.place({"cpu": "1"}) == "n"
    for _ in range(2000):
        world.snapshot.add_pod(other, "n")
        world.snapshot.remove_pod(other.uid)
    assert len(world.snapshot.changes) < 2000
    assert [world.place({"cpu": "1"}) for _ in range(4)] == ["n", "n", "n", None]
