"""A PersistentVolume is a piece of storage; where it is never changes.

Follows pkg/apis/core/validation ValidatePersistentVolume and printPersistentVolume.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.core.persistent_volume_rules import validate, validate_update
from proa.apiserver.resources.core.pod_warnings import node_term_warnings
from proa.apiserver.resources.core.volume_words import short_access_modes
from proa.apiserver.resources.printing import AGE, NAME, UNSET, age, doc
from proa.client.protocol import Object
from proa.objects.meta import format_time
from proa.objects.resource import PERSISTENT_VOLUMES

BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


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


def warnings(volume: Object, _old: Object | None) -> list[str]:
    """Warn of what is deprecated (pkg/api/persistentvolume GetWarningsForPersistentVolume)."""
    spec, said = volume["spec"], list[str]()
    if BETA_CLASS in (volume["metadata"].get("annotations") or {}):
        instead = 'deprecated since v1.8; use "storageClassName" attribute instead'
        said.append(f"metadata.annotations[{BETA_CLASS}]: {instead}")
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        said.append(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended "
            "approach is to use dynamic provisioning."
        )
    terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    for index, term in enumerate(terms):
        said += node_term_warnings(term, f"spec.nodeAffinity.required.nodeSelectorTerms[{index}]")
    return said


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
    warnings=warnings,
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
