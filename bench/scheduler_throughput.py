"""How many pods a second does the scheduler decide, and how much does a ranking gain over asking every node?

Both decide by the same plugins for the same pods on the same nodes; the baseline filters and scores all nodes for each
pod, as a plain scheduler without sampling does. Only deciding is measured: no API server, no bindings.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from proa.client.fake import FakeClient
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import Profile, Status
from proa.scheduler.plugins import default_plugins
from proa.scheduler.plugins.volume_binding import VolumeBinding
from proa.scheduler.ranking import Rankings, normalized
from proa.scheduler.snapshot import NodeInfo, PodInfo, Snapshot, make_pod_info

CASES = ((200, 1000), (1000, 5000))
SHAPES = 8
SCANNED_PODS = 60
"""The baseline decides only so many pods: it is slow, and its speed is the same throughout."""

Decide = Callable[[PodInfo], NodeInfo | None]


def run(quick: bool) -> list[dict[str, Any]]:
    """Return one row for each size of cluster."""
    return [measure(nodes, pods) for nodes, pods in (CASES[:1] if quick else CASES)]


def measure(node_count: int, pod_count: int) -> dict[str, Any]:
    """Return pods a second of CPU by rankings, and by a scan."""
    pods = [make_pod(index) for index in range(pod_count)]
    fast = pods_per_second(node_count, pods, by_rankings)
    plain = pods_per_second(node_count, pods[:SCANNED_PODS], by_scan)
    return {
        "name": f"scheduler: decisions, {node_count} nodes, {pod_count} pods of {SHAPES} shapes",
        "value": round(fast),
        "unit": "pods/s of CPU",
        "baseline": "scan of all nodes by the same plugins",
        "baseline_value": round(plain),
        "ratio": round(fast / plain, 1),
    }


def pods_per_second(
    node_count: int, pods: list[dict[str, Any]], make_decide: Callable[[Profile, Snapshot], Decide]
) -> float:
    """Place all pods, reading each from its object as the scheduler does."""
    client = FakeClient()
    profile = Profile("bench", default_plugins(VolumeBinding(client, InformerFactory(client))))
    snapshot = Snapshot()
    for index in range(node_count):
        snapshot.set_node(make_node(index))
    decide = make_decide(profile, snapshot)
    started = time.process_time()
    for pod in pods:
        info = make_pod_info(pod)
        node = decide(info)
        if node is None:
            raise RuntimeError("the bench's nodes are too small for its pods")
        snapshot.add_pod(info, node.name, assumed=True)
    return len(pods) / (time.process_time() - started)


def by_rankings(profile: Profile, snapshot: Snapshot) -> Decide:
    """Decide as the scheduler does."""
    rankings = Rankings(profile, snapshot, random.Random(1).random)

    def decide(pod: PodInfo) -> NodeInfo | None:
        facts = profile.run_pre_filters(pod)
        return None if isinstance(facts, Status) else rankings.ranking_for(pod, facts).best()

    return decide


def by_scan(profile: Profile, snapshot: Snapshot) -> Decide:
    """Decide by asking every plugin about every node."""
    choose = random.Random(1)

    def decide(pod: PodInfo) -> NodeInfo | None:
        facts = profile.run_pre_filters(pod)
        if isinstance(facts, Status):
            return None
        fitting = [node for node in snapshot.nodes.values() if profile.run_filters(pod, node, facts) is None]
        totals = [0] * len(fitting)
        for plugin in (*profile.fixed_scores, *profile.moving_scores):
            scores = [plugin.score(pod, node, facts.get(plugin.NAME)) for node in fitting]
            for index, score in enumerate(normalized(scores, plugin.NORMALIZE)):
                totals[index] += plugin.WEIGHT * score
        best = max(totals, default=0)
        return choose.choice(
            [node for node, total in zip(fitting, totals, strict=True) if total == best] or [None]
        )

    return decide


def make_node(index: int) -> dict[str, Any]:
    """Return a node; one in eight is tainted, half have fast disks."""
    return {
        "metadata": {"name": f"node-{index}", "labels": {"disk": "ssd" if index % 2 else "hdd"}},
        "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]} if index % 8 == 0 else {},
        "status": {"allocatable": {"cpu": "16", "memory": "64Gi", "pods": "110"}},
    }


def make_pod(index: int) -> dict[str, Any]:
    """Return a pod of one of the shapes: different requests; some select, some tolerate."""
    shape = index % SHAPES
    requests = {"cpu": f"{50 * (shape + 1)}m", "memory": f"{64 * (shape + 1)}Mi"}
    spec: dict[str, Any] = {"containers": [{"name": "main", "resources": {"requests": requests}}]}
    if shape % 4 == 1:
        spec["nodeSelector"] = {"disk": "ssd"}
    if shape % 4 == 2:
        spec["tolerations"] = [{"key": "gpu", "operator": "Exists"}]
    return {"metadata": {"name": f"pod-{index}", "namespace": "default", "uid": f"uid-{index}"}, "spec": spec}


if __name__ == "__main__":
    for row in run(quick=False):
        print(row)
