"""A ServiceCIDR is a range of ClusterIPs: one network of each address family, and only the second may be added later.

Follows pkg/apis/networking/validation ValidateServiceCIDR and printServiceCIDR.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.printing import AGE, NAME, age, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import SERVICE_CIDRS
from proa.objects.validation import all_invalid, invalid, required
from proa.objects.validation_addresses import canonical_cidr, find_cidr

FIELD = "spec.cidrs"
IMMUTABLE = "field is immutable"


def default(service_cidr: Object) -> None:
    """Write the part that upstream always writes."""
    service_cidr.setdefault("spec", {})


def prepare_create(service_cidr: Object) -> None:
    """Start without a word about its state."""
    service_cidr["status"] = {}


def prepare_status_update(new: Object, old: Object) -> None:
    """Write the part that upstream always writes."""
    new.setdefault("status", {})


def validate_create(service_cidr: Object) -> list[Cause]:
    """Check that there are one or two networks, of different families."""
    cidrs = _cidrs(service_cidr)
    if not cidrs:
        return [required(FIELD, "at least one CIDR required")]
    if len(cidrs) > 2:
        return [invalid(FIELD, service_cidr["spec"], "may only hold up to 2 values")]
    causes: list[Cause] = []
    for index, cidr in enumerate(cidrs):
        causes += all_invalid(f"{FIELD}[{index}]", cidr, canonical_cidr(cidr))
    families = [found[0].version for cidr in cidrs if (found := find_cidr(cidr))]
    if families in ([4, 4], [6, 6]):
        why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        causes.append(invalid(FIELD, cidrs, why))
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that nothing changes, unless a second network is added."""
    mine, theirs = _cidrs(new), _cidrs(old)
    if len(mine) == len(theirs):
        return [
            invalid(f"{FIELD}[{index}]", cidr, IMMUTABLE)
            for index, (cidr, before) in enumerate(zip(mine, theirs, strict=True))
            if cidr != before
        ]
    if len(theirs) != 1 or len(mine) != 2:
        return [invalid(FIELD, mine, IMMUTABLE)]
    changed = [] if mine[0] == theirs[0] else [invalid(f"{FIELD}[0]", mine[0], IMMUTABLE)]
    return changed + validate_create(new)


def _cidrs(service_cidr: Object) -> list[str]:
    return (service_cidr.get("spec") or {}).get("cidrs") or []


def cells(service_cidr: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return service_cidr["metadata"]["name"], ",".join(_cidrs(service_cidr)), age(service_cidr, now)


DEFINITION = ResourceDefinition(
    resource=SERVICE_CIDRS,
    singular="servicecidr",
    schema="io.k8s.api.networking.v1.ServiceCIDR",
    subresources=(Subresource("status", "ServiceCIDR", ("get", "patch", "update")),),
    default=default,
    prepare_create=prepare_create,
    prepare_status_update=prepare_status_update,
    validate_create=validate_create,
    validate_update=validate_update,
    columns=(NAME, Column("CIDRs", description=doc("networking.v1.ServiceCIDRSpec.cidrs")), AGE),
    cells=cells,
)
