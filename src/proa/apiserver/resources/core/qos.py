"""Sort pods by what they ask for: Guaranteed, Burstable or BestEffort (pkg/apis/core/v1/helper/qos/qos.go)."""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects.quantity import parse_quantity

COUNTED = ("cpu", "memory")


def qos_class(pod: Object) -> str:
    """Return the pod's QoS class."""
    spec = pod.get("spec") or {}
    pod_level = spec.get("resources") or {}
    containers = [*spec.get("containers", ()), *spec.get("initContainers", ())]
    parts = [pod_level] if _amounts(pod_level, "requests") or _amounts(pod_level, "limits") else [
        c.get("resources") or {} for c in containers
    ]  # fmt: skip
    requests = [_amounts(part, "requests") for part in parts]
    limits = [_amounts(part, "limits") for part in parts]
    if not any(requests) and not any(limits):
        return "BestEffort"
    is_guaranteed = all(
        set(limit) == set(COUNTED) and all(request.get(name, limit[name]) == limit[name] for name in COUNTED)
        for request, limit in zip(requests, limits, strict=True)
    )
    return "Guaranteed" if is_guaranteed else "Burstable"


def _amounts(resources: Object, which: str) -> dict[str, object]:
    said = resources.get(which)
    if not said:
        return {}
    amounts = [(name, parse_quantity(said[name])) for name in COUNTED if name in said]
    return {name: amount for name, amount in amounts if amount > 0}
