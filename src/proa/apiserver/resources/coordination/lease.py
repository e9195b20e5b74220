"""A Lease says who leads, and until when (pkg/apis/coordination/validation, pkg/registry/coordination/lease)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.printing import AGE, NAME, age, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import LEASES
from proa.objects.validation import invalid


def default(lease: Object) -> None:
    """Drop what only coordinated leader election asks for, which is off by default."""
    spec = lease.setdefault("spec", {})
    for key in ("strategy", "preferredHolder"):
        spec.pop(key, None)


def validate(lease: Object) -> list[Cause]:
    """Check the duration and the number of transitions."""
    spec = lease.get("spec") or {}
    causes: list[Cause] = []
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions", 0)
    if seconds is not None and seconds <= 0:
        causes.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if transitions < 0:
        causes.append(invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    return causes


def cells(lease: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return lease["metadata"]["name"], (lease.get("spec") or {}).get("holderIdentity", ""), age(lease, now)


DEFINITION = ResourceDefinition(
    resource=LEASES,
    singular="lease",
    schema="io.k8s.api.coordination.v1.Lease",
    default=default,
    validate=validate,
    columns=(NAME, Column("Holder", description=doc("coordination.v1.LeaseSpec.holderIdentity")), AGE),
    cells=cells,
    unconditional_update=False,
    created_by_update=True,
)
