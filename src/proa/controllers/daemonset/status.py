"""Tell how a DaemonSet stands, node by node. Follows updateDaemonSetStatus of upstream's daemon_controller.go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proa.client.protocol import Object
from proa.controllers.daemonset import nodes as placement
from proa.controllers.daemonset.plan import PodsByNode, is_pod_available, is_updated
from proa.objects import meta
from proa.objects.pods import is_ready


def status_of(
    daemon_set: Object, nodes: Iterable[Object], pods: PodsByNode, digest: str, collisions: int, now: float
) -> Object:
    """Return the status that these pods amount to: of each node the oldest pod counts."""
    wanted, unwanted = 0, 0
    first: list[Object] = []
    for node in nodes:
        here = pods.get(meta.name(node), ())
        if placement.should_run(daemon_set, node):
            wanted += 1
            first += here[:1]
        elif here:
            unwanted += 1
    ready = [pod for pod in first if is_ready(pod)]
    available = sum(is_pod_available(daemon_set, pod, now) for pod in ready)
    optional = {
        "observedGeneration": meta.generation(daemon_set),
        "updatedNumberScheduled": sum(is_updated(pod, digest) for pod in first),
        "numberAvailable": available,
        "numberUnavailable": wanted - available,
        "collisionCount": collisions,
    }
    before = daemon_set.get("status") or {}
    status: dict[str, Any] = {
        "currentNumberScheduled": len(first),
        "numberMisscheduled": unwanted,
        "desiredNumberScheduled": wanted,
        "numberReady": len(ready),
    }
    status |= {field: count for field, count in optional.items() if count}
    return {**status, "conditions": before["conditions"]} if before.get("conditions") else status
