"""A CSIStorageCapacity says how much a storage class has left in a part of the cluster; which part never changes.

Follows pkg/apis/storage/validation ValidateCSIStorageCapacity and printCSIStorageCapacity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.printing import NAME, UNSET, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.quantity import parse_quantity
from proa.objects.resource import Resource
from proa.objects.validation import all_invalid, dns_subdomain, invalid, validate_immutable
from proa.objects.validation_selectors import validate_label_selector

CSI_STORAGE_CAPACITIES = Resource("storage.k8s.io", "v1", "csistoragecapacities", "CSIStorageCapacity")


def validate(capacity: Object) -> list[Cause]:
    """Check the topology, the class and the amount."""
    causes = validate_label_selector(capacity.get("nodeTopology"), "nodeTopology")
    name, amount = capacity.get("storageClassName", ""), capacity.get("capacity")
    causes += all_invalid("storageClassName", name, dns_subdomain(name))
    if amount is not None and parse_quantity(amount) < 0:
        causes.append(invalid("capacity", amount, "must be greater than or equal to 0"))
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the amount is of the same class and place."""
    return [
        *validate_immutable(new.get("nodeTopology"), old.get("nodeTopology"), "nodeTopology"),
        *validate_immutable(new.get("storageClassName"), old.get("storageClassName"), "storageClassName"),
    ]


def cells(capacity: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return (
        capacity["metadata"]["name"],
        capacity.get("storageClassName", ""),
        capacity.get("capacity", UNSET),
    )


DEFINITION = ResourceDefinition(
    resource=CSI_STORAGE_CAPACITIES,
    singular="csistoragecapacity",
    schema="io.k8s.api.storage.v1.CSIStorageCapacity",
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("StorageClassName", description=doc("storage.v1.CSIStorageCapacity.storageClassName")),
        Column("Capacity", description=doc("storage.v1.CSIStorageCapacity.capacity")),
    ),
    cells=cells,
    unconditional_update=False,
    returns_deleted=True,
)
