"""An IPAddress says to which object an address belongs; its name is the address, and the object never changes.

Follows pkg/apis/networking/validation ValidateIPAddress and printIPAddress.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proa.apiserver.claims import Owner
from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.registry.metadata import new_uid
from proa.apiserver.resources.printing import NAME, NONE, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.ip_addresses import make_ip_address
from proa.objects.meta import format_time
from proa.objects.resource import IP_ADDRESSES
from proa.objects.validation import all_invalid, dns_subdomain, path_segment, required, validate_immutable


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


def make_stored(now: Callable[[], float], address: str, owner: Owner) -> Object:
    """Return the object by which a Service has an address, as it is stored: the API server's own work."""
    at = format_time(now())
    obj = make_ip_address(address, owner.namespace, owner.name)
    metadata, parent = obj["metadata"], obj["spec"]["parentRef"]
    fields: Object = {
        "f:metadata": {"f:labels": {".": {}, **{f"f:{label}": {} for label in metadata["labels"]}}},
        "f:spec": {"f:parentRef": {".": {}, **{f"f:{key}": {} for key in sorted(parent)}}},
    }
    managed = {
        "manager": "kube-apiserver",
        "operation": "Update",
        "apiVersion": IP_ADDRESSES.api_version,
        "time": at,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    metadata |= {"uid": new_uid(), "creationTimestamp": at, "managedFields": [managed]}
    return obj


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
