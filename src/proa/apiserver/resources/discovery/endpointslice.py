"""An EndpointSlice is a part of a Service's endpoints, all of one address type, which never changes.

Follows pkg/apis/discovery/v1/defaults.go, pkg/apis/discovery/validation and printEndpointSlice.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.core.service_rules import PROTOCOLS
from proa.apiserver.resources.printing import AGE, NAME, UNSET, age, doc, some_of
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import ENDPOINT_SLICES
from proa.objects.validation import (
    all_invalid,
    dns_label,
    dns_subdomain,
    duplicate,
    invalid,
    label_value,
    port_number,
    qualified_name,
    required,
    too_many,
    validate_enum,
    validate_immutable,
    validate_labels,
)
from proa.objects.validation_addresses import ip_warnings, legacy_ip

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
MAX_ENDPOINTS, MAX_ADDRESSES, MAX_PORTS = 1000, 100, 100
MAX_TOPOLOGY, MAX_HINTS = 16, 8
_CONTROLLERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")
LOCAL_MULTICAST = ("224.0.0.0/24", "ff02::/16")


def default(endpoint_slice: Object) -> None:
    """Ports have a name, which may be empty, and speak TCP; conditions are there, if unknown."""
    for port in endpoint_slice.get("ports", ()):
        port.setdefault("name", "")
        port["protocol"] = port.get("protocol") or "TCP"
    for endpoint in endpoint_slice.get("endpoints", ()):
        endpoint.setdefault("conditions", {})
    endpoint_slice.setdefault("endpoints", None)
    endpoint_slice.setdefault("ports", None)


def validate(endpoint_slice: Object) -> list[Cause]:
    """Check the address type, endpoints and ports."""
    kind = endpoint_slice.get("addressType", "")
    causes = validate_enum(kind, "addressType", ADDRESS_TYPES)
    endpoints, ports = endpoint_slice.get("endpoints") or [], endpoint_slice.get("ports") or []
    if len(endpoints) > MAX_ENDPOINTS:
        return [*causes, too_many("endpoints", len(endpoints), MAX_ENDPOINTS)]
    for index, endpoint in enumerate(endpoints):
        causes += _validate_endpoint(endpoint, kind, f"endpoints[{index}]")
    if len(ports) > MAX_PORTS:
        return [*causes, too_many("ports", len(ports), MAX_PORTS)]
    return causes + _validate_ports(ports)


def _validate_endpoint(endpoint: Object, kind: str, path: str) -> list[Cause]:
    addresses = endpoint.get("addresses") or []
    if not addresses:
        return [required(f"{path}.addresses", "must contain at least 1 address")]
    if len(addresses) > MAX_ADDRESSES:
        return [too_many(f"{path}.addresses", len(addresses), MAX_ADDRESSES)]
    causes: list[Cause] = []
    for index, address in enumerate(addresses):
        causes += _validate_address(address, kind, f"{path}.addresses[{index}]")
    hostname = endpoint.get("hostname")
    if hostname is not None:
        causes += all_invalid(f"{path}.hostname", hostname, dns_label(hostname))
    node = endpoint.get("nodeName")
    causes += all_invalid(f"{path}.nodeName", node, dns_subdomain(node)) if node is not None else []
    topology = endpoint.get("deprecatedTopology") or {}
    if len(topology) > MAX_TOPOLOGY:
        causes.append(too_many(f"{path}.deprecatedTopology", len(topology), MAX_TOPOLOGY))
    causes += validate_labels(topology, f"{path}.deprecatedTopology")
    hints = endpoint.get("hints") or {}
    for key in ("forZones", "forNodes"):
        causes += _validate_hints(hints.get(key) or [], f"{path}.hints.{key}")
    return causes


def _validate_hints(hints: list[Object], field: str) -> list[Cause]:
    if len(hints) > MAX_HINTS:
        return [too_many(field, len(hints), MAX_HINTS)]
    causes: list[Cause] = []
    names: set[str] = set()
    for index, hint in enumerate(hints):
        name, path = hint.get("name", ""), f"{field}[{index}].name"
        if name in names:
            causes.append(duplicate(path, name))
        names.add(name)
        problems = label_value(name) if field.endswith("Zones") else dns_subdomain(name)
        causes += all_invalid(path, name, problems)
    return causes


def _validate_address(address: str, kind: str, field: str) -> list[Cause]:
    if kind == "FQDN":
        return _validate_domain(address, field)
    problems = legacy_ip(address)
    if problems or kind not in ("IPv4", "IPv6"):
        return all_invalid(field, address, problems)
    found = ipaddress.ip_address(address)
    if found.version != int(kind[-1]):
        problems.append(f"must be an {kind} address")
    if found.is_unspecified:
        problems.append(f"may not be unspecified ({address})")
    if found.is_link_local:
        problems.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if any(found in ipaddress.ip_network(network) for network in LOCAL_MULTICAST):
        problems.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return all_invalid(field, address, problems)


def _validate_domain(name: str, field: str) -> list[Cause]:
    """Check a domain of two parts at least, with or without a dot at its end."""
    if not name:
        return [required(field)]
    name = name.removesuffix(".")
    if problems := dns_subdomain(name):
        return [invalid(field, name, ",".join(problems))]
    labels = name.split(".")
    if len(labels) < 2:
        return [invalid(field, name, "should be a domain with at least two segments separated by dots")]
    return [invalid(field, label, ",".join(p)) for label in labels if (p := dns_label(label))][:1]


def _validate_ports(ports: list[Object]) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        path, name = f"ports[{index}]", port.get("name", "")
        if name:
            causes += all_invalid(f"{path}.name", name, dns_label(name))
        if name in names:
            causes.append(duplicate(f"{path}.name", name))
        names.add(name)
        causes += validate_enum(port.get("protocol"), f"{path}.protocol", PROTOCOLS)
        if port.get("appProtocol") is not None:
            name = port["appProtocol"]
            causes += all_invalid(f"{path}.appProtocol", name, qualified_name(name))
        if port.get("port") is not None:
            causes += all_invalid(f"{path}.port", port["port"], port_number(port["port"]))
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the address type is the same."""
    return validate_immutable(new.get("addressType"), old.get("addressType"), "addressType")


def cells(endpoint_slice: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    ports = [str(port.get("port", "*")) for port in endpoint_slice.get("ports") or ()]
    addresses = [a for e in endpoint_slice.get("endpoints") or () for a in e.get("addresses", ())]
    return (
        endpoint_slice["metadata"]["name"],
        endpoint_slice.get("addressType", ""),
        some_of(ports, UNSET),
        some_of(addresses, UNSET),
        age(endpoint_slice, now),
    )


def warnings(endpoint_slice: Object, old: Object | None) -> list[str]:
    """Warn of names as addresses, and of addresses that should be spelled otherwise."""
    said = []
    if old is None and endpoint_slice.get("addressType") == "FQDN":
        said.append("spec.addressType: FQDN endpoints are deprecated")
    labels = endpoint_slice["metadata"].get("labels") or {}
    if labels.get("endpointslice.kubernetes.io/managed-by") in _CONTROLLERS:
        return said
    return said + [
        text
        for index, endpoint in enumerate(endpoint_slice.get("endpoints") or ())
        for number, address in enumerate(endpoint.get("addresses") or ())
        for text in ip_warnings(f"endpoints[{index}].addresses[{number}]", address)
    ]


DEFINITION = ResourceDefinition(
    resource=ENDPOINT_SLICES,
    singular="endpointslice",
    schema="io.k8s.api.discovery.v1.EndpointSlice",
    default=default,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("AddressType", description=doc("discovery.v1.EndpointSlice.addressType")),
        Column("Ports", description=doc("discovery.v1.EndpointSlice.ports")),
        Column("Endpoints", description=doc("discovery.v1.EndpointSlice.endpoints")),
        AGE,
    ),
    cells=cells,
    warnings=warnings,
    tracks_generation=True,
)
