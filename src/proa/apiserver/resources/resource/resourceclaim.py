"""A ResourceClaim asks for devices; what it asks never changes, what it got is in its status.

Follows pkg/apis/resource/validation, pkg/registry/resource/resourceclaim and printResourceClaim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.printing import AGE, NAME, age
from proa.apiserver.resources.resource.claim_rules import default_claim, validate_claim_spec
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import RESOURCE_CLAIMS
from proa.objects.validation import validate_immutable


def default(claim: Object) -> None:
    """Fill in how much is asked."""
    default_claim(claim.setdefault("spec", {}))


def prepare_create(claim: Object) -> None:
    """Start without devices."""
    claim["status"] = {}


def prepare_status_update(new: Object, old: Object) -> None:
    """Forget the state of devices that are given back."""
    from proa.apiserver.resources.resource.status_rules import drop_deallocated

    new.setdefault("status", {})
    drop_deallocated(new, old)


def validate_create(claim: Object) -> list[Cause]:
    """Check what is asked."""
    return validate_claim_spec(claim["spec"], "spec")


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the same is asked."""
    return validate_immutable(new["spec"], old["spec"], "spec")


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check what was given, to whom, and what drivers say of it."""
    from proa.apiserver.resources.resource.status_rules import validate_status

    return validate_status(new, old)


def cells(claim: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return claim["metadata"]["name"], _state(claim), age(claim, now)


def _state(claim: Object) -> str:
    status, is_going = claim.get("status") or {}, bool(claim["metadata"].get("deletionTimestamp"))
    states = ["deleted"] if is_going else []
    if status.get("allocation") is not None:
        states += ["allocated", "reserved"] if status.get("reservedFor") else ["allocated"]
    elif not is_going:
        states.append("pending")
    return ",".join(states)


DEFINITION = ResourceDefinition(
    resource=RESOURCE_CLAIMS,
    singular="resourceclaim",
    schema="io.k8s.api.resource.v1.ResourceClaim",
    subresources=(Subresource("status", "ResourceClaim", ("get", "patch", "update")),),
    default=default,
    prepare_create=prepare_create,
    prepare_status_update=prepare_status_update,
    validate_create=validate_create,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    columns=(
        NAME,
        Column("State", description="A summary of the current state (allocated, pending, reserved, etc.)."),
        AGE,
    ),
    cells=cells,
    returns_deleted=True,
)
