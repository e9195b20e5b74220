"""Tell how a StatefulSet stands: how many pods there are, of which revision, and how many of them serve.

A rollout is complete, and its revision the current one, when all pods are updated and ready. Follows upstream's
pkg/controller/statefulset/stateful_set_control.go (computeReplicaStatus) and stateful_set_utils.go
(completeRollingUpdate).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.client.protocol import Object
from proa.controllers.statefulset.identity import replicas_of, revision_name
from proa.controllers.statefulset.plan import Revisions
from proa.objects import meta
from proa.objects.pods import is_ready, phase
from proa.reconcile.pod_control import is_available


def status_of(
    stateful_set: Object, pods: Sequence[Object], revisions: Revisions, collisions: int, now: float
) -> Object:
    """Return the status that these pods amount to; conditions, which nobody here sets, stay as they are."""
    current, update = meta.name(revisions.current), meta.name(revisions.update)
    minimum = int(stateful_set["spec"].get("minReadySeconds") or 0)
    ready = [pod for pod in pods if phase(pod) == "Running" and is_ready(pod)]
    made_of = [revision_name(pod) for pod in pods if not meta.is_deleting(pod)]
    counts = {
        "readyReplicas": len(ready),
        "currentReplicas": made_of.count(current),
        "updatedReplicas": made_of.count(update),
    }
    if _is_complete(stateful_set, len(pods), counts):
        current, counts["currentReplicas"] = update, counts["updatedReplicas"]
    before = stateful_set.get("status") or {}
    status: dict[str, Any] = {"observedGeneration": meta.generation(stateful_set), "replicas": len(pods)}
    status |= {field: count for field, count in counts.items() if count}
    status |= {"currentRevision": current, "updateRevision": update, "collisionCount": collisions}
    status["availableReplicas"] = sum(is_available(pod, minimum, now) for pod in ready)
    return {**status, "conditions": before["conditions"]} if before.get("conditions") else status


def _is_complete(stateful_set: Object, replicas: int, counts: dict[str, int]) -> bool:
    strategy = stateful_set["spec"].get("updateStrategy") or {}
    wanted = replicas_of(stateful_set)
    is_rolling = strategy.get("type") == "RollingUpdate"
    return is_rolling and replicas == counts["readyReplicas"] == counts["updatedReplicas"] == wanted
