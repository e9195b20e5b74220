"""Describe a request as an AdmissionRequest: what webhooks are sent, and expressions see as `request`.

Follows apiserver/pkg/admission/plugin/webhook/request/admissionreview.go.
"""

from __future__ import annotations

from proa.apiserver.admission.matching import (
    GroupVersionKind,
    Match,
    kind_for,
    namespace_of,
    requested_resource,
)
from proa.apiserver.registry.attributes import Attributes
from proa.client.protocol import Object, User
from proa.objects.resource import Resource


def describe_request(attributes: Attributes, match: Match) -> Object:
    """Return the AdmissionRequest that expressions and webhooks see, without objects; what is empty is left out."""
    requested = requested_resource(attributes)
    user = attributes.user or User("")
    info = {
        "username": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra.items()},
    }
    request: Object = {
        "kind": _kind(match.kind),
        "resource": _resource(match.resource),
        "subResource": attributes.subresource,
        "requestKind": _kind(kind_for(attributes, requested)),
        "requestResource": _resource(requested),
        "requestSubResource": attributes.subresource,
        "name": attributes.name,
        "namespace": namespace_of(attributes),
        "operation": attributes.operation,
    }
    request = {key: value for key, value in request.items() if value}
    request["userInfo"] = {key: value for key, value in info.items() if value}
    request["dryRun"] = attributes.dry_run
    request["options"] = attributes.options
    return request


def _kind(kind: GroupVersionKind) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _resource(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}
