"""Allow what the roles bound to a user allow, and nothing else: plugin/pkg/auth/authorizer/rbac/rbac.go.

What a user may do in a namespace is worked out once (`Grants`) and kept until any role or binding changes. A request
costs three look-ups, however many bindings there are.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from proa.apiserver.authorization.bindings import PREFIX, Binding, BindingIndex
from proa.apiserver.authorization.decision import NO_OPINION, Decision, Rules, aggregate
from proa.apiserver.authorization.rules import Matcher
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Object, User
from proa.store.protocol import Store

MAX_GRANTS = 4096
"""Pairs of user and namespace that are kept."""
MAX_QUESTIONS = 1024
"""Kinds of request that are kept for each."""


class RbacAuthorizer:
    """Judges by the roles and bindings in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._bindings = BindingIndex(store)
        self._grants: dict[tuple[str, tuple[str, ...], str], Grants] = {}

    def authorize(self, user: User, info: RequestInfo) -> Decision:
        """Allow, or have no opinion and say which roles could not be found."""
        return self._grants_of(user, info.namespace).decide(info)

    def rules_for(self, user: User, namespace: str) -> Rules:
        """Return the rules of the roles bound to `user`."""
        grants = self._grants_of(user, namespace)
        return Rules([matcher.rule for _, matcher in grants.matchers], errors=grants.errors)

    def rules_of_role(self, kind: str, name: str, namespace: str) -> Sequence[Object] | None:
        """Return the rules of a Role of a namespace, or of a ClusterRole; None where there is none."""
        place = f"roles/{namespace}/{name}" if kind == "Role" else f"clusterroles/{name}"
        entry = self._store.get(PREFIX + place)
        if entry is None:
            return None
        rules: list[Object] = orjson.loads(entry.value).get("rules") or []
        return rules

    def _grants_of(self, user: User, namespace: str) -> Grants:
        if self._bindings.refresh() or len(self._grants) > MAX_GRANTS:
            self._grants.clear()
        key = (user.name, user.groups, namespace)
        found = self._grants.get(key)
        if found is None:
            found = self._grants[key] = self._work_out(user, namespace)
        return found

    def _work_out(self, user: User, namespace: str) -> Grants:
        matchers: list[tuple[str, Matcher]] = []
        errors: list[str] = []
        for binding, shown in self._bindings.of(user, namespace):
            rules = self.rules_of_role(binding.role_kind, binding.role_name, binding.namespace)
            if rules is None:
                errors.append(_not_found(binding))
                continue
            reason = f"RBAC: allowed by {binding.describe(shown)}"
            matchers += [(reason, Matcher(rule)) for rule in rules]
        return Grants(matchers, tuple(errors))


class Grants:
    """What one user may do in one namespace: rules, each with the reason that it gives."""

    __slots__ = ("_known", "_refusal", "errors", "matchers")

    def __init__(self, matchers: Sequence[tuple[str, Matcher]], errors: tuple[str, ...]) -> None:
        self.matchers = matchers
        self.errors = errors
        self._refusal = Decision(reason=f"RBAC: {aggregate(errors)}") if errors else NO_OPINION
        self._known: dict[tuple[str, str, str, str], tuple[tuple[Decision, Matcher], ...]] = {}

    def decide(self, info: RequestInfo) -> Decision:
        """Return the first rule's word, else that none allows."""
        if not info.is_resource:
            for reason, matcher in self.matchers:
                if matcher.allows_path(info.verb, info.path):
                    return Decision(allowed=True, reason=reason)
            return self._refusal
        question = (info.verb, info.group, info.plural, info.subresource)
        candidates = self._known.get(question)
        if candidates is None:
            candidates = self._remember(question)
        name = info.name or info.selected_name
        for decision, matcher in candidates:
            if matcher.names(name):
                return decision
        return self._refusal

    def _remember(self, question: tuple[str, str, str, str]) -> tuple[tuple[Decision, Matcher], ...]:
        if len(self._known) >= MAX_QUESTIONS:
            self._known.clear()
        found = tuple(
            (Decision(allowed=True, reason=reason), matcher)
            for reason, matcher in self.matchers
            if matcher.concerns(*question)
        )
        self._known[question] = found
        return found


def _not_found(binding: Binding) -> str:
    plural = "roles" if binding.role_kind == "Role" else "clusterroles"
    singular = plural.removesuffix("s")
    return f'{singular}.rbac.authorization.k8s.io "{binding.role_name}" not found'
