"""Nobody gives away rights that they do not have: by a role they write, or by a role they bind.

Exempt are members of system:masters and who may `escalate` the role or `bind` it. Not an admission plugin upstream but
a part of the roles' storage: pkg/registry/rbac/*/policybased/storage.go, escalation_check.go, validation/rule.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.apiserver.authorization.decision import EVERYTHING, MASTERS, aggregate
from proa.apiserver.authorization.rules import compact, describe, find_uncovered
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.refusals import forbidden, not_found
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Object, User
from proa.objects.resource import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from proa.objects.validation import quote

RESOURCES = (ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS)
_OF_THE_COLLECTOR = ("ownerReferences", "finalizers", "managedFields", "resourceVersion", "selfLink")


def validate(attributes: Attributes) -> None:
    """Raise Forbidden; raise NotFound for the binding of a role that is not there."""
    user, new, old = attributes.user, attributes.obj, attributes.old
    if new is None or user is None or MASTERS in user.groups:
        return
    if old is not None and _without_collector(new) == _without_collector(old):
        return
    if attributes.definition.resource in (ROLES, CLUSTER_ROLES):
        _check_role(attributes, user, new, old)
    else:
        _check_binding(attributes, user, new)


def _check_role(attributes: Attributes, user: User, new: Object, old: Object | None) -> None:
    resource = attributes.definition.resource
    name = attributes.name if old is not None else ""  # a POST names none
    if _may(attributes, user, "escalate", resource.plural, name):
        return
    aggregates = new.get("aggregationRule") or (old or {}).get("aggregationRule")
    if aggregates and find_uncovered(attributes.catalog.authorizer.rules_for(user, "").rules, EVERYTHING):
        why = "must have cluster-admin privileges to use an aggregationRule"
        raise forbidden(resource, attributes.name, why)
    _confirm(attributes, user, new.get("rules") or ())


def _check_binding(attributes: Attributes, user: User, binding: Object) -> None:
    ref = binding["roleRef"]
    role = ROLES if ref["kind"] == "Role" else CLUSTER_ROLES
    if _may(attributes, user, "bind", role.plural, ref["name"]):
        return
    found = attributes.catalog.of(role).find(attributes.namespace, ref["name"])
    if found is None:
        raise not_found(role, ref["name"])
    _confirm(attributes, user, found.get("rules") or ())


def _may(attributes: Attributes, user: User, verb: str, plural: str, name: str) -> bool:
    info = RequestInfo(True, verb, "", ROLES.group, "*", attributes.namespace, plural, name)
    return attributes.catalog.authorizer.authorize(user, info).allowed


def _confirm(attributes: Attributes, user: User, rules: Sequence[Object]) -> None:
    """Raise Forbidden unless the user has all of `rules`."""
    held = attributes.catalog.authorizer.rules_for(user, attributes.namespace)
    missing = find_uncovered(held.rules, rules)
    if not missing:
        return
    groups = " ".join(map(quote, user.groups))
    listed = "\n".join(sorted({describe(rule) for rule in compact(missing)}))
    why = (
        f"user {quote(user.name)} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n"
        f"{listed}"
    )
    if held.errors:
        why += f"; resolution errors: [{aggregate(held.errors)}]"
    raise forbidden(attributes.definition.resource, attributes.name, why)


def _without_collector(obj: Object) -> Object:
    """Return the object without what the garbage collector writes, whom nobody should stop."""
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _OF_THE_COLLECTOR}
    return {**obj, "metadata": metadata}
