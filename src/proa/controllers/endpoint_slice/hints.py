"""Say for whom an endpoint is meant, by the Service's trafficDistribution: its own zone, or its own node. Pure.

Follows upstream's staging/src/k8s.io/endpointslice/trafficdist/trafficdist.go (KEP-4444, KEP-3015).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proa.client.protocol import Object
from proa.controllers.endpoint_slice.packing import Changes
from proa.objects import meta

_ANNOTATIONS = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")
"""The older one counts where both are set."""
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")


def is_asked_by_annotation(service: Object) -> bool:
    """Tell whether zones are to have their share of endpoints (topology.py)."""
    annotations = meta.annotations(service)
    value = next((annotations[name] for name in _ANNOTATIONS if name in annotations), "")
    return value in ("Auto", "auto")


def set_hints(service: Object, changes: Changes) -> None:
    """Give every endpoint the hints that it is to have; slices that stay as they are change where theirs do not."""
    distribution = service["spec"].get("trafficDistribution")
    if distribution not in _DISTRIBUTIONS:
        apply_hints(changes, lambda endpoint: None)
        return
    with_node = distribution == "PreferSameNode"
    apply_hints(changes, lambda endpoint: _close_hints(endpoint, with_node=with_node))


def is_ready(endpoint: Object) -> bool:
    """Tell whether an endpoint says that it is ready."""
    return (endpoint.get("conditions") or {}).get("ready") is True


def _close_hints(endpoint: Object, *, with_node: bool) -> Object | None:
    if not is_ready(endpoint):
        return endpoint.get("hints")
    hints: dict[str, Any] = {}
    if endpoint.get("zone"):
        hints["forZones"] = [{"name": endpoint["zone"]}]
    if with_node and endpoint.get("nodeName"):
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return hints or None


def apply_hints(changes: Changes, hints_of: Callable[[Object], Object | None]) -> None:
    """Set the hints of each endpoint in the slices that change, and in those others where they are not so."""
    for changing in (*changes.create, *changes.update):
        changing["endpoints"] = [
            with_hints(endpoint, hints_of(endpoint)) for endpoint in changing["endpoints"]
        ]
    stay = []
    for found in changes.unchanged:
        endpoints = found.get("endpoints") or []
        hinted = [with_hints(endpoint, hints_of(endpoint)) for endpoint in endpoints]
        if hinted == endpoints:
            stay.append(found)
        else:
            changes.update.append({**found, "endpoints": hinted})
    changes.unchanged = stay


def with_hints(endpoint: Object, hints: Object | None) -> Object:
    """Return the endpoint with these hints, itself where it has them."""
    if endpoint.get("hints") == hints:
        return endpoint
    bare = {key: value for key, value in endpoint.items() if key != "hints"}
    return bare if hints is None else {**bare, "hints": hints}
