"""A LocalSubjectAccessReview asks about somebody in one namespace: who may ask that may know no more.

Follows pkg/registry/authorization/localsubjectaccessreview.
"""

from __future__ import annotations

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.authorization.access_rules import (
    NON_RESOURCE,
    RESOURCE,
    validate_metadata,
    validate_spec,
    validate_subject,
)
from proa.apiserver.resources.authorization.subjectaccessreview import review
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import Resource
from proa.objects.validation import invalid


def validate(review: Object) -> list[Cause]:
    """Check the question, and that it is about the namespace."""
    spec = review.get("spec") or {}
    causes = [*validate_spec(spec), *validate_subject(spec), *validate_metadata(review, with_namespace=True)]
    resource, other = spec.get(RESOURCE), spec.get(NON_RESOURCE)
    if resource is not None and resource.get("namespace", "") != review["metadata"].get("namespace", ""):
        why = "must match metadata.namespace"
        causes.append(invalid(f"spec.{RESOURCE}.namespace", resource.get("namespace", ""), why))
    if other is not None:
        causes.append(invalid(f"spec.{NON_RESOURCE}", other, "disallowed on this kind of request"))
    return causes


DEFINITION = ResourceDefinition(
    resource=Resource("authorization.k8s.io", "v1", "localsubjectaccessreviews", "LocalSubjectAccessReview"),
    singular="localsubjectaccessreview",
    schema="io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    verbs=("create",),
    validate=validate,
    review=review,
)
