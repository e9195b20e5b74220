"""A PersistentVolumeClaim asks for storage; once made, little of it changes but its size.

Follows pkg/apis/core/validation ValidatePersistentVolumeClaim and printPersistentVolumeClaim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.core.pod_warnings import claim_spec_warnings
from proa.apiserver.resources.core.volume_claim_rules import validate, validate_status_update, validate_update
from proa.apiserver.resources.core.volume_words import short_access_modes
from proa.apiserver.resources.printing import AGE, NAME, UNSET, age, doc
from proa.client.protocol import Object
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS


def default(claim: Object) -> None:
    """A claim is for a file system."""
    default_claim_spec(claim.setdefault("spec", {}))


def default_claim_spec(spec: Object) -> None:
    """Default what claims and claim templates have in common."""
    spec["volumeMode"] = spec.get("volumeMode") or "Filesystem"
    spec.setdefault("resources", {})


def prepare_create(claim: Object) -> None:
    """Start without a volume."""
    _copy_data_source(claim["spec"])
    claim["status"] = {"phase": "Pending"}


def prepare_update(new: Object, old: Object) -> None:
    """Keep the status, which has a subresource of its own, and the two ways to name a source alike."""
    new["status"] = old.get("status", {})
    _copy_data_source(new["spec"])


def _copy_data_source(spec: Object) -> None:
    """Say a source in both fields, but for one of another namespace (NormalizeDataSources)."""
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and not reference.get("namespace"):
        spec["dataSource"] = {key: value for key, value in reference.items() if key != "namespace"}


def warnings(claim: Object, _old: Object | None) -> list[str]:
    """Warn of fractions of bytes."""
    return list(claim_spec_warnings(claim["spec"], "spec"))


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
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    warnings=warnings,
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
