"""Nobody reads by an admission policy what they may not read: its expressions see the parameters, and may say them.

Who gives a policy a paramKind must be allowed to get all objects of that kind; who binds one to a paramRef, the object
that it names. Exempt are members of system:masters. Not an admission plugin upstream but a part of the kinds' storage:
pkg/registry/admissionregistration/*/authz.go.
"""

from __future__ import annotations

from proa.apiserver.authorization.decision import MASTERS
from proa.apiserver.policies.parameters import BadConfiguration, find_parameter_kind
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.refusals import invalid_object
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Object, User
from proa.objects.resource import (
    MUTATING_ADMISSION_POLICIES,
    MUTATING_ADMISSION_POLICY_BINDINGS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
)
from proa.objects.validation import forbidden

_POLICIES = {
    VALIDATING_ADMISSION_POLICY_BINDINGS: VALIDATING_ADMISSION_POLICIES,
    MUTATING_ADMISSION_POLICY_BINDINGS: MUTATING_ADMISSION_POLICIES,
}
"""The kind of policy that each kind of binding binds."""
RESOURCES = (*_POLICIES, *_POLICIES.values())


def validate(attributes: Attributes) -> None:
    """Raise Invalid where the user may not read what the policy, or the binding, would."""
    user, new, old = attributes.user, attributes.obj, attributes.old
    if new is None or user is None or MASTERS in user.groups:
        return
    policies = _POLICIES.get(attributes.definition.resource)
    keys = ("paramKind",) if policies is None else ("paramRef", "policyName")
    spec, had = new.get("spec") or {}, (old or {}).get("spec") or {}
    said = spec.get(keys[0])
    if not said or all(spec.get(key) == had.get(key) for key in keys):
        return
    if policies is None:
        needed = _to_get(attributes, said, "*", "*")
        kind, version = said.get("kind") or "", said.get("apiVersion") or ""
        of = f"(kind={kind}, apiVersion={version})"
        why = f'must have "get" permission on all objects of the referenced paramKind {of}'
    else:
        policy = attributes.catalog.of(policies).find("", spec.get("policyName") or "")
        kind_of = ((policy or {}).get("spec") or {}).get("paramKind")
        needed = _to_get(attributes, kind_of, said.get("namespace") or "", said.get("name") or "")
        why = 'does not have "get" permission on the object referenced by paramRef'
    if not attributes.catalog.authorizer.authorize(user, needed).allowed:
        cause = forbidden(f"spec.{keys[0]}", f"user {_shown(user)} {why}")
        raise invalid_object(attributes.definition.resource, attributes.name, [cause])


def _to_get(attributes: Attributes, kind: Object | None, namespace: str, name: str) -> RequestInfo:
    """Return what must be allowed; everything that is not known must be allowed for all."""
    group = version = plural = "*"
    if kind is not None:
        group, _, version = (kind.get("apiVersion") or "").rpartition("/")
        try:
            plural = find_parameter_kind(attributes.catalog, kind).resource.plural
        except BadConfiguration:  # it may be served later
            plural = "*"
    return RequestInfo(True, "get", "", group, version, namespace, plural, name)


def _shown(user: User) -> str:
    """Return a user as Go prints one."""
    return f"&{{{user.name} {user.uid} [{' '.join(user.groups)}] map[]}}"
