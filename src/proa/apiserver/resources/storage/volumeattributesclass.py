"""A VolumeAttributesClass names attributes that volumes may be given while they are in use; it never changes.

Follows pkg/apis/storage/validation ValidateVolumeAttributesClass and printVolumeAttributesClass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.printing import AGE, NAME, age, doc
from proa.apiserver.resources.storage.parameters import validate_driver, validate_parameters
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import Resource
from proa.objects.validation import forbidden, required

VOLUME_ATTRIBUTES_CLASSES = Resource(
    "storage.k8s.io", "v1", "volumeattributesclasses", "VolumeAttributesClass", namespaced=False
)


def validate(attributes_class: Object) -> list[Cause]:
    """Check the driver's name and the parameters."""
    parameters = attributes_class.get("parameters") or {}
    causes = validate_driver(attributes_class.get("driverName", ""), "driverName")
    causes += validate_parameters(parameters, "parameters")
    if not parameters:
        causes.append(required("parameters", "must contain at least one key/value pair"))
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that it is the same."""
    return [
        forbidden(key, f"updates to {key} are forbidden.")
        for key in ("driverName", "parameters")
        if new.get(key) != old.get(key)
    ]


def cells(attributes_class: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return (
        attributes_class["metadata"]["name"],
        attributes_class.get("driverName", ""),
        age(attributes_class, now),
    )


DEFINITION = ResourceDefinition(
    resource=VOLUME_ATTRIBUTES_CLASSES,
    singular="volumeattributesclass",
    schema="io.k8s.api.storage.v1.VolumeAttributesClass",
    short_names=("vac",),
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("DriverName", description=doc("storage.v1.VolumeAttributesClass.driverName")),
        AGE,
    ),
    cells=cells,
    returns_deleted=True,
)
