"""A PersistentVolume is a piece of storage; where it is never changes.

Follows pkg/apis/core/validation ValidatePersistentVolume and printPersistentVolume.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.core.resource_rules import validate_amount
from proa.apiserver.resources.core.scheduling_rules import validate_node_selector
from proa.apiserver.resources.core.volume_words import VOLUME_MODES, short_access_modes, validate_access_modes
from proa.apiserver.resources.printing import AGE, NAME, UNSET, age, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.meta import format_time
from proa.objects.resource import PERSISTENT_VOLUMES
from proa.objects.validation import (
    all_invalid,
    dns_subdomain,
    forbidden,
    invalid,
    not_supported,
    required,
    validate_enum,
    validate_immutable,
)

SOURCES = (
    "hostPath", "local", "csi", "nfs", "iscsi", "fc", "rbd", "cephfs", "cinder", "flexVolume", "flocker", "glusterfs",
    "gcePersistentDisk", "awsElasticBlockStore", "azureDisk", "azureFile", "photonPersistentDisk", "portworxVolume",
    "quobyte", "scaleIO", "storageos", "vsphereVolume",
)  # fmt: skip
POLICIES = ("Delete", "Recycle", "Retain")


def default(volume: Object) -> None:
    """Fill in the reclaim policy and modes."""
    spec = volume.setdefault("spec", {})
    spec["persistentVolumeReclaimPolicy"] = spec.get("persistentVolumeReclaimPolicy") or "Retain"
    spec["volumeMode"] = spec.get("volumeMode") or "Filesystem"
    if "hostPath" in spec:
        spec["hostPath"].setdefault("type", "")


def prepare_create(volume: Object) -> None:
    """Start as Pending."""
    volume["status"] = {"phase": "Pending", "lastPhaseTransitionTime": format_time(time.time())}


def prepare_status_update(new: Object, old: Object) -> None:
    """Note when the phase changes."""
    before, after = old.get("status") or {}, new.setdefault("status", {})
    if after.get("phase") != before.get("phase") and (
        after.get("lastPhaseTransitionTime") == before.get("lastPhaseTransitionTime")
    ):
        after["lastPhaseTransitionTime"] = format_time(time.time())


def validate(volume: Object) -> list[Cause]:
    """Check modes, capacity, source and policy."""
    spec = volume["spec"]
    causes = validate_access_modes(spec.get("accessModes", []), "spec.accessModes")
    capacity = spec.get("capacity") or {}
    if not capacity:
        causes.append(required("spec.capacity"))
    if "storage" not in capacity or len(capacity) > 1:
        causes.append(not_supported("spec.capacity", capacity or None, ("storage",)))
    for name, amount in capacity.items():
        causes += validate_amount(name, amount, f"spec.capacity[{name}]")
    causes += validate_enum(
        spec.get("persistentVolumeReclaimPolicy"), "spec.persistentVolumeReclaimPolicy", POLICIES
    )
    causes += validate_volume_source(spec, "spec")
    if spec.get("storageClassName"):
        causes += all_invalid(
            "spec.storageClassName", spec["storageClassName"], dns_subdomain(spec["storageClassName"])
        )
    if spec.get("volumeMode"):
        causes += validate_enum(spec["volumeMode"], "spec.volumeMode", VOLUME_MODES)
    return causes


def validate_volume_source(spec: Object, field: str) -> list[Cause]:
    """Check the one place where the volume is, and from which nodes it is reached."""
    given = [key for key in SOURCES if key in spec]
    if not given:
        return [required(field, "must specify a volume type")]
    causes = [forbidden(f"{field}.{extra}", "may not specify more than 1 volume type") for extra in given[1:]]
    needed = (spec.get("nodeAffinity") or {}).get("required")
    if needed is not None:
        causes += validate_node_selector(needed, f"{field}.nodeAffinity.required")
    kind = given[0]
    if kind in ("hostPath", "local"):
        path = spec[kind].get("path", "")
        if not path:
            causes.append(required(f"{field}.{kind}.path"))
        elif ".." in path.split("/"):
            causes.append(invalid(f"{field}.{kind}.path", path, "must not contain '..'"))
    if kind == "local" and needed is None:
        causes.append(required(f"{field}.nodeAffinity", "Local volume requires node affinity"))
    if kind == "csi":
        causes += [
            required(f"{field}.csi.{key}") for key in ("driver", "volumeHandle") if not spec["csi"].get(key)
        ]
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the source and the mode are the same."""
    mine, theirs = new["spec"], old["spec"]
    causes: list[Cause] = []
    if any(mine.get(key) != theirs.get(key) for key in SOURCES):
        detail = "spec.persistentvolumesource is immutable after creation"
        causes.append(forbidden("spec.persistentvolumesource", detail))
    return causes + validate_immutable(mine.get("volumeMode"), theirs.get("volumeMode"), "spec.volumeMode")


def cells(volume: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec, status, metadata = volume["spec"], volume.get("status") or {}, volume["metadata"]
    claim = spec.get("claimRef")
    return (
        metadata["name"],
        (spec.get("capacity") or {}).get("storage", "0"),
        short_access_modes(spec.get("accessModes", ())),
        spec.get("persistentVolumeReclaimPolicy", ""),
        "Terminating" if metadata.get("deletionTimestamp") else status.get("phase", ""),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName", UNSET),
        status.get("reason", ""),
        age(volume, now),
        spec.get("volumeMode", UNSET),
    )


DEFINITION = ResourceDefinition(
    resource=PERSISTENT_VOLUMES,
    singular="persistentvolume",
    schema="io.k8s.api.core.v1.PersistentVolume",
    short_names=("pv",),
    subresources=(Subresource("status", "PersistentVolume", ("get", "patch", "update")),),
    default=default,
    prepare_create=prepare_create,
    prepare_status_update=prepare_status_update,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("Capacity", description=doc("core.v1.PersistentVolumeSpec.capacity")),
        Column("Access Modes", description=doc("core.v1.PersistentVolumeSpec.accessModes")),
        Column(
            "Reclaim Policy", description=doc("core.v1.PersistentVolumeSpec.persistentVolumeReclaimPolicy")
        ),
        Column("Status", description=doc("core.v1.PersistentVolumeStatus.phase")),
        Column("Claim", description=doc("core.v1.PersistentVolumeSpec.claimRef")),
        Column("StorageClass", description="StorageClass of the pv"),
        Column("VolumeAttributesClass", description="VolumeAttributesClass of the pv"),
        Column("Reason", description=doc("core.v1.PersistentVolumeStatus.reason")),
        AGE,
        Column("VolumeMode", description=doc("core.v1.PersistentVolumeSpec.volumeMode"), priority=1),
    ),
    cells=cells,
    returns_deleted=True,
)
