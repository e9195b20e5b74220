"""Make and read the IPAddress objects by which Services have their ClusterIPs.

Follows pkg/registry/core/service/ipallocator (ipallocator.go, controller/repairip.go).
"""

from __future__ import annotations

from typing import Any

from proa.objects.meta import labels
from proa.objects.resource import IP_ADDRESSES

Object = dict[str, Any]

FAMILY = "ipaddress.kubernetes.io/ip-family"
MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
ALLOCATOR = "ipallocator.k8s.io"


def make_ip_address(address: str, namespace: str, service: str) -> Object:
    """Return the object that says that a Service has an address."""
    return {
        "kind": IP_ADDRESSES.kind,
        "apiVersion": IP_ADDRESSES.api_version,
        "metadata": {
            "name": address,
            "labels": {FAMILY: "IPv6" if ":" in address else "IPv4", MANAGED_BY: ALLOCATOR},
        },
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": service}},
    }


def is_allocated(obj: Object) -> bool:
    """Tell whether the allocator has made it; others may make such objects too, for what is no Service."""
    return labels(obj).get(MANAGED_BY) == ALLOCATOR


def service_of(obj: Object) -> tuple[str, str] | None:
    """Return namespace and name of the Service that has the address, None where no Service has it."""
    parent = (obj.get("spec") or {}).get("parentRef") or {}
    if parent.get("group") or parent.get("resource") != "services":
        return None
    return parent.get("namespace") or "", parent.get("name") or ""
