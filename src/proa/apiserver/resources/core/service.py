"""A Service has one address and each of its ports one NodePort, if its type says so, for as long as it lives.

Follows pkg/apis/core/v1/defaults.go, pkg/registry/core/service/storage (alloc.go, storage.go) and printers.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.claims import Holding
from proa.apiserver.registry.definition import Allocators, Column, ResourceDefinition, Subresource
from proa.apiserver.resources.core.service_address_rules import NONE_ADDRESS, is_headless
from proa.apiserver.resources.core.service_families import settle_families
from proa.apiserver.resources.core.service_rules import (
    is_reached_from_outside,
    needs_cluster_ip,
    needs_health_check,
    needs_node_port,
    validate_service,
    validate_service_update,
    validate_status_update,
)
from proa.apiserver.resources.core.service_warnings import service_warnings
from proa.apiserver.resources.printing import AGE, NAME, NONE, age, doc, labels_cell
from proa.client.protocol import Object
from proa.objects.errors import Invalid
from proa.objects.resource import SERVICES


def default(service: Object) -> None:
    """Fill in type, affinity, protocols, target ports and traffic policies."""
    spec = service.setdefault("spec", {})
    spec["type"] = kind = spec.get("type") or "ClusterIP"
    affinity = spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    if affinity == "None":
        spec.pop("sessionAffinityConfig", None)
    elif affinity == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        config.setdefault("timeoutSeconds", 10800)
    for port in spec.get("ports", ()):
        port["protocol"] = port.get("protocol") or "TCP"
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    if kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs")):
        spec["externalTrafficPolicy"] = spec.get("externalTrafficPolicy") or "Cluster"
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for entry in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            if entry.get("ip"):
                entry.setdefault("ipMode", "VIP")


def prepare_create(service: Object) -> None:
    """Start without a load balancer, with clusterIP and clusterIPs in step."""
    service["status"] = {"loadBalancer": {}}
    _keep_addresses_in_step(service["spec"], {})


def prepare_update(new: Object, old: Object) -> None:
    """Keep what was given to the service where the new object does not say otherwise (patchAllocatedValues)."""
    mine, theirs = new["spec"], old["spec"]
    if needs_cluster_ip(mine) and needs_cluster_ip(theirs):
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if not mine.get(key) and key in theirs and (key != "clusterIPs" or not mine.get("clusterIP")):
                mine[key] = theirs[key]
    elif not needs_cluster_ip(mine):
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if mine.get(key) == theirs.get(key):
                mine.pop(key, None)
    if needs_node_port(mine) and needs_node_port(theirs):
        given = {
            _port_key(port): port["nodePort"] for port in theirs.get("ports", ()) if port.get("nodePort")
        }
        taken = {port["nodePort"] for port in mine.get("ports", ()) if port.get("nodePort")}
        for port in mine.get("ports", ()):
            before = given.get(_port_key(port))
            if before and not port.get("nodePort") and before not in taken:
                port["nodePort"] = before
    elif needs_node_port(theirs):
        _drop_node_ports(mine, theirs)
    if needs_health_check(mine) and needs_health_check(theirs) and not mine.get("healthCheckNodePort"):
        _take(mine, theirs, "healthCheckNodePort")
    _drop_what_the_type_has_not(mine, theirs)
    _keep_addresses_in_step(mine, theirs)


def _take(mine: Object, theirs: Object, key: str) -> None:
    if key in theirs:
        mine[key] = theirs[key]


def _drop_what_the_type_has_not(mine: Object, theirs: Object) -> None:
    """Drop what only the old type had, unless the change says it anew (dropTypeDependentFields)."""
    lost: list[str] = []
    if needs_health_check(theirs) and not needs_health_check(mine):
        lost.append("healthCheckNodePort")
    if theirs.get("type") == "LoadBalancer" != mine.get("type"):
        lost += ["allocateLoadBalancerNodePorts", "loadBalancerClass"]
    if is_reached_from_outside(theirs) and not is_reached_from_outside(mine):
        lost.append("externalTrafficPolicy")
    for key in lost:
        if mine.get(key) == theirs.get(key):
            mine.pop(key, None)


def _drop_node_ports(mine: Object, theirs: Object) -> None:
    before = {_port_key(port): port.get("nodePort") for port in theirs.get("ports", ())}
    for port in mine.get("ports", ()):
        if port.get("nodePort") and before.get(_port_key(port)) == port["nodePort"]:
            del port["nodePort"]


def _port_key(port: Object) -> tuple[str, int]:
    return port.get("protocol", "TCP"), port.get("port", 0)


def _keep_addresses_in_step(spec: Object, old: Object) -> None:
    """Derive clusterIPs from clusterIP where only that was given or changed (NormalizeClusterIPs)."""
    primary, every = spec.get("clusterIP"), spec.get("clusterIPs")
    if primary and (not every or (primary != old.get("clusterIP") and every == old.get("clusterIPs"))):
        spec["clusterIPs"] = [primary]
    elif not primary and every and every == old.get("clusterIPs"):
        del spec["clusterIPs"]


async def allocate(new: Object, old: Object | None, allocators: Allocators) -> None:
    """Take the addresses and ports that `new` needs beyond those of `old`, and give back what it no longer has."""
    before = old["spec"] if old else {}
    if causes := settle_families(new["spec"], before, allocators.families):
        raise Invalid("", causes=causes)
    if validate_service(new):
        return  # it will be refused
    await _allocate_addresses(new["spec"], before, allocators)
    await _allocate_ports(new["spec"], before, allocators)


async def _allocate_addresses(spec: Object, before: Object, allocators: Allocators) -> None:
    held, kept = _addresses(before), list[str]()
    if needs_cluster_ip(spec) and not is_headless(spec):
        wanted = spec.get("clusterIPs") or []
        for index, family in enumerate(spec["ipFamilies"]):
            address = wanted[index] if index < len(wanted) else ""
            if not address or address not in held:
                address = await allocators.allocate_cluster_ip(address, family)
            kept.append(address)
        spec["clusterIP"], spec["clusterIPs"] = kept[0], kept
    for address in held:
        if address not in kept:
            allocators.release_cluster_ip(address)


def _addresses(spec: Object) -> tuple[str, ...]:
    every = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return tuple(address for address in every if address and address != NONE_ADDRESS)


async def _allocate_ports(spec: Object, before: Object, allocators: Allocators) -> None:
    """A number is one Service's, which may use it for more than one protocol."""
    held, kept = set(_node_ports(before)), set[int]()
    numbers: dict[int, int] = {}  # two protocols of one port share the node port
    wants_ports = needs_node_port(spec)
    for index, port in enumerate(spec.get("ports", ())):
        number = port.get("nodePort") or (numbers.get(port["port"], 0) if wants_ports else 0)
        if not number and not wants_ports:
            continue
        if not number or number not in held | kept:
            number = await allocators.allocate_node_port(number, f"spec.ports[{index}].nodePort")
        port["nodePort"] = numbers[port["port"]] = number
        kept.add(number)
    if needs_health_check(spec):
        number = spec.get("healthCheckNodePort") or 0
        if not number or number not in held:
            number = await allocators.allocate_node_port(number, "spec.healthCheckNodePort")
        spec["healthCheckNodePort"] = number
        kept.add(number)
    for number in held - kept:
        allocators.release_node_port(number)


def _node_ports(spec: Object) -> tuple[int, ...]:
    found = {port["nodePort"] for port in spec.get("ports", ()) if port.get("nodePort")}
    return tuple(sorted(found | {spec.get("healthCheckNodePort") or 0} - {0}))


def holds(service: Object) -> Holding:
    """Return the addresses and node ports that a stored Service has."""
    spec = service.get("spec") or {}
    return Holding(_addresses(spec), _node_ports(spec))


def cells(service: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec = service["spec"]
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return (
        service["metadata"]["name"],
        spec.get("type", ""),
        addresses[0] or NONE,
        _external_ip(service),
        ",".join(_port_cell(port) for port in spec.get("ports", ())) or NONE,
        age(service, now),
        labels_cell(spec.get("selector")),
    )


def _external_ip(service: Object) -> str:
    spec = service["spec"]
    external = list(spec.get("externalIPs", ()))
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    if spec.get("type") != "LoadBalancer":
        return ",".join(external) or NONE
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress", ())
    given = [i.get("ip") or i.get("hostname", "") for i in ingress]
    return ",".join([*given, *external]) or "<pending>"


def _port_cell(port: Object) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node_port}/{port.get('protocol')}"


def _spec_field(key: str) -> Any:
    return lambda service: str((service.get("spec") or {}).get(key, ""))


DEFINITION = ResourceDefinition(
    resource=SERVICES,
    singular="service",
    schema="io.k8s.api.core.v1.Service",
    short_names=("svc",),
    categories=("all",),
    subresources=(
        Subresource("proxy", "ServiceProxyOptions", ("create", "delete", "get", "patch", "update")),
        Subresource("status", "Service", ("get", "patch", "update")),
    ),
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate_service,
    validate_update=validate_service_update,
    validate_status_update=validate_status_update,
    allocate=allocate,
    holds=holds,
    warnings=service_warnings,
    columns=(
        NAME,
        Column("Type", description=doc("core.v1.ServiceSpec.type")),
        Column("Cluster-IP", description=doc("core.v1.ServiceSpec.clusterIP")),
        Column("External-IP", description=doc("core.v1.ServiceSpec.externalIPs")),
        Column("Port(s)", description=doc("core.v1.ServiceSpec.ports")),
        AGE,
        Column("Selector", description=doc("core.v1.ServiceSpec.selector"), priority=1),
    ),
    cells=cells,
    field_selectors={"spec.clusterIP": _spec_field("clusterIP"), "spec.type": _spec_field("type")},
    name_rule="dns-label",
    returns_deleted=True,
    created_by_update=True,
)
