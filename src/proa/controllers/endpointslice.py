"""Keep each Service's EndpointSlices equal to the pods that it selects.

One slice holds up to 100 endpoints of one address family with the same port numbers; a change touches as few
slices as it can. Watches services, pods, slices and nodes (for zones); writes slices. Follows upstream's
staging/src/k8s.io/endpointslice/reconciler.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import ApiError, NotFound
from proa.objects.pods import is_ready, node_name
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import ENDPOINT_SLICES, NODES, PODS, SERVICES
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch, no_keys
from proa.reconcile.service_pods import (
    HEADLESS_LABEL,
    Port,
    has_selector,
    is_headless,
    is_serving,
    keys_of_selecting_services,
    pods_behind,
    ports_of,
)

NAME = "endpoint-slice"
ACCOUNT = "endpointslice-controller"
MAX_ENDPOINTS = 100
SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
ZONE_LABEL = "topology.kubernetes.io/zone"


def _keys_of_slice(endpoint_slice: Object) -> Iterable[Key]:
    given = meta.labels(endpoint_slice)
    if given.get(MANAGED_BY_LABEL) == MANAGER and SERVICE_LABEL in given:
        yield Key(meta.namespace(endpoint_slice), given[SERVICE_LABEL])


WATCHES = (
    Watch(SERVICES),
    Watch(PODS, find_keys=keys_of_selecting_services),
    Watch(ENDPOINT_SLICES, keys_of=_keys_of_slice),
    Watch(NODES, keys_of=no_keys),
)


class Plan(NamedTuple):
    """The slices to create, to write over what is there, and to delete."""

    create: tuple[Object, ...] = ()
    update: tuple[Object, ...] = ()
    delete: tuple[Object, ...] = ()


@dataclass(slots=True)
class _Group:
    """All endpoints of one address family and set of ports, by pod uid, and the slices that hold them."""

    family: str
    ports: tuple[Port, ...]
    endpoints: dict[str, Object] = field(default_factory=dict)
    slices: list[Object] = field(default_factory=list)


def plan(
    service: Object, pods: Sequence[Object], slices: Sequence[Object], zone_of: Callable[[str], str]
) -> Plan:
    """Compare the pods behind the Service with its slices; `zone_of(node name)` is "" where unknown."""
    groups = _group_pods(service, pods, zone_of)
    strays = []
    for existing in slices:
        group = groups.get(_key_of_slice(existing))
        if group is not None:
            group.slices.append(existing)
        else:
            strays.append(existing)
    create: list[Object] = []
    update: list[Object] = []
    delete: list[Object] = []
    for group in groups.values():
        _fill(service, group, create, update, delete)
    # A slice whose ports nobody has any more is cheaper written over than deleted and made again.
    for wanted in create[: len(strays)]:
        stray = strays.pop()
        if stray["addressType"] == wanted["addressType"]:
            create.remove(wanted)
            update.append(_brought_to(stray, wanted, wanted["endpoints"]))
        else:
            delete.append(stray)
    return Plan(tuple(create), tuple(update), (*delete, *strays))


def _group_pods(
    service: Object, pods: Iterable[Object], zone_of: Callable[[str], str]
) -> dict[tuple[str, tuple[Port, ...]], _Group]:
    families = service["spec"].get("ipFamilies") or ["IPv4"]
    groups: dict[tuple[str, tuple[Port, ...]], _Group] = {}
    for pod in pods:
        ports = tuple(sorted(ports_of(service, pod)))
        if not ports and service["spec"].get("ports"):
            continue
        for family in families:
            address = _address(pod, family)
            if address:
                group = groups.setdefault((family, ports), _Group(family, ports))
                group.endpoints[meta.uid(pod)] = _endpoint(service, pod, address, zone_of)
    # A Service without endpoints still has one empty slice, so that consumers know it is looked after.
    for family in families:
        if not any(group.family == family for group in groups.values()):
            groups[family, ()] = _Group(family, ())
    return groups


def _address(pod: Object, family: str) -> str:
    status = pod["status"]
    addresses = [entry["ip"] for entry in status.get("podIPs") or [{"ip": status["podIP"]}]]
    return next((ip for ip in addresses if (":" in ip) == (family == "IPv6")), "")


def _endpoint(service: Object, pod: Object, address: str, zone_of: Callable[[str], str]) -> Object:
    endpoint: dict[str, Any] = {
        "addresses": [address],
        "conditions": {
            "ready": is_serving(service, pod),
            "serving": is_ready(pod),
            "terminating": meta.is_deleting(pod),
        },
        "targetRef": {
            "kind": "Pod",
            "namespace": meta.namespace(pod),
            "name": meta.name(pod),
            "uid": meta.uid(pod),
        },
    }
    node = node_name(pod)
    if node:
        endpoint["nodeName"] = node
        if zone := zone_of(node):
            endpoint["zone"] = zone
    hostname = pod["spec"].get("hostname")
    if hostname and pod["spec"].get("subdomain") == meta.name(service):
        endpoint["hostname"] = hostname
    return endpoint


def _key_of_slice(existing: Object) -> tuple[str, tuple[Port, ...]]:
    ports = (
        Port(p.get("name") or "", p["port"], p.get("protocol") or "TCP", p.get("appProtocol") or "")
        for p in existing.get("ports") or ()
    )
    return existing["addressType"], tuple(sorted(ports))


def _fill(
    service: Object, group: _Group, create: list[Object], update: list[Object], delete: list[Object]
) -> None:
    """Keep endpoints in the slices they are in, put new ones where there is room, then into new slices."""
    wanted = _make_slice(service, group)
    waiting = dict(group.endpoints)
    kept: list[tuple[Object, list[Object]]] = []
    for existing in group.slices:
        stay = []
        for endpoint in existing.get("endpoints") or ():
            uid = (endpoint.get("targetRef") or {}).get("uid", "")
            if uid in waiting:
                stay.append(waiting.pop(uid))
        kept.append((existing, stay))
    for _, endpoints in sorted(kept, key=lambda entry: -len(entry[1])):
        while waiting and len(endpoints) < MAX_ENDPOINTS:
            endpoints.append(waiting.pop(next(iter(waiting))))
    is_placeholder = not group.endpoints
    for index, (existing, endpoints) in enumerate(kept):
        if not endpoints and not (is_placeholder and index == 0):
            delete.append(existing)
        elif (changed := _brought_to(existing, wanted, endpoints)) != existing:
            update.append(changed)
    rest = list(waiting.values())
    for start in range(0, len(rest), MAX_ENDPOINTS):
        create.append({**wanted, "endpoints": rest[start : start + MAX_ENDPOINTS]})
    if is_placeholder and not kept:
        create.append(wanted)


def _make_slice(service: Object, group: _Group) -> Object:
    labels = {
        **{key: value for key, value in meta.labels(service).items() if key != HEADLESS_LABEL},
        SERVICE_LABEL: meta.name(service),
        MANAGED_BY_LABEL: MANAGER,
    }
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{meta.name(service)}-",
            "namespace": meta.namespace(service),
            "labels": labels,
            "ownerReferences": [meta.make_owner_reference(service, SERVICES)],
        },
        "addressType": group.family,
        "endpoints": [],
        "ports": [port.as_object(with_empty_name=True) for port in group.ports],
    }


def _brought_to(existing: Object, wanted: Object, endpoints: Sequence[Object]) -> Object:
    """Return the existing slice with these endpoints and the wanted labels and ports."""
    changed = {
        **existing,
        "metadata": {**existing["metadata"], "labels": wanted["metadata"]["labels"]},
        "endpoints": list(endpoints),
    }
    if sorted(map(_port_order, existing.get("ports") or [])) != sorted(map(_port_order, wanted["ports"])):
        changed["ports"] = wanted["ports"]
    if not endpoints and not existing.get("endpoints"):
        changed["endpoints"] = existing.get("endpoints")
        if "endpoints" not in existing:
            del changed["endpoints"]
    return changed


def _port_order(port: Mapping[str, Any]) -> tuple[Any, ...]:
    return port.get("name") or "", port["port"], port.get("protocol") or "TCP", port.get("appProtocol") or ""


async def reconcile(context: Context, key: Key) -> Result:
    """Bring the slices of one Service to its pods; those of a Service that is gone go with their owner."""
    service = context.caches(SERVICES).get(key.name, key.namespace)
    if service is None or meta.is_deleting(service) or not has_selector(service):
        return DONE
    labelled = context.caches(ENDPOINT_SLICES).by_index("label", f"{SERVICE_LABEL}={key.name}")
    slices = [
        found
        for found in labelled
        if meta.namespace(found) == key.namespace
        and meta.labels(found).get(MANAGED_BY_LABEL) == MANAGER
        and meta.is_controlled_by(found, service)
        and not meta.is_deleting(found)
    ]
    pods = pods_behind(service, context.caches(PODS))
    decided = plan(service, pods, slices, lambda node: _zone(context, node))
    try:
        await asyncio.gather(
            *(context.client.create(ENDPOINT_SLICES, made, key.namespace) for made in decided.create),
            *(context.client.update(ENDPOINT_SLICES, changed) for changed in decided.update),
            *(_delete(context, surplus) for surplus in decided.delete),
        )
    except ApiError as error:
        message = f"Error updating Endpoint Slices for Service {key.namespace}/{key.name}: {error.message}"
        context.events.event(service, "Warning", "FailedToUpdateEndpointSlices", message)
        raise
    return DONE


def _zone(context: Context, node: str) -> str:
    found = context.caches(NODES).get(node)
    return meta.labels(found).get(ZONE_LABEL, "") if found is not None else ""


async def _delete(context: Context, surplus: Object) -> None:
    try:
        await context.client.delete(
            ENDPOINT_SLICES, meta.name(surplus), meta.namespace(surplus), uid=meta.uid(surplus)
        )
    except NotFound:
        return
