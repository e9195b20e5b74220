"""Say what of a change of the cluster could help a pod that waits (pkg/scheduler/eventhandlers.go)."""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects import meta, pods
from proa.scheduler.framework import Event


def node_events(old: Object | None, new: Object) -> list[Event]:
    """Return what of a node's change could help a pod."""
    if old is None:
        return [Event.NODE_ADDED]
    found = []
    if meta.labels(old) != meta.labels(new):
        found.append(Event.NODE_LABELS)
    before, after = old.get("spec") or {}, new.get("spec") or {}
    if any(before.get(field) != after.get(field) for field in ("taints", "unschedulable")):
        found.append(Event.NODE_TAINTS)
    if (old.get("status") or {}).get("allocatable") != (new.get("status") or {}).get("allocatable"):
        found.append(Event.NODE_ALLOCATABLE)
    return found


def assigned_pod_matters(old: Object, new: Object) -> bool:
    """Tell whether an assigned pod changed in what is counted of it."""
    return (
        old["spec"] != new["spec"]
        or meta.labels(old) != meta.labels(new)
        or meta.is_deleting(old) != meta.is_deleting(new)
    )


def assigned_pod_events(old: Object | None, new: Object) -> list[Event]:
    """Return what of an assigned pod's change could help another pod."""
    if old is None or not pods.node_name(old) or meta.labels(old) != meta.labels(new):
        return [Event.POD_ADDED]
    if old["spec"] == new["spec"]:
        return []
    before, after = pods.resource_requests(old), pods.resource_requests(new)
    is_less = any(after.get(resource, 0) < amount for resource, amount in before.items())
    return [Event.POD_SCALED_DOWN] if is_less else []
