"""How many pods a second does the scheduler decide, and how much does a ranking gain over plain rules?

The baseline (plain_scheduler.py) filters and scores every node for each pod from the objects alone, as the rules are
written down; the scheduler must choose one of the nodes that it finds best. Only deciding is measured: no API server,
no bindings.
"""

from __future__ import annotations

import random
import time
from typing import Any, NamedTuple

import plain_scheduler

from proa.client.fake import FakeClient
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import Profile, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.plugins import default_plugins
from proa.scheduler.pod_info import PodInfo, make_pod_info
from proa.scheduler.rankings import Rankings
from proa.scheduler.snapshot import Snapshot

SHAPES = 8
ZONES = 9
PLAIN_SECONDS = 2.0
"""So long the baseline decides, for the last of the pods: it is slow, and slowest when there are many pods."""


class Case(NamedTuple):
    """A cluster, and pods of one sort."""

    sort: str
    nodes: int
    pods: int


CASES = (
    Case("plain", 200, 1000),
    Case("plain", 1000, 5000),
    Case("spread over zones and nodes", 1000, 5000),
    Case("affinity to zones", 1000, 5000),
    Case("anti-affinity on nodes", 1000, 5000),
    Case("a mixture", 1000, 5000),
)
QUICK = (CASES[0], Case("a mixture", 200, 1000))


class World:
    """A cluster as the scheduler sees it, and as objects."""

    def __init__(self, case: Case) -> None:
        client = FakeClient()
        self.snapshot = Snapshot()
        self.profile = Profile("bench", default_plugins(client, InformerFactory(client), self.snapshot))
        self.rankings = Rankings(self.profile, self.snapshot, random.Random(1).random)
        self.placed: list[tuple[Any, str]] = []
        for index in range(case.nodes):
            self.snapshot.set_node(make_node(index))

    def decide(self, pod: PodInfo) -> NodeInfo | None:
        """Decide as the scheduler does."""
        facts = self.profile.run_pre_filters(pod)
        return None if isinstance(facts, Status) else self.rankings.ranking_for(pod, facts).best()


def run(quick: bool) -> list[dict[str, Any]]:
    """Return one row for each case."""
    return [measure(case) for case in (QUICK if quick else CASES)]


def measure(case: Case) -> dict[str, Any]:
    """Return pods a second of CPU, and the plain rules' for the last of the pods."""
    world = World(case)
    made = [make_pod(case.sort, index) for index in range(case.pods)]
    started = time.process_time()
    for pod in made:
        info = make_pod_info(pod)
        node = world.decide(info)
        if node is None:
            raise RuntimeError("the bench's nodes are too small for its pods")
        world.snapshot.add_pod(info, node.name, assumed=True)
        world.placed.append((pod, node.name))
    fast = len(made) / (time.process_time() - started)
    plain = measure_plain(world, made)
    return {
        "name": f"scheduler: decisions, {case.nodes} nodes, {case.pods} pods of {SHAPES} shapes: {case.sort}",
        "value": round(fast),
        "unit": "pods/s of CPU",
        "baseline": "the same rules, all nodes and pods anew for each pod",
        "baseline_value": round(plain, 2),
        "ratio": round(fast / plain, 1),
    }


def measure_plain(world: World, made: list[Any]) -> float:
    """Decide for the last pods again by the plain rules, each as it was when it came; check the scheduler's choice."""
    decided, spent = 0, 0.0
    nodes = [info.node for info in world.snapshot.nodes.values()]
    while spent < PLAIN_SECONDS and decided < len(made):
        pod, chosen = world.placed.pop()
        cluster = plain_scheduler.Cluster(nodes, world.placed)
        started = time.process_time()
        scores = plain_scheduler.score_nodes(cluster, pod)
        spent += time.process_time() - started
        decided += 1
        if scores.get(chosen) != max(scores.values()):
            raise RuntimeError(f"{pod['metadata']['name']}: {chosen} is not among the best")
    return decided / spent


def make_node(index: int) -> dict[str, Any]:
    """Return a node in one of the zones; one in eight is tainted, half have fast disks."""
    labels = {
        "disk": "ssd" if index % 2 else "hdd",
        "kubernetes.io/hostname": f"node-{index}",
        "topology.kubernetes.io/zone": f"zone-{index % ZONES}",
    }
    return {
        "metadata": {"name": f"node-{index}", "labels": labels},
        "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]} if index % 8 == 0 else {},
        "status": {"allocatable": {"cpu": "16", "memory": "64Gi", "pods": "110"}},
    }


def make_pod(sort: str, index: int) -> dict[str, Any]:
    """Return a pod of one of the shapes: different requests; some select, some tolerate."""
    shape = index % SHAPES
    requests = {"cpu": f"{50 * (shape + 1)}m", "memory": f"{64 * (shape + 1)}Mi"}
    containers = [{"name": "main", "image": "example.com/app:1", "resources": {"requests": requests}}]
    spec: dict[str, Any] = {"containers": containers}
    if shape % 4 == 1:
        spec["nodeSelector"] = {"disk": "ssd"}
    if shape % 4 == 2:
        spec["tolerations"] = [{"key": "gpu", "operator": "Exists"}]
    sorts = (*ASKING, "plain")
    spec |= ASKING[sort](shape) if sort in ASKING else {}
    if sort == "a mixture":
        kind = sorts[shape % len(sorts)]
        spec |= ASKING[kind](shape) if kind in ASKING else {}
    metadata = {"name": f"pod-{index}", "namespace": "default", "uid": f"uid-{index}"}
    return {"metadata": {**metadata, "labels": {"app": f"app-{shape}"}}, "spec": spec}


def spread(shape: int) -> dict[str, Any]:
    """At most two more in a zone than in any other, and preferably alike on nodes."""
    selector = {"matchLabels": {"app": f"app-{shape}"}}
    return {
        "topologySpreadConstraints": [
            {
                "topologyKey": "topology.kubernetes.io/zone",
                "maxSkew": 2,
                "whenUnsatisfiable": "DoNotSchedule",
                "nodeTaintsPolicy": "Honor",
                "labelSelector": selector,
            },
            {
                "topologyKey": "kubernetes.io/hostname",
                "maxSkew": 1,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": selector,
            },
        ]
    }


def near(shape: int) -> dict[str, Any]:
    """In a zone with the shape before this one, preferably with its own kind."""

    def term(other: int) -> dict[str, Any]:
        selector = {"matchExpressions": [{"key": "app", "operator": "In", "values": [f"app-{other}"]}]}
        return {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": selector}

    preferred = [{"weight": 50, "podAffinityTerm": term(shape)}]
    part: dict[str, Any] = {"preferredDuringSchedulingIgnoredDuringExecution": preferred}
    if shape:
        part["requiredDuringSchedulingIgnoredDuringExecution"] = [term(shape - 1)]
    return {"affinity": {"podAffinity": part}}


def apart(shape: int) -> dict[str, Any]:
    """Never two of one kind on a node, and preferably not beside another kind."""

    def term(other: int) -> dict[str, Any]:
        return {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"app": f"app-{other}"}},
        }

    beside = [{"weight": 10, "podAffinityTerm": term((shape + 1) % SHAPES)}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [term(shape)]} if shape % 4 != 1 else {}
    return {
        "affinity": {
            "podAntiAffinity": {**required, "preferredDuringSchedulingIgnoredDuringExecution": beside}
        }
    }


ASKING = {
    "spread over zones and nodes": spread,
    "affinity to zones": near,
    "anti-affinity on nodes": apart,
}


if __name__ == "__main__":
    for row in run(quick=False):
        print(row, flush=True)
