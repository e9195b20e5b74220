"""Keep each Service's Endpoints object, the older form of EndpointSlices, equal to the pods that it selects.

`kubectl describe service` and older clients read it. Watches services, pods and endpoints; writes endpoints.
Follows upstream's pkg/controller/endpoint/endpoints_controller.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import ApiError, Forbidden, NotFound
from proa.objects.pods import is_ready, node_name, pod_ip
from proa.objects.resource import ENDPOINTS, PODS, SERVICES
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch
from proa.reconcile.service_pods import (
    HEADLESS_LABEL,
    Port,
    addresses_of,
    has_selector,
    hostname_in,
    is_headless,
    is_same_for_services,
    keys_of_selecting_services,
    pod_reference,
    pods_behind,
    ports_of,
)
from proa.reconcile.trigger_time import ANNOTATION, TriggerTimes

MAX_ADDRESSES = 1000
MANAGED_BY_LABEL = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
_RESERVED_LABELS = (HEADLESS_LABEL, MANAGED_BY_LABEL)
LARGE = 100
WRITES_APART_SECONDS = 1.0
"""Endpoints with more than LARGE addresses are written, whole, at most so often: who is in a hurry reads slices."""


class Plan(NamedTuple):
    """At most one of the two is set."""

    create: Object | None = None
    update: Object | None = None


def plan(service: Object, pods: Sequence[Object], existing: Object | None, since: str = "") -> Plan:
    """Compare the pods behind the Service, terminating ones left out, with its Endpoints object.

    `since` is when what is written has changed, "" where that is not known.
    """
    wanted = [pod for pod in pods if not meta.is_deleting(pod) or _publishes_all(service)]
    subsets = _subsets(service, wanted)
    is_truncated = _truncate(subsets)
    labels = {key: value for key, value in meta.labels(service).items() if key not in _RESERVED_LABELS}
    labels[MANAGED_BY_LABEL] = MANAGER
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    notes = {
        key: value
        for key, value in meta.annotations(existing or {}).items()
        if key not in (OVER_CAPACITY, ANNOTATION)
    }
    if is_truncated:
        notes[OVER_CAPACITY] = "truncated"
    if existing is not None and _is_same(existing, subsets, labels, notes):
        return Plan()
    if since:
        notes[ANNOTATION] = since
    if existing is not None:
        metadata = {**existing["metadata"], "labels": labels, "annotations": notes}
        return Plan(update={**existing, "metadata": metadata, "subsets": subsets})
    metadata = {"name": meta.name(service), "namespace": meta.namespace(service), "labels": labels}
    if notes:
        metadata["annotations"] = notes
    body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
    return Plan(create={**body, "subsets": subsets} if subsets else body)


def _is_same(existing: Object, subsets: list[Object], labels: dict[str, str], notes: dict[str, str]) -> bool:
    known = {key: value for key, value in meta.annotations(existing).items() if key != ANNOTATION}
    return (existing.get("subsets") or []) == subsets and meta.labels(existing) == labels and known == notes


def _publishes_all(service: Object) -> bool:
    return bool(service["spec"].get("publishNotReadyAddresses"))


def _subsets(service: Object, pods: Iterable[Object]) -> list[Object]:
    """Group the ports that the same addresses offer, ready ones and others apart."""
    addresses = {meta.uid(pod): address for pod in pods if (address := _address_of(service, pod))}
    ordered = sorted(
        (pod for pod in pods if meta.uid(pod) in addresses), key=lambda p: addresses[meta.uid(p)]
    )
    offering: dict[Port | None, dict[str, Object]] = {}
    for pod in ordered:
        ports: Sequence[Port | None] = ports_of(service, pod)
        if not service["spec"].get("ports") and is_headless(service):
            ports = (None,)
        for port in ports:
            offering.setdefault(port, {})[meta.uid(pod)] = pod
    by_pods: dict[tuple[str, ...], list[Port | None]] = {}
    for port, offered_by in offering.items():
        by_pods.setdefault(tuple(offered_by), []).append(port)
    return [_subset(service, offering[ports[0]].values(), ports, addresses) for ports in by_pods.values()]


def _address_of(service: Object, pod: Object) -> str:
    """Return the pod's address of the Service's first family, "" where it has none."""
    families = service["spec"].get("ipFamilies")
    if not families and is_headless(service):
        return pod_ip(pod)
    return next(iter(addresses_of(pod, families[0] if families else _family_of(service))), "")


def _family_of(service: Object) -> str:
    return "IPv6" if ":" in (service["spec"].get("clusterIP") or "") else "IPv4"


def _subset(
    service: Object, pods: Iterable[Object], ports: Iterable[Port | None], addresses: dict[str, str]
) -> Object:
    subset: dict[str, Any] = {}
    for pod in pods:
        place = "addresses" if _publishes_all(service) or is_ready(pod) else "notReadyAddresses"
        subset.setdefault(place, []).append(_address(service, pod, addresses[meta.uid(pod)]))
    named = sorted(port for port in ports if port is not None)
    if named:
        subset["ports"] = [port.as_object(with_empty_name=False) for port in named]
    return subset


def _address(service: Object, pod: Object, ip: str) -> Object:
    address: dict[str, Any] = {
        "ip": ip,
        "targetRef": pod_reference(pod),
    }
    if node_name(pod):
        address["nodeName"] = node_name(pod)
    if hostname := hostname_in(service, pod):
        address["hostname"] = hostname
    return address


def _truncate(subsets: list[Object]) -> bool:
    """Leave out what is too much, ready addresses last, from each subset in proportion; tell whether there was any."""
    ready, others = (
        sum(len(subset.get(place, ())) for subset in subsets) for place in ("addresses", "notReadyAddresses")
    )
    if ready + others <= MAX_ADDRESSES:
        return False
    place, total, room = ("notReadyAddresses", others, MAX_ADDRESSES - ready)
    if ready > MAX_ADDRESSES:
        place, total, room = ("addresses", ready, MAX_ADDRESSES)
        for subset in subsets:
            subset.pop("notReadyAddresses", None)
    left = room
    for subset in subsets:
        addresses = subset.get(place, [])
        kept = addresses[: min(left, math.ceil(len(addresses) / total * room))]
        left -= len(kept)
        if kept:
            subset[place] = kept
        else:
            subset.pop(place, None)
    return True


class EndpointsController:
    """A `reconcile.protocol.Controller`; it remembers when it wrote what is large."""

    NAME = "endpoint"
    WATCHES = (
        Watch(SERVICES),
        Watch(PODS, find_keys=keys_of_selecting_services, ignores=is_same_for_services),
        Watch(ENDPOINTS),
    )

    def __init__(self) -> None:
        self._times = TriggerTimes()
        self._written: dict[Key, float] = {}

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Bring the Endpoints of one Service to its pods; delete those that we made for one that is gone."""
        service = context.caches(SERVICES).get(key.name, key.namespace)
        existing = context.caches(ENDPOINTS).get(key.name, key.namespace)
        if service is None:
            self._times.forget(key)
            self._written.pop(key, None)
            if existing is not None and meta.labels(existing).get(MANAGED_BY_LABEL) == MANAGER:
                await _delete(context, existing)
            return DONE
        if not has_selector(service):
            return DONE
        wait = self._written.get(key, float("-inf")) + WRITES_APART_SECONDS - context.now()
        if wait > 0:
            return Result(requeue_after=wait)
        pods = pods_behind(service, context.caches(PODS))
        decided = plan(service, pods, existing, self._times.changed_since(key, service, pods))
        if decided != Plan():
            await _write(context, service, decided)
            if len(pods) > LARGE:
                self._written[key] = context.now()
            else:
                self._written.pop(key, None)
        return DONE


async def _write(context: Context, service: Object, decided: Plan) -> None:
    where = meta.key_of(service)
    try:
        if decided.create is not None:
            await context.client.create(ENDPOINTS, decided.create, meta.namespace(service))
        elif decided.update is not None:
            await context.client.update(ENDPOINTS, decided.update)
    except ApiError as error:
        if isinstance(error, Forbidden) and error.is_of_ending_namespace:
            return
        reason, words = "FailedToUpdateEndpoint", f"Failed to update endpoint {where}"
        if decided.create is not None:
            reason, words = "FailedToCreateEndpoint", f"Failed to create endpoint for service {where}"
        context.events.event(
            decided.create or decided.update or {}, "Warning", reason, f"{words}: {error.message}"
        )
        raise


async def _delete(context: Context, existing: Object) -> None:
    try:
        await context.client.delete(
            ENDPOINTS, meta.name(existing), meta.namespace(existing), uid=meta.uid(existing)
        )
    except NotFound:
        return
