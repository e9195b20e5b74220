"""A StorageClass says who makes volumes, and how; only whether they may grow can change.

Follows pkg/apis/storage/v1/defaults.go, pkg/apis/storage/validation ValidateStorageClass and printStorageClass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.printing import AGE, NAME, age, doc
from proa.apiserver.resources.storage.parameters import validate_driver, validate_parameters
from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import Cause
from proa.objects.resource import STORAGE_CLASSES
from proa.objects.validation import forbidden, validate_enum, validate_immutable

IS_DEFAULT = "storageclass.kubernetes.io/is-default-class"
OLD_IS_DEFAULT = "storageclass.beta.kubernetes.io/is-default-class"


def default(storage_class: Object) -> None:
    """Volumes are deleted with their claim, and bound at once."""
    storage_class["reclaimPolicy"] = storage_class.get("reclaimPolicy") or "Delete"
    storage_class["volumeBindingMode"] = storage_class.get("volumeBindingMode") or "Immediate"


def validate(storage_class: Object) -> list[Cause]:
    """Check the provisioner's name, the parameters and the policies."""
    causes = validate_driver(storage_class.get("provisioner", ""), "provisioner")
    causes += validate_parameters(storage_class.get("parameters") or {}, "parameters")
    causes += validate_enum(storage_class.get("reclaimPolicy"), "reclaimPolicy", ("Delete", "Retain"))
    modes = ("Immediate", "WaitForFirstConsumer")
    return causes + validate_enum(storage_class.get("volumeBindingMode"), "volumeBindingMode", modes)


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that how volumes are made is the same."""
    causes: list[Cause] = []
    if (new.get("parameters") or {}) != (old.get("parameters") or {}):
        causes.append(forbidden("parameters", "updates to parameters are forbidden."))
    if new.get("provisioner") != old.get("provisioner"):
        causes.append(forbidden("provisioner", "updates to provisioner are forbidden."))
    if new.get("reclaimPolicy") != old.get("reclaimPolicy"):
        causes.append(forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden."))
    mode = "volumeBindingMode"
    return causes + validate_immutable(new.get(mode), old.get(mode), mode)


def is_default(storage_class: Object) -> bool:
    """Tell whether claims without a class get this one."""
    noted = meta.annotations(storage_class)
    return "true" in (noted.get(IS_DEFAULT), noted.get(OLD_IS_DEFAULT))


def cells(storage_class: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    name = storage_class["metadata"]["name"]
    return (
        f"{name} (default)" if is_default(storage_class) else name,
        storage_class.get("provisioner", ""),
        storage_class.get("reclaimPolicy", "Delete"),
        storage_class.get("volumeBindingMode", "Immediate"),
        bool(storage_class.get("allowVolumeExpansion")),
        age(storage_class, now),
    )


DEFINITION = ResourceDefinition(
    resource=STORAGE_CLASSES,
    singular="storageclass",
    schema="io.k8s.api.storage.v1.StorageClass",
    short_names=("sc",),
    default=default,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("Provisioner", description=doc("storage.v1.StorageClass.provisioner")),
        Column("ReclaimPolicy", description=doc("storage.v1.StorageClass.reclaimPolicy")),
        Column("VolumeBindingMode", description=doc("storage.v1.StorageClass.volumeBindingMode")),
        Column("AllowVolumeExpansion", description=doc("storage.v1.StorageClass.allowVolumeExpansion")),
        AGE,
    ),
    cells=cells,
    returns_deleted=True,
)
