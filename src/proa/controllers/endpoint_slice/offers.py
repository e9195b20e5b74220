"""Say what a pod offers to a Service: an endpoint for each address family, and the ports that it is reached by. Pure.

Follows upstream's staging/src/k8s.io/endpointslice/utils.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.pods import is_ready, node_name
from proa.reconcile.service_pods import (
    Port,
    addresses_of,
    hostname_in,
    is_serving,
    pod_reference,
    ports_of,
)

ZONE_LABEL = "topology.kubernetes.io/zone"

Identity = tuple[tuple[str, ...], str, str, str]
"""What makes two endpoints the same: addresses, host name, and the pod's namespace and name."""


class Group(NamedTuple):
    """What the endpoints of one slice have in common."""

    family: str
    ports: tuple[Port, ...]


class Offer(NamedTuple):
    """One endpoint of a pod, and where it belongs."""

    group: Group
    identity: Identity
    endpoint: Object


class Known(NamedTuple):
    """What was worked out of a pod, which holds for as long as pod and zone are the same."""

    pod: Object
    zone: str | None
    groups: tuple[Group, ...]
    offers: tuple[Offer, ...]


class Offers(NamedTuple):
    """The endpoints of each group, the pods that were left out as their node is not there, and what is known of all."""

    endpoints: dict[Group, dict[Identity, Object]]
    homeless: list[Object]
    known: dict[str, Known]


def collect(
    service: Object,
    pods: Iterable[Object],
    families: Sequence[str],
    find_node: Callable[[str], Object | None],
    known: Mapping[str, Known],
) -> Offers:
    """Return what the pods offer in these families. A group may be empty: its pods have no address of the family.

    A pod of a node that is gone is left out, unless the Service publishes all addresses. `known` is what was returned
    the last time of the same Service and families, {} if that is not known.
    """
    offers = Offers({}, [], {})
    zones: dict[str, str | None] = {}
    for pod in pods:
        name = node_name(pod)
        if name not in zones:
            zones[name] = _zone_of(find_node(name))
        zone = zones[name]
        entry = known.get(meta.uid(pod))
        if entry is None or entry.pod is not pod or entry.zone != zone:
            entry = _describe(service, pod, families, zone)
        offers.known[meta.uid(pod)] = entry
        for group in entry.groups:
            offers.endpoints.setdefault(group, {})
        if zone is None and not service["spec"].get("publishNotReadyAddresses"):
            offers.homeless.append(pod)
            continue
        for group, identity, endpoint in entry.offers:
            offers.endpoints[group][identity] = endpoint
    return offers


def _zone_of(node: Object | None) -> str | None:
    """Return a node's zone, "" where it says none, None where there is no such node."""
    return meta.labels(node).get(ZONE_LABEL, "") if node is not None else None


def _describe(service: Object, pod: Object, families: Sequence[str], zone: str | None) -> Known:
    ports = tuple(sorted(ports_of(service, pod)))
    groups = tuple(Group(family, ports) for family in families)
    offers = []
    for group in groups:
        if addresses := addresses_of(pod, group.family):
            endpoint = make_endpoint(service, pod, zone or "", addresses)
            offers.append(Offer(group, identity_of(endpoint), endpoint))
    return Known(pod, zone, groups, tuple(offers))


def make_endpoint(service: Object, pod: Object, zone: str, addresses: list[str]) -> Object:
    """Return the pod as an endpoint of the Service."""
    endpoint: dict[str, Any] = {
        "addresses": addresses,
        "conditions": {
            "ready": is_serving(service, pod),
            "serving": is_ready(pod),
            "terminating": meta.is_deleting(pod),
        },
        "targetRef": pod_reference(pod),
    }
    if node_name(pod):
        endpoint["nodeName"] = node_name(pod)
    if zone:
        endpoint["zone"] = zone
    if hostname := hostname_in(service, pod):
        endpoint["hostname"] = hostname
    return endpoint


def identity_of(endpoint: Object) -> Identity:
    """Return what tells an endpoint from others (util/endpointset.go)."""
    pod = endpoint.get("targetRef") or {}
    return (
        tuple(sorted(endpoint["addresses"])),
        endpoint.get("hostname") or "",
        pod.get("namespace") or "",
        pod.get("name") or "",
    )


def is_same(one: Object, other: Object) -> bool:
    """Tell whether two endpoints say the same, hints apart."""
    return _without_hints(one) == _without_hints(other)


def _without_hints(endpoint: Object) -> Object:
    if "hints" not in endpoint:
        return endpoint
    return {key: value for key, value in endpoint.items() if key != "hints"}


def group_of(endpoint_slice: Object) -> Group:
    """Return the group that a slice is of."""
    ports = (
        Port(p.get("name") or "", p["port"], p.get("protocol") or "TCP", p.get("appProtocol") or "")
        for p in endpoint_slice.get("ports") or ()
    )
    return Group(endpoint_slice["addressType"], tuple(sorted(ports)))
