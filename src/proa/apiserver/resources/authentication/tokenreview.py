"""A TokenReview asks whom a token names, and for which audiences: pkg/registry/authentication/tokenreview."""

from __future__ import annotations

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.authentication.selfsubjectreview import user_info
from proa.client.protocol import Object
from proa.objects.errors import BadRequest
from proa.objects.resource import Resource


def review(attributes: Attributes) -> Object:
    """Return the answer; raise BadRequest where no token is given."""
    asked, tokens = attributes.obj, attributes.catalog.tokens
    assert asked is not None
    token = asked["spec"].get("token", "")
    if not token:
        raise BadRequest("token is required for TokenReview in authentication")
    status: Object = {"user": {}}
    if tokens is not None:
        verdict = tokens.judge(token, asked["spec"].get("audiences") or tokens.audiences)
        if verdict.user is not None:
            user = user_info(verdict.user)
            status = {"authenticated": True, "user": user, "audiences": list(verdict.audiences)}
        else:
            status["error"] = verdict.error
    return {**asked, "status": status}


DEFINITION = ResourceDefinition(
    resource=Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False),
    singular="tokenreview",
    schema="io.k8s.api.authentication.v1.TokenReview",
    verbs=("create",),
    review=review,
)
