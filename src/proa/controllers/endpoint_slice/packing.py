"""Put endpoints into slices of at most 100, so that a change touches as few slices as it can. Pure.

What is in a slice stays there. What is new goes into slices that change anyhow, fullest first; what is left then goes
into the unchanged slice that it fills best, or into new ones. Follows upstream's
staging/src/k8s.io/endpointslice/reconciler.go (reconcileByPortMapping, reconcileByAddressType, finalize).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from proa.client.protocol import Object
from proa.controllers.endpoint_slice.offers import Group, Identity, group_of, identity_of, is_same
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import SERVICES
from proa.reconcile.service_pods import HEADLESS_LABEL, is_headless

MAX_ENDPOINTS = 100
SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
_RESERVED_LABELS = (SERVICE_LABEL, MANAGED_BY_LABEL, HEADLESS_LABEL)


@dataclass(slots=True)
class Changes:
    """The slices of one family: to create, to write over what is there, to delete, and those that stay as they are."""

    create: list[Object] = field(default_factory=list)
    update: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    unchanged: list[Object] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.create or self.update or self.delete)


def pack(
    service: Object,
    family: str,
    wanted: Mapping[Group, Mapping[Identity, Object]],
    existing: Sequence[Object],
) -> Changes:
    """Bring the slices of one family to the wanted endpoints; those of another Service of that name go."""
    changes = Changes()
    by_group: dict[Group, list[Object]] = {}
    for found in existing:
        if is_owned(found, service):
            by_group.setdefault(group_of(found), []).append(found)
        else:
            changes.delete.append(found)
    for group, endpoints in wanted.items():
        _pack_group(service, group, endpoints, by_group.pop(group, []), changes)
    for unwanted in by_group.values():
        changes.delete += unwanted
    if len(changes.delete) == len(existing) and not changes.create:
        _add_placeholder(service, family, changes)
    _reuse(service, changes)
    return changes


def is_owned(endpoint_slice: Object, service: Object) -> bool:
    """Tell whether the slice is this very Service's."""
    return any(owner["uid"] == meta.uid(service) for owner in meta.owner_references(endpoint_slice))


def _pack_group(
    service: Object,
    group: Group,
    endpoints: Mapping[Identity, Object],
    slices: list[Object],
    changes: Changes,
) -> None:
    waiting = dict(endpoints)
    changed: list[Object] = []
    unchanged: list[Object] = []
    for found in slices:
        kept, is_updated = _keep(found, waiting)
        labels_changed = _own_labels(found) != _own_labels(service)
        if is_updated or len(kept) != len(found.get("endpoints") or ()):
            if kept:
                changed.append(_with(found, service, kept))
            else:
                changes.delete.append(found)
        elif labels_changed:
            changed.append(_with(found, service, kept))
        else:
            unchanged.append(found)
    for filling in sorted(changed, key=lambda entry: -len(entry["endpoints"])):
        _fill(filling, waiting)
    while waiting:
        best = _find_best(unchanged, len(waiting))
        if best is None:
            made = make_slice(service, group)
            changes.create.append(made)
        else:
            unchanged.remove(best)
            made = _with(best, service, best.get("endpoints") or [])
            changed.append(made)
        _fill(made, waiting)
    changes.update += changed
    changes.unchanged += unchanged


def _keep(endpoint_slice: Object, waiting: dict[Identity, Object]) -> tuple[list[Object], bool]:
    """Take from `waiting` what the slice has; return it as it is to be, and whether it differs from what it is."""
    kept, is_updated = [], False
    for endpoint in endpoint_slice.get("endpoints") or ():
        wanted = waiting.pop(identity_of(endpoint), None)
        if wanted is None:
            continue
        if is_same(wanted, endpoint):
            kept.append(endpoint)
        else:
            kept.append(wanted)
            is_updated = True
    return kept, is_updated


def _fill(endpoint_slice: Object, waiting: dict[Identity, Object]) -> None:
    endpoints = endpoint_slice["endpoints"]
    while waiting and len(endpoints) < MAX_ENDPOINTS:
        endpoints.append(waiting.pop(next(iter(waiting))))


def _find_best(slices: Sequence[Object], count: int) -> Object | None:
    """Return the slice that so many endpoints fill best, None where they fit in none."""
    if count >= MAX_ENDPOINTS:
        return None
    room = [(MAX_ENDPOINTS - count - len(found.get("endpoints") or ()), found) for found in slices]
    fitting = [entry for entry in room if 0 <= entry[0] < MAX_ENDPOINTS]
    return min(fitting, key=lambda entry: entry[0])[1] if fitting else None


def _add_placeholder(service: Object, family: str, changes: Changes) -> None:
    """A Service without endpoints still has one empty slice, so that consumers know it is looked after."""
    placeholder = make_slice(service, Group(family, ()))
    if len(changes.delete) == 1 and _is_like(changes.delete[0], placeholder):
        changes.unchanged.append(changes.delete.pop())
    else:
        changes.create.append(placeholder)


def _is_like(found: Object, placeholder: Object) -> bool:
    return (
        not found.get("endpoints")
        and not found.get("ports")
        and meta.labels(found) == meta.labels(placeholder)
        and [owner["uid"] for owner in meta.owner_references(found)]
        == [owner["uid"] for owner in meta.owner_references(placeholder)]
    )


def _reuse(service: Object, changes: Changes) -> None:
    """Write what is to be created over what is to be deleted: one request instead of two."""
    for surplus in [found for found in changes.delete if is_owned(found, service)]:
        if not changes.create:
            return
        made = changes.create.pop()
        changes.delete.remove(surplus)
        metadata = {**surplus["metadata"], "labels": made["metadata"]["labels"]}
        changes.update.append(
            {**surplus, "metadata": metadata, "endpoints": made["endpoints"], "ports": made["ports"]}
        )


def make_slice(service: Object, group: Group) -> Object:
    """Return an empty slice of the group."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{meta.name(service)}-",
            "namespace": meta.namespace(service),
            "labels": make_labels(service),
            "ownerReferences": [meta.make_owner_reference(service, SERVICES)],
        },
        "addressType": group.family,
        "endpoints": [],
        "ports": [port.as_object(with_empty_name=True) for port in group.ports],
    }


def make_labels(service: Object) -> dict[str, str]:
    """Return the labels of the Service's slices: its own, but for those that we set."""
    labels = {**_own_labels(service), SERVICE_LABEL: meta.name(service), MANAGED_BY_LABEL: MANAGER}
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    return labels


def _own_labels(obj: Object) -> dict[str, str]:
    return {key: value for key, value in meta.labels(obj).items() if key not in _RESERVED_LABELS}


def _with(found: Object, service: Object, endpoints: Sequence[Object]) -> Object:
    """Return a copy of the slice with these endpoints, and the Service's labels."""
    metadata: dict[str, Any] = {**found["metadata"], "labels": make_labels(service)}
    return {**found, "metadata": metadata, "endpoints": list(endpoints)}
