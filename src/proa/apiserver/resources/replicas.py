"""What ReplicaSets and ReplicationControllers have in common: the rule of their status, their columns and rows.

Follows pkg/apis/apps/validation and pkg/apis/core/validation (ValidateReplicaSetStatus), printReplicaSet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column
from proa.apiserver.resources.printing import AGE, CONTAINERS, IMAGES, NAME, age, container_cells
from proa.apiserver.resources.status_counts import validate_available, validate_counts
from proa.client.protocol import Object
from proa.objects.errors import Cause

COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")
PARTS = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
SCALE_PATHS = (".spec.replicas", ".status.replicas", ".spec.selector")


def prepare_create(owner: Object) -> None:
    """Start without pods; upstream always writes this count."""
    owner["status"] = {"replicas": 0}


def validate_status_update(new: Object, _old: Object) -> list[Cause]:
    """Check that no count is negative, or larger than the one that it is a part of."""
    status = new.get("status") or {}
    return validate_counts(status, COUNTS, PARTS) + validate_available(status)


def observed_replicas(owner: Object) -> str:
    """Return status.replicas as field selectors compare it."""
    return str((owner.get("status") or {}).get("replicas", 0))


def columns(desired: str, current: str, ready: str, selector: str) -> tuple[Column, ...]:
    """Return the columns of `kubectl get`, given what the API says of the fields that they show."""
    return (
        NAME,
        Column("Desired", "integer", description=desired),
        Column("Current", "integer", description=current),
        Column("Ready", "integer", description=ready),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", description=selector, priority=1),
    )


def row(owner: Object, now: float, selector: str) -> Sequence[Any]:
    """Return the row of `kubectl get`, whose last cell is the selector."""
    spec, status = owner["spec"], owner.get("status") or {}
    return (
        owner["metadata"]["name"],
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age(owner, now),
        *container_cells(spec.get("template") or {}),
        selector,
    )
