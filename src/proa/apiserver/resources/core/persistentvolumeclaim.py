"""A PersistentVolumeClaim asks for storage; once made, little of it changes but its size.

Follows pkg/apis/core/validation ValidatePersistentVolumeClaim and printPersistentVolumeClaim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.core.volume_words import VOLUME_MODES, short_access_modes, validate_access_modes
from proa.apiserver.resources.printing import AGE, NAME, UNSET, age, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.quantity import canonicalize, parse_quantity
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS
from proa.objects.validation import all_invalid, dns_subdomain, forbidden, invalid, required, validate_enum
from proa.objects.validation_selectors import validate_label_selector

CHANGES = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def default(claim: Object) -> None:
    """A claim is for a file system."""
    default_claim_spec(claim.setdefault("spec", {}))


def default_claim_spec(spec: Object) -> None:
    """Default what claims and claim templates have in common."""
    spec["volumeMode"] = spec.get("volumeMode") or "Filesystem"
    spec.setdefault("resources", {})


def prepare_create(claim: Object) -> None:
    """Start without a volume."""
    claim["status"] = {"phase": "Pending"}


def validate(claim: Object) -> list[Cause]:
    """Check modes, size, class and selector."""
    return validate_claim_spec(claim["spec"], "spec")


def validate_claim_spec(spec: Object, field: str) -> list[Cause]:
    """Check what claims and claim templates have in common."""
    missing = "at least 1 access mode is required"
    causes = validate_access_modes(spec.get("accessModes", []), f"{field}.accessModes", missing)
    causes += validate_label_selector(spec.get("selector"), f"{field}.selector")
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        causes.append(required(f"{field}.resources[storage]"))
    elif parse_quantity(size) <= 0:
        causes.append(invalid(f"{field}.resources[storage]", canonicalize(size), "must be greater than zero"))
    class_name = spec.get("storageClassName")
    if class_name:
        causes += all_invalid(f"{field}.storageClassName", class_name, dns_subdomain(class_name))
    if spec.get("volumeMode"):
        causes += validate_enum(spec["volumeMode"], f"{field}.volumeMode", VOLUME_MODES)
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that only the size grows, the volume is set once, and a missing class may be given."""
    mine, theirs = dict(new["spec"]), dict(old["spec"])
    is_bound = (old.get("status") or {}).get("phase") == "Bound"
    if not theirs.get("volumeName"):
        theirs["volumeName"] = mine.get("volumeName")
    if "storageClassName" not in theirs:
        theirs["storageClassName"] = mine.get("storageClassName")
    if is_bound:
        for spec in (mine, theirs):
            spec["resources"] = {k: v for k, v in (spec.get("resources") or {}).items() if k != "requests"}
            spec.pop("volumeAttributesClassName", None)
    shared = mine.keys() | theirs.keys()
    if any(mine.get(key) != theirs.get(key) for key in shared):
        return [forbidden("spec", CHANGES)]
    return _validate_growth(new, old) if is_bound else []


def _validate_growth(new: Object, old: Object) -> list[Cause]:
    wanted, before = _size(new["spec"]), _size(old["spec"])
    has = ((old.get("status") or {}).get("capacity") or {}).get("storage", "0")
    if parse_quantity(wanted) < parse_quantity(before) and parse_quantity(wanted) < parse_quantity(has):
        return [forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")]
    return []


def _size(spec: Object) -> str:
    return str(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0"))


def cells(claim: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec, status, metadata = claim["spec"], claim.get("status") or {}, claim["metadata"]
    is_bound = bool(spec.get("volumeName"))
    return (
        metadata["name"],
        "Terminating" if metadata.get("deletionTimestamp") else status.get("phase", ""),
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "0") if is_bound else "",
        short_access_modes(status.get("accessModes", ())) if is_bound else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName", UNSET),
        age(claim, now),
        spec.get("volumeMode", UNSET),
    )


DEFINITION = ResourceDefinition(
    resource=PERSISTENT_VOLUME_CLAIMS,
    singular="persistentvolumeclaim",
    schema="io.k8s.api.core.v1.PersistentVolumeClaim",
    short_names=("pvc",),
    subresources=(Subresource("status", "PersistentVolumeClaim", ("get", "patch", "update")),),
    default=default,
    prepare_create=prepare_create,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("Status", description=doc("core.v1.PersistentVolumeClaimStatus.phase")),
        Column("Volume", description=doc("core.v1.PersistentVolumeClaimSpec.volumeName")),
        Column("Capacity", description=doc("core.v1.PersistentVolumeClaimStatus.capacity")),
        Column("Access Modes", description=doc("core.v1.PersistentVolumeClaimStatus.accessModes")),
        Column("StorageClass", description="StorageClass of the pvc"),
        Column("VolumeAttributesClass", description="VolumeAttributesClass of the pvc"),
        AGE,
        Column("VolumeMode", description=doc("core.v1.PersistentVolumeClaimSpec.volumeMode"), priority=1),
    ),
    cells=cells,
    returns_deleted=True,
)
