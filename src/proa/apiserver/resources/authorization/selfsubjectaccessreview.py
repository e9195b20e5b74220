"""A SelfSubjectAccessReview asks whether one may do something oneself: `kubectl auth can-i`.

Follows pkg/registry/authorization/selfsubjectaccessreview.
"""

from __future__ import annotations

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.authorization.access_rules import status_of, validate_metadata, validate_spec
from proa.client.protocol import Object
from proa.objects.errors import BadRequest, Cause
from proa.objects.resource import Resource


def validate(review: Object) -> list[Cause]:
    """Check the question."""
    return [*validate_spec(review.get("spec") or {}), *validate_metadata(review)]


async def review(attributes: Attributes) -> Object:
    """Answer it for whoever asks."""
    assert attributes.obj is not None
    if attributes.user is None:
        raise BadRequest("no user present on request")
    status = await status_of(attributes.catalog.authorizer, attributes.user, attributes.obj["spec"])
    return {**attributes.obj, "status": status}


DEFINITION = ResourceDefinition(
    resource=Resource(
        "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
    ),
    singular="selfsubjectaccessreview",
    schema="io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    verbs=("create",),
    validate=validate,
    review=review,
)
