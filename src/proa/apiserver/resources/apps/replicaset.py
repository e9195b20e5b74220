"""A ReplicaSet keeps a number of equal pods; its selector never changes.

Follows pkg/apis/apps/v1/defaults.go, pkg/apis/apps/validation ValidateReplicaSet and printReplicaSet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.apps.template_rules import validate_selector_and_template, warnings
from proa.apiserver.resources.core.pod_defaults import default_template
from proa.apiserver.resources.printing import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    age,
    container_cells,
    doc,
    selector_cell,
)
from proa.apiserver.resources.status_counts import validate_available, validate_counts
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import REPLICA_SETS
from proa.objects.validation import validate_immutable, validate_non_negative

COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")
PARTS = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")


def default(replica_set: Object) -> None:
    """Fill in replicas and the template."""
    spec = replica_set.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    default_template(spec.setdefault("template", {}))


def prepare_create(replica_set: Object) -> None:
    """Start without pods; upstream always writes this count."""
    replica_set["status"] = {"replicas": 0}


def validate(replica_set: Object) -> list[Cause]:
    """Check numbers, selector and template."""
    spec = replica_set["spec"]
    causes = validate_non_negative(spec.get("replicas", 0), "spec.replicas")
    causes += validate_non_negative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    return causes + validate_selector_and_template(spec)


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the selector is the same."""
    return validate_immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")


def validate_status_update(new: Object, _old: Object) -> list[Cause]:
    """Check that no count is negative, or larger than the one that it is a part of."""
    status = new.get("status") or {}
    return validate_counts(status, COUNTS, PARTS) + validate_available(status)


def cells(replica_set: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec, status = replica_set["spec"], replica_set.get("status") or {}
    return (
        replica_set["metadata"]["name"],
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age(replica_set, now),
        *container_cells(spec.get("template") or {}),
        selector_cell(spec.get("selector")),
    )


def _replicas(replica_set: Object) -> str:
    return str((replica_set.get("status") or {}).get("replicas", 0))


DEFINITION = ResourceDefinition(
    resource=REPLICA_SETS,
    singular="replicaset",
    schema="io.k8s.api.apps.v1.ReplicaSet",
    short_names=("rs",),
    categories=("all",),
    subresources=(
        Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling/v1"),
        Subresource("status", "ReplicaSet", ("get", "patch", "update")),
    ),
    default=default,
    prepare_create=prepare_create,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    warnings=warnings,
    columns=(
        NAME,
        Column("Desired", "integer", description=doc("apps.v1.ReplicaSetSpec.replicas")),
        Column("Current", "integer", description=doc("apps.v1.ReplicaSetStatus.replicas")),
        Column("Ready", "integer", description=doc("apps.v1.ReplicaSetStatus.readyReplicas")),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", description=doc("apps.v1.ReplicaSetSpec.selector"), priority=1),
    ),
    cells=cells,
    field_selectors={"status.replicas": _replicas},
    tracks_generation=True,
    scale_paths=(".spec.replicas", ".status.replicas", ".spec.selector"),
)
