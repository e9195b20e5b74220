"""A ResourceClaimTemplate is what claims for pods are made of; it never changes.

Follows pkg/apis/resource/validation, pkg/registry/resource/resourceclaimtemplate and printResourceClaimTemplate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.printing import AGE, NAME, age
from proa.apiserver.resources.resource.claim_rules import default_claim, validate_claim_spec
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import RESOURCE_CLAIM_TEMPLATES
from proa.objects.validation import validate_annotations, validate_immutable, validate_labels


def default(template: Object) -> None:
    """Fill in how much is asked."""
    default_claim(template.setdefault("spec", {}).setdefault("spec", {}))


def validate_create(template: Object) -> list[Cause]:
    """Check labels, annotations and what is asked."""
    spec = template["spec"]
    metadata, path = spec.get("metadata") or {}, "spec.metadata"
    causes = validate_annotations(metadata.get("annotations"), f"{path}.annotations")
    causes += validate_labels(metadata.get("labels"), f"{path}.labels")
    return causes + validate_claim_spec(spec["spec"], "spec.spec")


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that it is the same."""
    return validate_immutable(new["spec"], old["spec"], "spec")


def cells(template: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return template["metadata"]["name"], age(template, now)


DEFINITION = ResourceDefinition(
    resource=RESOURCE_CLAIM_TEMPLATES,
    singular="resourceclaimtemplate",
    schema="io.k8s.api.resource.v1.ResourceClaimTemplate",
    default=default,
    validate_create=validate_create,
    validate_update=validate_update,
    columns=(NAME, AGE),
    cells=cells,
    returns_deleted=True,
)
