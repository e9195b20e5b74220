"""A SelfSubjectReview tells who one is, as authentication found out: `kubectl auth whoami`.

Follows pkg/registry/authentication/selfsubjectreview.
"""

from __future__ import annotations

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.definition import ResourceDefinition
from proa.client.protocol import Object, User
from proa.objects.errors import BadRequest
from proa.objects.meta import format_time
from proa.objects.resource import Resource


def review(attributes: Attributes) -> Object:
    """Return who asks."""
    if attributes.user is None:
        raise BadRequest("no user present on request")
    resource = attributes.definition.resource
    return {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": {"creationTimestamp": format_time(int(attributes.catalog.now()))},
        "status": {"userInfo": user_info(attributes.user)},
    }


def user_info(user: User) -> Object:
    """Return a user as the API shows one (authentication.k8s.io/v1 UserInfo)."""
    shown = {
        "username": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra.items()},
    }
    return {key: value for key, value in shown.items() if value}


DEFINITION = ResourceDefinition(
    resource=Resource(
        "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False
    ),
    singular="selfsubjectreview",
    schema="io.k8s.api.authentication.v1.SelfSubjectReview",
    verbs=("create",),
    review=review,
)
