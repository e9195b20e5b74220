"""An Ingress says which hosts and paths lead from outside to which Services.

Follows pkg/registry/networking/ingress/strategy.go, pkg/apis/networking/validation and printIngress.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.networking.ingress_rules import (
    CLASS_ANNOTATION,
    validate_class_annotation,
    validate_ingress,
    validate_status_update,
)
from proa.apiserver.resources.printing import AGE, NAME, NONE, age
from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import Cause
from proa.objects.resource import INGRESSES

MOST_HOSTS = 3


def default(ingress: Object) -> None:
    """Write the part that upstream always writes."""
    ingress.setdefault("spec", {})


def prepare_create(ingress: Object) -> None:
    """Start without an address."""
    ingress["status"] = {"loadBalancer": {}}


def prepare_status_update(new: Object, old: Object) -> None:
    """Write the part that upstream always writes."""
    new.setdefault("status", {}).setdefault("loadBalancer", {})


def validate_create(ingress: Object) -> list[Cause]:
    """Check a new Ingress."""
    return validate_ingress(ingress) + validate_class_annotation(ingress)


def warnings(ingress: Object, old: Object | None) -> list[str]:
    """Warn of the old way of naming a new Ingress' class."""
    if old is not None or "ingressClassName" in ingress["spec"]:
        return []
    if CLASS_ANNOTATION not in meta.annotations(ingress):
        return []
    return [f"annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"]


def cells(ingress: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec = ingress.get("spec") or {}
    points = ((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    addresses = {point.get("ip") or point.get("hostname") for point in points} - {None, ""}
    return (
        ingress["metadata"]["name"],
        spec.get("ingressClassName", NONE),
        _hosts(spec.get("rules") or ()),
        ",".join(sorted(addresses)),
        "80, 443" if spec.get("tls") else "80",
        age(ingress, now),
    )


def _hosts(rules: Sequence[Object]) -> str:
    hosts = [rule["host"] for rule in rules if rule.get("host")]
    shown = ",".join(hosts[:MOST_HOSTS]) or "*"
    return f"{shown} + {len(rules) - MOST_HOSTS} more..." if len(hosts) > MOST_HOSTS else shown


DEFINITION = ResourceDefinition(
    resource=INGRESSES,
    singular="ingress",
    schema="io.k8s.api.networking.v1.Ingress",
    short_names=("ing",),
    subresources=(Subresource("status", "Ingress", ("get", "patch", "update")),),
    default=default,
    prepare_create=prepare_create,
    prepare_status_update=prepare_status_update,
    validate_create=validate_create,
    validate_update=validate_ingress,
    validate_status_update=validate_status_update,
    warnings=warnings,
    columns=(
        NAME,
        Column(
            "Class",
            description="The name of the IngressClass resource that should be used for additional configuration",
        ),
        Column(
            "Hosts", description="Hosts that incoming requests are matched against before the ingress rule"
        ),
        Column("Address", description="Address is a list containing ingress points for the load-balancer"),
        Column("Ports", description="Ports of TLS configurations that open"),
        AGE,
    ),
    cells=cells,
    tracks_generation=True,
)
