"""A Namespace starts Active with the `kubernetes` finalizer, and is Terminating from its deletion on.

The registry keeps it until `spec.finalizers` is empty; the namespace controller empties the namespace and then the
list, through the `finalize` subresource. Follows pkg/registry/core/namespace/strategy.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.printing import AGE, NAME, age
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import NAMESPACES
from proa.objects.validation import all_invalid, invalid, qualified_name

FINALIZER = "kubernetes"
STANDARD_FINALIZERS = (FINALIZER, "orphan", "foregroundDeletion")
NAME_LABEL = "kubernetes.io/metadata.name"


def default(namespace: Object) -> None:
    """Label the namespace with its own name (SetDefaults_Namespace)."""
    metadata = namespace["metadata"]
    if metadata.get("name"):
        metadata.setdefault("labels", {})[NAME_LABEL] = metadata["name"]


def prepare_create(namespace: Object) -> None:
    """Give the new namespace its phase and its finalizer."""
    namespace["status"] = {"phase": "Active"}
    finalizers = (namespace.get("spec") or {}).get("finalizers") or []
    namespace["spec"] = {"finalizers": finalizers if FINALIZER in finalizers else [*finalizers, FINALIZER]}


def prepare_update(new: Object, old: Object) -> None:
    """Keep finalizers and status: they have subresources of their own."""
    new["spec"], new["status"] = old.get("spec", {}), old.get("status", {})


def prepare_status_update(new: Object, old: Object) -> None:
    """Keep the spec."""
    new["spec"] = old.get("spec", {})


def validate(namespace: Object) -> list[Cause]:
    """Check the finalizers' names."""
    causes: list[Cause] = []
    for finalizer in (namespace.get("spec") or {}).get("finalizers") or []:
        causes += all_invalid("spec.finalizers", finalizer, qualified_name(finalizer))
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            causes.append(invalid("spec.finalizers", finalizer, detail))
    return causes


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check that the phase fits the deletion."""
    phase = (new.get("status") or {}).get("phase", "")
    if not new["metadata"].get("deletionTimestamp"):
        return (
            []
            if phase == "Active"
            else [_phase(phase, "may only be 'Active' if `deletionTimestamp` is empty")]
        )
    if phase == "Terminating":
        return []
    return [_phase(phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")]


def _phase(phase: str, rule: str) -> Cause:
    return invalid("status.Phase", phase, rule)


def cells(namespace: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return namespace["metadata"]["name"], find_phase(namespace), age(namespace, now)


def find_phase(namespace: Object) -> str:
    """Return status.phase, or "" ."""
    phase: str = (namespace.get("status") or {}).get("phase", "")
    return phase


DEFINITION = ResourceDefinition(
    resource=NAMESPACES,
    singular="namespace",
    schema="io.k8s.api.core.v1.Namespace",
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    subresources=(
        Subresource("finalize", "Namespace", ("update",)),
        Subresource("status", "Namespace", ("get", "patch", "update")),
    ),
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status_update=prepare_status_update,
    validate=validate,
    validate_status_update=validate_status_update,
    columns=(NAME, Column("Status", description="The status of the namespace"), AGE),
    cells=cells,
    field_selectors={"status.phase": find_phase},
    name_rule="dns-label",
)
