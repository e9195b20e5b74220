"""Decide where each Service's traffic goes: Services and EndpointSlices in, ports with their endpoints out. Pure.

Follows pkg/proxy/serviceport.go, endpointslicecache.go and topology.go: ready endpoints, of these the ones meant for
this node or its zone where all say whom they are meant for; else those that are terminating and still serving.
Headless and ExternalName services have no data path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
DEFAULT_AFFINITY_SECONDS = 10800
PROTOCOLS = ("TCP", "UDP")
_NOBODY: frozenset[str] = frozenset()


class ServiceKey(NamedTuple):
    """A Service."""

    namespace: str
    name: str


class Endpoint(NamedTuple):
    """Where a connection may go."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service. `affinity_seconds` is 0 without session affinity, `node_port` 0 without a NodePort.

    `endpoints` serve the cluster's addresses, `node_port_endpoints` the NodePort; they differ under a traffic policy.
    """

    service: ServiceKey
    name: str
    protocol: str
    addresses: tuple[str, ...]
    port: int
    node_port: int
    affinity_seconds: int
    endpoints: tuple[Endpoint, ...]
    node_port_endpoints: tuple[Endpoint, ...]


DataPath = dict[ServiceKey, tuple[ServicePort, ...]]


def plan(services: Iterable[Object], slices: Iterable[Object], node_name: str) -> DataPath:
    """Return the data path of all services that have one, as the node `node_name` must provide it."""
    by_service: dict[ServiceKey, list[Object]] = {}
    for slice_ in slices:
        if (key := service_of(slice_)) is not None:
            by_service.setdefault(key, []).append(slice_)
    path: DataPath = {}
    for service in services:
        key = ServiceKey(meta.namespace(service), meta.name(service))
        if ports := plan_service(service, by_service.get(key, ()), node_name):
            path[key] = ports
    return path


def service_of(slice_: Object) -> ServiceKey | None:
    """Return the Service that an EndpointSlice belongs to."""
    name = meta.labels(slice_).get(SERVICE_NAME_LABEL)
    return ServiceKey(meta.namespace(slice_), name) if name else None


def plan_service(
    service: Object | None, slices: Sequence[Object], node_name: str, zone: str = ""
) -> tuple[ServicePort, ...]:
    """Return the ports of one service, none where it has no data path.

    `node_name` "" stands for every node; `zone` is the node's, "" where it has none.
    """
    if service is None:
        return ()
    spec = service.get("spec") or {}
    addresses = cluster_ips(service)
    if spec.get("type") == "ExternalName" or not addresses:
        return ()
    key = ServiceKey(meta.namespace(service), meta.name(service))
    affinity = _affinity_seconds(spec)
    is_local = spec.get("internalTrafficPolicy") == "Local"
    is_node_port_local = spec.get("externalTrafficPolicy") == "Local"
    planned = []
    for port in spec.get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        if protocol not in PROTOCOLS:
            continue
        candidates = _candidates(slices, port.get("name") or "", protocol)
        planned.append(
            ServicePort(
                service=key,
                name=port.get("name") or "",
                protocol=protocol,
                addresses=addresses,
                port=port["port"],
                node_port=port.get("nodePort") or 0,
                affinity_seconds=affinity,
                endpoints=_usable(candidates, node_name, zone, is_local=is_local),
                node_port_endpoints=_usable(candidates, node_name, zone, is_local=is_node_port_local),
            )
        )
    return tuple(planned)


def has_node_port(service: Object | None) -> bool:
    """Tell whether any of the service's ports is offered on nodes' addresses."""
    spec = (service or {}).get("spec") or {}
    return any(port.get("nodePort") for port in spec.get("ports") or ())


def cluster_ips(service: Object) -> tuple[str, ...]:
    """Return the service's IPv4 ClusterIPs, none when it is headless."""
    spec = service.get("spec") or {}
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    return tuple(address for address in addresses if address and address != "None" and ":" not in address)


def _affinity_seconds(spec: Mapping[str, Any]) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return config.get("timeoutSeconds") or DEFAULT_AFFINITY_SECONDS


class _Candidate(NamedTuple):
    endpoint: Endpoint
    node: str
    is_ready: bool
    is_last_resort: bool
    for_nodes: frozenset[str]
    for_zones: frozenset[str]


def _candidates(slices: Sequence[Object], port_name: str, protocol: str) -> list[_Candidate]:
    found = []
    for slice_ in slices:
        if slice_.get("addressType") != "IPv4":
            continue
        for port in slice_.get("ports") or ():
            matches = (port.get("name") or "") == port_name and (port.get("protocol") or "TCP") == protocol
            if not matches or not port.get("port"):
                continue
            for endpoint in slice_.get("endpoints") or ():
                conditions = endpoint.get("conditions") or {}
                is_ready = conditions.get("ready") is not False
                serving = conditions.get("serving")
                hints = endpoint.get("hints") or {}
                is_serving = is_ready if serving is None else bool(serving)
                found.append(
                    _Candidate(
                        Endpoint(endpoint["addresses"][0], port["port"]),
                        endpoint.get("nodeName") or "",
                        is_ready,
                        is_serving and bool(conditions.get("terminating")),
                        _names(hints.get("forNodes")),
                        _names(hints.get("forZones")),
                    )
                )
    return found


def _names(hints: Sequence[Object] | None) -> frozenset[str]:
    return frozenset(hint["name"] for hint in hints) if hints else _NOBODY


def _usable(
    candidates: list[_Candidate], node_name: str, zone: str, *, is_local: bool
) -> tuple[Endpoint, ...]:
    """Return where this node sends connections; with a policy of Local that is to the node's own endpoints only."""
    here = [c for c in candidates if not (is_local and node_name) or c.node == node_name]
    ready = [c for c in here if c.is_ready]
    if not is_local and node_name:
        ready = _meant_for(ready, node_name, zone)
    return tuple(sorted({c.endpoint for c in ready} or {c.endpoint for c in here if c.is_last_resort}))


def _meant_for(ready: list[_Candidate], node_name: str, zone: str) -> list[_Candidate]:
    """Return the endpoints that are meant for this node, or else its zone, where each says whom it is meant for."""
    if all(c.for_nodes for c in ready) and (mine := [c for c in ready if node_name in c.for_nodes]):
        return mine
    if all(c.for_zones for c in ready) and (mine := [c for c in ready if zone in c.for_zones]):
        return mine
    return ready
