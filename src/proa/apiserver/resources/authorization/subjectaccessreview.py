"""A SubjectAccessReview asks whether somebody may do something (pkg/registry/authorization/subjectaccessreview)."""

from __future__ import annotations

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.authorization.access_rules import (
    status_of,
    subject_of,
    validate_metadata,
    validate_spec,
    validate_subject,
)
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import Resource


def validate(review: Object) -> list[Cause]:
    """Check the question, and that somebody is asked about."""
    spec = review.get("spec") or {}
    return [*validate_spec(spec), *validate_subject(spec), *validate_metadata(review)]


async def review(attributes: Attributes) -> Object:
    """Answer it."""
    assert attributes.obj is not None
    spec = attributes.obj["spec"]
    return {
        **attributes.obj,
        "status": await status_of(attributes.catalog.authorizer, subject_of(spec), spec),
    }


DEFINITION = ResourceDefinition(
    resource=Resource(
        "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
    ),
    singular="subjectaccessreview",
    schema="io.k8s.api.authorization.v1.SubjectAccessReview",
    verbs=("create",),
    validate=validate,
    review=review,
)
