"""An IngressClass says who serves the Ingresses that name it; who that is never changes.

Follows pkg/apis/networking/v1/defaults.go, pkg/apis/networking/validation and printIngressClass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.networking.ingress_rules import validate_typed_reference
from proa.apiserver.resources.printing import AGE, NAME, NONE, age
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import INGRESS_CLASSES
from proa.objects.validation import (
    all_invalid,
    dns_label,
    domain_prefixed_path,
    forbidden,
    not_supported,
    required,
    too_long,
    validate_immutable,
)

MAX_CONTROLLER = 250
SCOPES = ("Cluster", "Namespace")


def default(ingress_class: Object) -> None:
    """Parameters are for the whole cluster."""
    parameters = ingress_class.setdefault("spec", {}).get("parameters")
    if parameters is not None:
        parameters.setdefault("scope", "Cluster")


def validate(ingress_class: Object) -> list[Cause]:
    """Check the controller's name and the reference to parameters."""
    spec = ingress_class["spec"]
    causes = _validate_controller(spec.get("controller", ""), "spec.controller")
    parameters = spec.get("parameters")
    return causes if parameters is None else causes + _validate_parameters(parameters, "spec.parameters")


def _validate_controller(name: str, field: str) -> list[Cause]:
    if not name:
        return [required(field)]
    causes = [too_long(field, MAX_CONTROLLER)] if len(name.encode()) > MAX_CONTROLLER else []
    return causes + domain_prefixed_path(name, field)


def _validate_parameters(parameters: Object, path: str) -> list[Cause]:
    causes = validate_typed_reference(parameters, path)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        return [*causes, required(f"{path}.scope")]
    if scope not in SCOPES:
        return [*causes, not_supported(f"{path}.scope", scope, SCOPES)]
    field = f"{path}.namespace"
    if scope == "Cluster":
        set_too = namespace is not None
        return [*causes, forbidden(field, "`parameters.scope` is set to 'Cluster'")] if set_too else causes
    if namespace is None:
        return [*causes, required(field, "`parameters.scope` is set to 'Namespace'")]
    return causes + all_invalid(field, namespace, dns_label(namespace))


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the controller is the same."""
    return validate_immutable(new["spec"].get("controller"), old["spec"].get("controller"), "spec.controller")


def cells(ingress_class: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec = ingress_class.get("spec") or {}
    return (
        ingress_class["metadata"]["name"],
        spec.get("controller", ""),
        _reference(spec.get("parameters")),
        age(ingress_class, now),
    )


def _reference(parameters: Object | None) -> str:
    if parameters is None:
        return NONE
    kind, group = parameters.get("kind", ""), parameters.get("apiGroup")
    return f"{kind}.{group}/{parameters.get('name', '')}" if group else f"{kind}/{parameters.get('name', '')}"


DEFINITION = ResourceDefinition(
    resource=INGRESS_CLASSES,
    singular="ingressclass",
    schema="io.k8s.api.networking.v1.IngressClass",
    default=default,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("Controller", description="Controller that is responsible for handling this class"),
        Column("Parameters", description="A reference to a resource with additional parameters"),
        AGE,
    ),
    cells=cells,
    tracks_generation=True,
)
