"""An IPAddress says to which object an address belongs; its name is the address, and the object never changes.

Follows pkg/apis/networking/validation ValidateIPAddress and printIPAddress.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.printing import NAME, NONE, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import Resource
from proa.objects.validation import all_invalid, dns_subdomain, path_segment, required, validate_immutable

IP_ADDRESSES = Resource("networking.k8s.io", "v1", "ipaddresses", "IPAddress", namespaced=False)


def default(address: Object) -> None:
    """Write the part that upstream always writes."""
    address.setdefault("spec", {})


def validate_create(address: Object) -> list[Cause]:
    """Check the reference to the object that has the address."""
    parent, path = address["spec"].get("parentRef"), "spec.parentRef"
    if parent is None:
        return [required(path)]
    group, namespace = parent.get("group", ""), parent.get("namespace", "")
    causes = all_invalid(f"{path}.group", group, dns_subdomain(group)) if group else []
    for key in ("resource", "name"):
        value = parent.get(key, "")
        field = f"{path}.{key}"
        causes += all_invalid(field, value, path_segment(value)) if value else [required(field)]
    return causes + (all_invalid(f"{path}.namespace", namespace, path_segment(namespace)))


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the object is the same."""
    return validate_immutable(new["spec"].get("parentRef"), old["spec"].get("parentRef"), "spec.parentRef")


def cells(address: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return address["metadata"]["name"], _parent(address["spec"].get("parentRef"))


def _parent(parent: Object | None) -> str:
    if parent is None:
        return NONE
    group = parent.get("group")
    resource = parent.get("resource", "") + (f".{group}" if group else "")
    parts = (resource.lower(), parent.get("namespace"), parent.get("name", ""))
    return "/".join(part for part in parts if part)


DEFINITION = ResourceDefinition(
    resource=IP_ADDRESSES,
    singular="ipaddress",
    schema="io.k8s.api.networking.v1.IPAddress",
    short_names=("ip",),
    default=default,
    validate_create=validate_create,
    validate_update=validate_update,
    columns=(NAME, Column("ParentRef", description=doc("networking.v1.IPAddressSpec.parentRef"))),
    cells=cells,
    name_rule="ip-address",
)
