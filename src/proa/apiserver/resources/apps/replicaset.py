"""A ReplicaSet keeps a number of equal pods; its selector never changes.

Follows pkg/apis/apps/v1/defaults.go, pkg/apis/apps/validation ValidateReplicaSet and printReplicaSet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import ResourceDefinition, Subresource
from proa.apiserver.resources.apps.template_rules import validate_selector_and_template, warnings
from proa.apiserver.resources.core.pod_defaults import default_template
from proa.apiserver.resources.printing import doc, selector_cell
from proa.apiserver.resources.replicas import (
    SCALE_PATHS,
    columns,
    observed_replicas,
    prepare_create,
    row,
    validate_status_update,
)
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import REPLICA_SETS
from proa.objects.validation import validate_immutable, validate_non_negative


def default(replica_set: Object) -> None:
    """Fill in replicas and the template."""
    spec = replica_set.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    default_template(spec.setdefault("template", {}))


def validate(replica_set: Object) -> list[Cause]:
    """Check numbers, selector and template."""
    spec = replica_set["spec"]
    causes = validate_non_negative(spec.get("replicas", 0), "spec.replicas")
    causes += validate_non_negative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    return causes + validate_selector_and_template(spec)


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the selector is the same."""
    return validate_immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")


def cells(replica_set: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return row(replica_set, now, selector_cell(replica_set["spec"].get("selector")))


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
    columns=columns(
        desired=doc("apps.v1.ReplicaSetSpec.replicas"),
        current=doc("apps.v1.ReplicaSetStatus.replicas"),
        ready=doc("apps.v1.ReplicaSetStatus.readyReplicas"),
        selector=doc("apps.v1.ReplicaSetSpec.selector"),
    ),
    cells=cells,
    field_selectors={"status.replicas": observed_replicas},
    tracks_generation=True,
    scale_paths=SCALE_PATHS,
)
