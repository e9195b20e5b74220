"""Endpoints list where a Service's traffic goes, in subsets of addresses that share ports.

Follows pkg/apis/core/validation ValidateEndpoints and printEndpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.core.service_rules import PROTOCOLS
from proa.apiserver.resources.printing import AGE, NAME, age, doc, some_of
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import ENDPOINTS
from proa.objects.validation import (
    all_invalid,
    dns_label,
    dns_subdomain,
    port_number,
    qualified_name,
    required,
    validate_enum,
)
from proa.objects.validation_addresses import ip_warnings, legacy_ip, special_ip


def default(endpoints: Object) -> None:
    """Ports speak TCP."""
    for subset in endpoints.get("subsets", ()):
        for port in subset.get("ports", ()):
            port["protocol"] = port.get("protocol") or "TCP"


def validate(endpoints: Object) -> list[Cause]:
    """Check each subset."""
    causes: list[Cause] = []
    for index, subset in enumerate(endpoints.get("subsets", ())):
        path = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            causes.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for key in ("addresses", "notReadyAddresses"):
            causes += _validate_addresses(subset.get(key, ()), f"{path}.{key}")
        causes += _validate_ports(subset.get("ports", []), f"{path}.ports")
    return causes


def _validate_addresses(addresses: Iterable[Object], field: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, address in enumerate(addresses):
        path, ip = f"{field}[{index}]", address.get("ip", "")
        causes += all_invalid(f"{path}.ip", ip, legacy_ip(ip))
        if address.get("hostname"):
            causes += all_invalid(f"{path}.hostname", address["hostname"], dns_label(address["hostname"]))
        if address.get("nodeName") is not None:
            causes += all_invalid(f"{path}.nodeName", address["nodeName"], dns_subdomain(address["nodeName"]))
        causes += all_invalid(f"{path}.ip", ip, special_ip(ip, loopback_too=False))
    return causes


def _validate_ports(ports: list[Object], field: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, port in enumerate(ports):
        path, name = f"{field}[{index}]", port.get("name", "")
        if name:
            causes += all_invalid(f"{path}.name", name, dns_label(name))
        elif len(ports) > 1:
            causes.append(required(f"{path}.name"))
        causes += all_invalid(f"{path}.port", port.get("port", 0), port_number(port.get("port", 0)))
        causes += validate_enum(port.get("protocol"), f"{path}.protocol", PROTOCOLS)
        if port.get("appProtocol") is not None:
            name = port["appProtocol"]
            causes += all_invalid(f"{path}.appProtocol", name, qualified_name(name))
    return causes


def cells(endpoints: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return endpoints["metadata"]["name"], some_of(_ready(endpoints), "<none>"), age(endpoints, now)


def _ready(endpoints: Object) -> list[str]:
    found: list[str] = []
    for subset in endpoints.get("subsets", ()):
        addresses = [address.get("ip", "") for address in subset.get("addresses", ())]
        hosts = [f"[{address}]" if ":" in address else address for address in addresses]
        if subset.get("ports"):
            found += [f"{host}:{port.get('port', 0)}" for port in subset["ports"] for host in hosts]
        else:
            found += hosts
    return found


def warnings(endpoints: Object, old: Object | None) -> list[str]:
    """Warn of addresses that should be spelled otherwise; upstream's controller sees to its own."""
    labels = endpoints["metadata"].get("labels") or {}
    if labels.get("endpoints.kubernetes.io/managed-by") == "endpoint-controller":
        return []
    return [
        text
        for index, subset in enumerate(endpoints.get("subsets") or ())
        for key in ("addresses", "notReadyAddresses")
        for number, address in enumerate(subset.get(key) or ())
        for text in ip_warnings(f"subsets[{index}].{key}[{number}].ip", address.get("ip") or "")
    ]


DEFINITION = ResourceDefinition(
    resource=ENDPOINTS,
    singular="endpoints",
    schema="io.k8s.api.core.v1.Endpoints",
    short_names=("ep",),
    default=default,
    validate=validate,
    deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    columns=(NAME, Column("Endpoints", description=doc("core.v1.Endpoints.subsets")), AGE),
    cells=cells,
    created_by_update=True,
    warnings=warnings,
)
