"""Keep each Service's Endpoints object, the older form of EndpointSlices, equal to the pods that it selects.

`kubectl describe service` and older clients read it. Watches services, pods and endpoints; writes endpoints.
Follows upstream's pkg/controller/endpoint/endpoints_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.pods import node_name, pod_ip
from proa.objects.resource import ENDPOINTS, PODS, SERVICES
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch
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

NAME = "endpoint"
MAX_ADDRESSES = 1000
MANAGED_BY_LABEL = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"

WATCHES = (Watch(SERVICES), Watch(PODS, find_keys=keys_of_selecting_services), Watch(ENDPOINTS))


class Plan(NamedTuple):
    """At most one of the two is set."""

    create: Object | None = None
    update: Object | None = None


def plan(service: Object, pods: Sequence[Object], existing: Object | None) -> Plan:
    """Compare the pods behind the Service, terminating ones left out, with its Endpoints object."""
    ordered = sorted(pods, key=pod_ip)
    wanted = [pod for pod in ordered if not meta.is_deleting(pod) or _publishes_all(service)]
    subsets = _subsets(service, wanted[:MAX_ADDRESSES])
    labels = {
        **{key: value for key, value in meta.labels(service).items() if key != HEADLESS_LABEL},
        MANAGED_BY_LABEL: MANAGER,
    }
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    notes = {key: value for key, value in meta.annotations(existing or {}).items() if key != OVER_CAPACITY}
    if len(wanted) > MAX_ADDRESSES:
        notes[OVER_CAPACITY] = "truncated"
    if existing is None:
        metadata: dict[str, Any] = {
            "name": meta.name(service),
            "namespace": meta.namespace(service),
            "labels": labels,
        }
        if notes:
            metadata["annotations"] = notes
        body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
        return Plan(create={**body, "subsets": subsets} if subsets else body)
    same_notes = meta.annotations(existing) == notes
    if (existing.get("subsets") or []) == subsets and meta.labels(existing) == labels and same_notes:
        return Plan()
    metadata = {**existing["metadata"], "labels": labels, "annotations": notes}
    return Plan(update={**existing, "metadata": metadata, "subsets": subsets})


def _publishes_all(service: Object) -> bool:
    return bool(service["spec"].get("publishNotReadyAddresses"))


def _subsets(service: Object, pods: Iterable[Object]) -> list[Object]:
    """Group the ports that the same addresses offer, ready ones and others apart."""
    offering: dict[Port | None, dict[str, Object]] = {}
    for pod in pods:
        ports: Sequence[Port | None] = ports_of(service, pod)
        if not service["spec"].get("ports") and is_headless(service):
            ports = (None,)
        for port in ports:
            offering.setdefault(port, {})[meta.uid(pod)] = pod
    by_pods: dict[tuple[str, ...], list[Port | None]] = {}
    for port, offered_by in offering.items():
        by_pods.setdefault(tuple(offered_by), []).append(port)
    return [_subset(service, offering[ports[0]].values(), ports) for ports in by_pods.values()]


def _subset(service: Object, pods: Iterable[Object], ports: Iterable[Port | None]) -> Object:
    subset: dict[str, Any] = {}
    for pod in pods:
        place = "addresses" if is_serving(service, pod) else "notReadyAddresses"
        subset.setdefault(place, []).append(_address(service, pod))
    named = sorted(port for port in ports if port is not None)
    if named:
        subset["ports"] = [port.as_object(with_empty_name=False) for port in named]
    return subset


def _address(service: Object, pod: Object) -> Object:
    address: dict[str, Any] = {
        "ip": pod_ip(pod),
        "targetRef": {
            "kind": "Pod",
            "namespace": meta.namespace(pod),
            "name": meta.name(pod),
            "uid": meta.uid(pod),
        },
    }
    if node_name(pod):
        address["nodeName"] = node_name(pod)
    hostname = pod["spec"].get("hostname")
    if hostname and pod["spec"].get("subdomain") == meta.name(service):
        address["hostname"] = hostname
    return address


async def reconcile(context: Context, key: Key) -> Result:
    """Bring the Endpoints of one Service to its pods; delete those that we made for one that is gone."""
    service = context.caches(SERVICES).get(key.name, key.namespace)
    existing = context.caches(ENDPOINTS).get(key.name, key.namespace)
    if service is None:
        if existing is not None and meta.labels(existing).get(MANAGED_BY_LABEL) == MANAGER:
            await _delete(context, existing)
        return DONE
    if not has_selector(service):
        return DONE
    decided = plan(service, pods_behind(service, context.caches(PODS)), existing)
    if decided.create is not None:
        await context.client.create(ENDPOINTS, decided.create, key.namespace)
    elif decided.update is not None:
        await context.client.update(ENDPOINTS, decided.update)
    return DONE


async def _delete(context: Context, existing: Object) -> None:
    try:
        await context.client.delete(
            ENDPOINTS, meta.name(existing), meta.namespace(existing), uid=meta.uid(existing)
        )
    except NotFound:
        return
