"""Nobody gives away rights that they do not have: by a role they write, or by a role they bind.

Exempt are members of system:masters and who may `escalate` the role or `bind` it. Not an admission plugin upstream but
a part of the roles' storage: pkg/registry/rbac/*/policybased/storage.go, escalation_check.go, validation/rule.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from proa.apiserver.authorization.decision import EVERYTHING, MASTERS, Rules, aggregate
from proa.apiserver.authorization.rules import (
    compact,
    count_parts,
    describe,
    find_uncovered,
    without_covered,
)
from proa.apiserver.pace import aside
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.refusals import forbidden, not_found
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Object, User
from proa.objects.resource import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from proa.objects.validation import quote

RESOURCES = (ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS)
_OF_THE_COLLECTOR = ("ownerReferences", "finalizers", "managedFields", "resourceVersion", "selfLink")


MAX_PARTS = 10_000
MAX_COMPARISONS = 1_000_000
"""So many parts at most may what is given have, and so often may they be held against the rules that are had. Few roles
come to a hundredth of it; four lists of 300 come to eight billion parts, and upstream would look at them all."""
HEAVY_COMPARISONS = 2000


def validate(attributes: Attributes) -> Awaitable[None] | None:
    """Raise Forbidden; raise NotFound for the binding of a role that is not there."""
    user, new, old = attributes.user, attributes.obj, attributes.old
    if new is None or user is None or MASTERS in user.groups:
        return None
    if old is not None and _without_collector(new) == _without_collector(old):
        return None
    if attributes.definition.resource in (ROLES, CLUSTER_ROLES):
        return _check_role(attributes, user, new, old)
    return _check_binding(attributes, user, new)


def _check_role(
    attributes: Attributes, user: User, new: Object, old: Object | None
) -> Awaitable[None] | None:
    resource = attributes.definition.resource
    name = attributes.name if old is not None else ""  # a POST names none
    if _may(attributes, user, "escalate", resource.plural, name):
        return None
    aggregates = new.get("aggregationRule") or (old or {}).get("aggregationRule")
    if aggregates and find_uncovered(attributes.catalog.authorizer.rules_for(user, "").rules, EVERYTHING):
        why = "must have cluster-admin privileges to use an aggregationRule"
        raise forbidden(resource, attributes.name, why)
    return _confirm(attributes, user, new.get("rules") or ())


def _check_binding(attributes: Attributes, user: User, binding: Object) -> Awaitable[None] | None:
    ref = binding["roleRef"]
    role = ROLES if ref["kind"] == "Role" else CLUSTER_ROLES
    if _may(attributes, user, "bind", role.plural, ref["name"]):
        return None
    found = attributes.catalog.of(role).find(attributes.namespace, ref["name"])
    if found is None:
        raise not_found(role, ref["name"])
    return _confirm(attributes, user, found.get("rules") or ())


def _may(attributes: Attributes, user: User, verb: str, plural: str, name: str) -> bool:
    info = RequestInfo(True, verb, "", ROLES.group, "*", attributes.namespace, plural, name)
    return attributes.catalog.authorizer.authorize(user, info).allowed


def _confirm(attributes: Attributes, user: User, rules: Sequence[Object]) -> Awaitable[None] | None:
    """Raise Forbidden unless the user has all of `rules`; what takes long is looked at aside."""
    held = attributes.catalog.authorizer.rules_for(user, attributes.namespace)
    if len(held.rules) * len(rules) > HEAVY_COMPARISONS:
        return _confirm_aside(attributes, user, rules, held)
    open_rules = without_covered(held.rules, rules)
    parts = sum(map(count_parts, open_rules))
    if parts * len(held.rules) > HEAVY_COMPARISONS:
        return _confirm_aside(attributes, user, open_rules, held)
    _refuse(attributes, user, find_uncovered(held.rules, open_rules), held)
    return None


async def _confirm_aside(attributes: Attributes, user: User, rules: Sequence[Object], held: Rules) -> None:
    comparisons = len(held.rules) * len(rules)
    if comparisons <= MAX_COMPARISONS:
        rules = await aside(without_covered, held.rules, rules)
        parts = sum(map(count_parts, rules))
        comparisons = parts * len(held.rules)
        if parts <= MAX_PARTS and comparisons <= MAX_COMPARISONS:
            _refuse(attributes, user, await aside(find_uncovered, held.rules, rules), held)
            return
    why = (
        f"user {quote(user.name)} is attempting to grant more RBAC permissions than can be compared with those held: "
        "name fewer groups, resources and verbs in a rule"
    )
    raise forbidden(attributes.definition.resource, attributes.name, why)


def _refuse(attributes: Attributes, user: User, missing: Sequence[Object], held: Rules) -> None:
    """Raise Forbidden where anything is missing."""
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
