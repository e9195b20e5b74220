"""Give expressions their variables: the request, its objects, its namespace, who asks, and a policy's own variables.

Follows apiserver/pkg/admission/plugin/cel/activation.go, condition.go (CreateAdmissionRequest, CreateNamespaceObject)
and composition.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from proa.apiserver.admission.matching import (
    Match,
    find_namespace,
    kind_for,
    namespace_of,
    requested_resource,
)
from proa.apiserver.admission.mutation import Views
from proa.apiserver.authorization.decision import Authorizer as Decides
from proa.apiserver.policies.compiled import Expression
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Object, User
from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError, CostExceeded
from proa.objects.cel.library.authorizer import Authorizer, Check, ResourceCheck, Subject
from proa.objects.cel.values import LazyFields
from proa.objects.resource import NAMESPACES
from proa.objects.validation import quote


def make_variables(attributes: Attributes, match: Match, views: Views) -> dict[str, Any]:
    """Return the variables that depend on nothing but the request; raise NotFound for a namespace that is not there."""
    authorizer = _authorizer(attributes)
    resource = attributes.definition.resource
    return {
        "object": views.obj,
        "oldObject": views.old,
        "request": _request(attributes, match),
        "namespaceObject": _namespace(attributes),
        "authorizer": authorizer,
        "authorizer.requestResource": ResourceCheck(
            authorizer,
            resource.group,
            resource.plural,
            attributes.subresource,
            namespace_of(attributes),
            attributes.name,
        ),
    }


def bind_variables(
    variables: Mapping[str, Any], param: Object | None, own: Mapping[str, Expression], budget: Budget
) -> dict[str, Any]:
    """Return the variables for one policy and one parameter object, its own worked out when they are looked at."""
    bound = {**variables, "params": param}
    if own:
        bound["variables"] = _OwnVariables(own, bound, budget)
    return bound


class _OwnVariables(LazyFields):
    def __init__(self, own: Mapping[str, Expression], bound: dict[str, Any], budget: Budget) -> None:
        self._own, self._bound, self._budget = own, bound, budget
        self._found: dict[str, Any] = {}

    def has_field(self, name: str) -> bool:
        return name in self._own

    def get_field(self, name: str) -> Any:
        if name not in self._found:
            try:
                self._found[name] = self._own[name].value(self._bound, self._budget)
            except CostExceeded:
                raise
            except CelRuntimeError as error:
                message = f"composited variable {quote(name)} fails to evaluate: {error}"
                raise CelRuntimeError(message) from None
        return self._found[name]


def _request(attributes: Attributes, match: Match) -> Object:
    requested = requested_resource(attributes)
    kind = kind_for(attributes, requested)
    user = attributes.user
    request: Object = {
        "kind": {"group": match.kind.group, "version": match.kind.version, "kind": match.kind.kind},
        "resource": {
            "group": match.resource.group, "version": match.resource.version, "resource": match.resource.plural,
        },
        "subResource": attributes.subresource,
        "requestKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "requestResource": {
            "group": requested.group, "version": requested.version, "resource": requested.plural,
        },
        "requestSubResource": attributes.subresource,
        "name": attributes.name,
        "namespace": namespace_of(attributes),
        "operation": attributes.operation,
    }  # fmt: skip
    request = {key: value for key, value in request.items() if value}
    info: Object = {}
    if user is not None:
        info = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    request["userInfo"] = {key: value for key, value in info.items() if value}
    request["dryRun"] = attributes.dry_run
    if attributes.options is not None:
        request["options"] = attributes.options
    return request


def _namespace(attributes: Attributes) -> Object | None:
    if attributes.definition.resource == NAMESPACES or not namespace_of(attributes):
        return None
    return find_namespace(attributes)


def _authorizer(attributes: Attributes) -> Authorizer:
    user = attributes.user or User("")
    subject = Subject(user.name, user.uid, user.groups, user.extra)
    return Authorizer(_Asks(attributes.catalog.authorizer), subject)


class _Asks:
    """The API server's authorizer, as CEL's library asks it."""

    def __init__(self, authorizer: Decides) -> None:
        self._authorizer = authorizer

    def check(self, check: Check) -> tuple[Literal["Allow", "Deny", "NoOpinion"], str]:
        who = check.subject
        extra = {key: tuple(values) for key, values in who.extra.items()}
        user = User(who.name, tuple(who.groups), who.uid, extra)
        if check.path:
            info = RequestInfo(False, check.verb, check.path)
        else:
            info = RequestInfo(
                True, check.verb, "", check.group, "*", check.namespace, check.resource, check.name,
                check.subresource,
            )  # fmt: skip
        decision = self._authorizer.authorize(user, info)
        if decision.error and not decision.allowed:
            raise CelRuntimeError(decision.error)
        return ("Allow" if decision.allowed else "Deny" if decision.denied else "NoOpinion"), decision.reason
