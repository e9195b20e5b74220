"""Properties of every placement: the same as a scan's, never too much on a node, never against a constraint."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proa.client.fake import FakeClient
from proa.objects import meta
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import MAX_SCORE, Profile, Status
from proa.scheduler.plugins import default_plugins
from proa.scheduler.plugins.volume_binding import VolumeBinding
from proa.scheduler.ranking import Rankings, normalized
from proa.scheduler.snapshot import Snapshot, make_pod_info

from .conftest import make_node, make_pod

GPU = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
SOFT = {"key": "old", "effect": "PreferNoSchedule"}
PREFER_SSD = {
    "nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 7,
                "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]},
            }
        ]
    }
}

nodes = st.builds(
    lambda cpu, memory, pods, disk, taints, unschedulable: {
        "cpu": str(cpu),
        "memory": f"{memory}Gi",
        "pods": str(pods),
        "labels": {"disk": disk},
        "taints": taints,
        "unschedulable": unschedulable,
    },
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.sampled_from(["ssd", "hdd"]),
    st.sampled_from([[], [GPU], [SOFT], [GPU, SOFT]]), st.sampled_from([False, False, False, True]),
)  # fmt: skip
pod_kinds = st.builds(
    lambda cpu, memory, **spec: {"cpu": cpu, "memory": memory, **{k: v for k, v in spec.items() if v}},
    st.sampled_from(["", "500m", "1", "2"]), st.sampled_from(["", "256Mi", "1Gi"]),
    ports=st.sampled_from([(), (), (80,)]),
    nodeSelector=st.sampled_from([None, None, {"disk": "ssd"}]),
    affinity=st.sampled_from([None, PREFER_SSD]),
    tolerations=st.sampled_from([None, [{"operator": "Exists"}], [{"key": "gpu", "operator": "Exists"}]]),
)  # fmt: skip
steps = st.lists(
    st.one_of(
        st.tuples(st.just("place"), st.integers(0, 3)),
        st.tuples(st.just("remove"), st.integers(0, 30)),
        st.tuples(st.just("node"), st.integers(0, 7)),
        st.tuples(st.just("drop node"), st.integers(0, 7)),
    ),
    max_size=40,
)


class World:
    """A snapshot with the rankings over it, and the placements so far."""

    def __init__(self, seed: int = 1) -> None:
        client = FakeClient()
        self.profile = Profile("test", default_plugins(VolumeBinding(client, InformerFactory(client))))
        self.snapshot = Snapshot()
        self.rankings = Rankings(self.profile, self.snapshot, random.Random(seed).random)
        self.placed: dict[str, tuple[Any, str]] = {}
        self._count = 0

    def place(self, kind: dict[str, Any]) -> str | None:
        """Place a pod as the scheduler does, checking the choice against a scan; return the node's name."""
        self._count += 1
        pod = make_pod_info(make_pod(f"p{self._count}", **kind))
        facts = self.profile.run_pre_filters(pod)
        assert not isinstance(facts, Status)
        ranking = self.rankings.ranking_for(pod, facts)
        node = ranking.best()
        scores = scan(self, pod)
        if node is None:
            assert scores == {}
            assert sum(ranking.diagnose().reasons.values()) >= len(self.snapshot.nodes)
            return None
        assert scores[node.name] == max(scores.values())
        self.snapshot.add_pod(pod, node.name, assumed=True)
        self.placed[pod.uid] = (pod, node.name)
        return node.name

    def remove(self, index: int) -> None:
        if index < len(self.placed):
            uid = [*self.placed][index]
            del self.placed[uid]
            assert self.snapshot.remove_pod(uid)


def scan(world: World, pod: Any) -> dict[str, int]:
    """Return the score of every node that fits, by asking each plugin about each node."""
    facts: dict[str, Any] = {}
    profile, all_nodes = world.profile, [*world.snapshot.nodes.values()]
    usable = [n for n in all_nodes if all(p.filter(pod, n, None) is None for p in profile.fixed_filters)]
    totals = {n.name: 0 for n in usable}
    for plugin in (*profile.fixed_scores, *profile.moving_scores):
        found = normalized([plugin.score(pod, n, None) for n in usable], plugin.NORMALIZE)
        assert all(0 <= score <= MAX_SCORE for score in found)
        for n, score in zip(usable, found, strict=True):
            totals[n.name] += plugin.WEIGHT * score
    return {n.name: totals[n.name] for n in usable if profile.run_filters(pod, n, facts) is None}


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


@settings(max_examples=120, deadline=None)
@given(st.lists(nodes, min_size=1, max_size=8), st.lists(pod_kinds, min_size=4, max_size=4), steps)
def test_every_choice_is_a_scans_and_nothing_is_ever_overcommitted(node_kinds, kinds, actions):
    world = World()
    for index, kind in enumerate(node_kinds):
        world.snapshot.set_node(make_node(f"n{index}", **kind))
    for action, number in actions:
        name = f"n{number % len(node_kinds)}"
        if action == "place":
            chosen = world.place(kinds[number])
            if chosen is not None:
                check_hard_constraints(world, chosen, kinds[number])
        elif action == "remove":
            world.remove(number)
        elif action == "drop node" and not any(on == name for _, on in world.placed.values()):
            world.snapshot.remove_node(name)
        elif action == "node":
            world.snapshot.set_node(make_node(name, **node_kinds[number % len(node_kinds)]))
        check_invariants(world)


def check_hard_constraints(world: World, name: str, kind: dict[str, Any]) -> None:
    node = world.snapshot.nodes[name]
    assert meta.labels(node.node).items() >= (kind.get("nodeSelector") or {}).items()
    tolerated = {toleration.get("key", "all") for toleration in kind.get("tolerations") or ()}
    assert GPU not in node.taints or tolerated & {"gpu", "all"}
    assert not node.is_unschedulable or "all" in tolerated


@settings(max_examples=20, deadline=None)
@given(
    st.lists(nodes, min_size=2, max_size=6), st.lists(pod_kinds, min_size=1, max_size=20), st.integers(0, 99)
)
def test_the_same_seed_gives_the_same_placements(node_kinds, kinds, seed):
    runs = []
    for _ in range(2):
        world = World(seed)
        for index, kind in enumerate(node_kinds):
            world.snapshot.set_node(make_node(f"n{index}", **kind))
        runs.append([world.place(kind) for kind in kinds])
    assert runs[0] == runs[1]


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
