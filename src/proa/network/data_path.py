"""Decide where each Service's traffic goes: Services and EndpointSlices in, ports with their endpoints out. Pure.

Follows pkg/proxy/serviceport.go, endpointslicecache.go and topology.go: ready endpoints, of these the ones meant for
this node or its zone where all say whom they are meant for; else those that are terminating and still serving.
Headless and ExternalName services have no data path, nor those that another proxy is asked to serve (the label
service.kubernetes.io/service-proxy-name). A service of both address families has each port twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
DEFAULT_AFFINITY_SECONDS = 10800
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
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
    """One port of a Service in one family. `affinity_seconds` is 0 without affinity, `node_port` 0 without a NodePort.

    `endpoints` serve the ClusterIPs, `node_port_endpoints` what comes from outside of the cluster: to the NodePort,
    `external_addresses` (externalIPs), `balancer_addresses` (a load balancer's that nodes are to take as their own) and
    `host_addresses` (which the node has anyway: hostPorts of pods). They differ under a traffic policy. With
    `is_external_local`, who asks these from inside of the cluster gets `cluster_endpoints`, whatever the policies.
    `source_ranges` may use the balancer's addresses; none is all. At `health_check_port` (0: none) the node says how
    many pods it has that are ready, `local_ready`.
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
    family: str = "IPv4"
    external_addresses: tuple[str, ...] = ()
    balancer_addresses: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    is_external_local: bool = False
    cluster_endpoints: tuple[Endpoint, ...] = ()
    health_check_port: int = 0
    local_ready: int = 0
    host_addresses: tuple[str, ...] = ()


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
    if service is None or PROXY_NAME_LABEL in meta.labels(service):
        return ()
    spec = service.get("spec") or {}
    addresses = cluster_ips(service)
    if spec.get("type") == "ExternalName":
        return ()
    planned = []
    for port in spec.get("ports") or ():
        for family in dict.fromkeys(family_of(address) for address in addresses):
            if (port.get("protocol") or "TCP") in PROTOCOLS:
                planned.append(_plan_port(service, port, family, slices, node_name, zone))
    return tuple(planned)


def _plan_port(
    service: Object, port: Object, family: str, slices: Sequence[Object], node_name: str, zone: str
) -> ServicePort:
    spec, protocol = service["spec"], port.get("protocol") or "TCP"
    candidates = _candidates(slices, family, port.get("name") or "", protocol)
    is_local = spec.get("internalTrafficPolicy") == "Local"
    is_external_local = spec.get("externalTrafficPolicy") == "Local"
    everywhere = _usable(candidates, node_name, zone, is_local=False)
    here = _usable(candidates, node_name, zone, is_local=True) if is_local or is_external_local else ()
    return ServicePort(
        service=ServiceKey(meta.namespace(service), meta.name(service)),
        name=port.get("name") or "",
        protocol=protocol,
        addresses=_of_family(family, cluster_ips(service)),
        port=port["port"],
        node_port=port.get("nodePort") or 0,
        affinity_seconds=_affinity_seconds(spec),
        endpoints=here if is_local else everywhere,
        node_port_endpoints=here if is_external_local else everywhere,
        family=family,
        external_addresses=_of_family(family, spec.get("externalIPs") or ()),
        balancer_addresses=_of_family(family, _balancer_addresses(service)),
        source_ranges=_of_family(family, source_ranges(service)),
        is_external_local=is_external_local,
        cluster_endpoints=everywhere,
        health_check_port=spec.get("healthCheckNodePort") or 0,
        local_ready=len({c.endpoint.address for c in candidates if c.is_ready and c.node == node_name}),
    )


def family_of(address: str) -> str:
    """Return the family of an address or network."""
    return "IPv6" if ":" in address else "IPv4"


def host_cidr(address: str) -> str:
    """Return the network that is this address alone."""
    return f"{address}/128" if ":" in address else f"{address}/32"


def _of_family(family: str, addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(address for address in addresses if family_of(address) == family)


def _balancer_addresses(service: Object) -> Iterator[str]:
    """Yield the addresses at which a load balancer's traffic arrives unchanged (KEP-1860)."""
    if service["spec"].get("type") != "LoadBalancer":
        return
    for entry in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        if entry.get("ip") and entry.get("ipMode") != "Proxy":
            yield entry["ip"]


def source_ranges(service: Object) -> list[str]:
    """Return the networks from which a load balancer may be used, none for all (pkg/apis/core/v1/service)."""
    if ranges := (service.get("spec") or {}).get("loadBalancerSourceRanges"):
        return [text.strip() for text in ranges]
    said = meta.annotations(service).get(SOURCE_RANGES, "").strip()
    return [text.strip() for text in said.split(",")] if said else []


def is_offered_on_host(service: Object | None) -> bool:
    """Tell whether the service is reached from outside of the cluster: by a NodePort or a load balancer."""
    spec = (service or {}).get("spec") or {}
    return spec.get("type") == "LoadBalancer" or any(port.get("nodePort") for port in spec.get("ports") or ())


def cluster_ips(service: Object) -> tuple[str, ...]:
    """Return the service's ClusterIPs, none when it is headless."""
    spec = service.get("spec") or {}
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    return tuple(address for address in addresses if address and address != "None")


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


def _candidates(slices: Sequence[Object], family: str, port_name: str, protocol: str) -> list[_Candidate]:
    found = []
    for slice_ in slices:
        if slice_.get("addressType") != family:
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
