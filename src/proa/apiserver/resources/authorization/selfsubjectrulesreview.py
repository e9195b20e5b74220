"""A SelfSubjectRulesReview lists what one may do in a namespace: `kubectl auth can-i --list`.

Follows pkg/registry/authorization/selfsubjectrulesreview.
"""

from __future__ import annotations

from typing import Any

from proa.apiserver.authorization.decision import aggregate
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.definition import ResourceDefinition
from proa.client.protocol import Object
from proa.objects.errors import BadRequest
from proa.objects.resource import Resource


def review(attributes: Attributes) -> Object:
    """Return the rules of whoever asks; raise BadRequest where no namespace is named."""
    assert attributes.obj is not None
    namespace = (attributes.obj.get("spec") or {}).get("namespace", "")
    if attributes.user is None:
        raise BadRequest("no user present on request")
    if not namespace:
        raise BadRequest("no namespace on request")
    found = attributes.catalog.authorizer.rules_for(attributes.user, namespace)
    status: dict[str, Any] = {
        "resourceRules": [_part(r, _RESOURCE_KEYS) for r in found.rules if r.get("resources")],
        "nonResourceRules": [_part(r, _URL_KEYS) for r in found.rules if r.get("nonResourceURLs")],
        "incomplete": found.incomplete,
    }
    if found.errors:
        status["evaluationError"] = aggregate(found.errors)
    resource = attributes.definition.resource
    head = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": {}}
    return {**head, "spec": {}, "status": status}


_RESOURCE_KEYS = ("verbs", "apiGroups", "resources", "resourceNames")
_URL_KEYS = ("verbs", "nonResourceURLs")


def _part(rule: Object, keys: tuple[str, ...]) -> Object:
    return {key: rule[key] for key in keys if rule.get(key)}


DEFINITION = ResourceDefinition(
    resource=Resource(
        "authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", namespaced=False
    ),
    singular="selfsubjectrulesreview",
    schema="io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    verbs=("create",),
    review=review,
)
