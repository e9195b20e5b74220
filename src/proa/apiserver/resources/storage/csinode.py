"""A CSINode says which volume drivers a node has; what a driver said of itself stays, but for how much it can take.

Follows pkg/apis/storage/validation ValidateCSINode and printCSINode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.core.driver_names import validate_driver_name
from proa.apiserver.resources.printing import AGE, NAME, age
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import CSI_NODES
from proa.objects.validation import (
    all_invalid,
    duplicate,
    invalid,
    qualified_name,
    required,
    validate_immutable,
    validate_non_negative,
)

MAX_NODE_ID = 256


def default(node: Object) -> None:
    """Write the list that upstream always writes."""
    node.setdefault("spec", {}).setdefault("drivers", None)


def _drivers(node: Object) -> list[Object]:
    return node["spec"].get("drivers") or []


def validate(node: Object) -> list[Cause]:
    """Check each driver, and that there is one of a name."""
    causes: list[Cause] = []
    names: set[str] = set()
    for index, driver in enumerate(_drivers(node)):
        path, name = f"spec.drivers[{index}]", driver.get("name", "")
        causes += validate_driver_name(name, f"{path}.name")
        causes += _validate_node_id(driver.get("nodeID", ""), f"{path}.nodeID")
        count = (driver.get("allocatable") or {}).get("count")
        if count is not None:
            causes += validate_non_negative(count, f"{path}.allocatable.count")
        if name in names:
            causes.append(duplicate(f"{path}.name", name))
        names.add(name)
        causes += _validate_keys(driver.get("topologyKeys") or (), path)
    return causes


def _validate_node_id(node_id: str, field: str) -> list[Cause]:
    if not node_id:
        return [required(field)]
    too_long = len(node_id.encode()) > MAX_NODE_ID
    return [invalid(field, node_id, f"must be {MAX_NODE_ID} characters or less")] if too_long else []


def _validate_keys(keys: Sequence[str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, key in enumerate(keys):
        if not key:
            causes.append(required(path))
        if key in keys[:index]:
            causes.append(duplicate(path, key))
        causes += all_invalid(path, key, qualified_name(key))
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that drivers that were there are the same."""
    before = {driver.get("name"): driver for driver in _drivers(old)}
    causes: list[Cause] = []
    for driver in _drivers(new):
        was = before.get(driver.get("name"))
        if was is not None:
            causes += validate_immutable(_fixed(driver), _fixed(was), "spec.drivers")
    return causes


def _fixed(driver: Object) -> Object:
    return {key: value for key, value in driver.items() if key != "allocatable"}


def cells(node: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return node["metadata"]["name"], len(_drivers(node)), age(node, now)


DEFINITION = ResourceDefinition(
    resource=CSI_NODES,
    singular="csinode",
    schema="io.k8s.api.storage.v1.CSINode",
    default=default,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column(
            "Drivers",
            "integer",
            description="Drivers indicates the number of CSI drivers registered on the node",
        ),
        AGE,
    ),
    cells=cells,
    unconditional_update=False,
    returns_deleted=True,
)
