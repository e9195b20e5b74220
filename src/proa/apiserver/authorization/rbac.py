"""Allow what the roles bound to a user allow, and nothing else: plugin/pkg/auth/authorizer/rbac/rbac.go.

What a user may do in a namespace is worked out once (`Grants`) and kept until any role or binding changes; what a role
allows is kept for as long as the role is the same. A request costs three look-ups, however many bindings there are.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from proa.apiserver.authorization.bindings import PREFIX, Binding, BindingIndex
from proa.apiserver.authorization.decision import NO_OPINION, Decision, Rules, aggregate
from proa.apiserver.authorization.rules import Matcher
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import User
from proa.store.protocol import Store

MAX_GRANTS = 4096
"""Pairs of user and namespace that are kept."""
MAX_ROLES = 4096
MAX_QUESTIONS = 1024
"""Kinds of request that are kept for each."""


class RbacAuthorizer:
    """Judges by the roles and bindings in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._bindings = BindingIndex(store)
        self._grants: dict[tuple[str, tuple[str, ...], str], Grants] = {}
        self._roles: dict[str, tuple[int, tuple[Matcher, ...]]] = {}
        """Each role's revision and rules, by its key."""

    def authorize(self, user: User, info: RequestInfo) -> Decision:
        """Allow, or have no opinion and say which roles could not be found."""
        return self._grants_of(user, info.namespace).decide(info)

    def rules_for(self, user: User, namespace: str) -> Rules:
        """Return the rules of the roles bound to `user`."""
        grants = self._grants_of(user, namespace)
        rules = [matcher.rule for _, _, matchers in grants.bound for matcher in matchers]
        return Rules(rules, errors=grants.errors)

    def _grants_of(self, user: User, namespace: str) -> Grants:
        if self._bindings.refresh():
            self._grants.clear()
        key = (user.name, user.groups, namespace)
        found = self._grants.get(key)
        if found is None:
            if len(self._grants) >= MAX_GRANTS:
                self._grants.clear()
            found = self._grants[key] = self._work_out(user, namespace)
        return found

    def _work_out(self, user: User, namespace: str) -> Grants:
        bound: list[tuple[Binding, str, tuple[Matcher, ...]]] = []
        errors: list[str] = []
        for binding, shown in self._bindings.of(user, namespace):
            matchers = self._role(binding)
            if matchers is None:
                errors.append(_not_found(binding))
            else:
                bound.append((binding, shown, matchers))
        return Grants(bound, tuple(errors))

    def _role(self, binding: Binding) -> tuple[Matcher, ...] | None:
        """Return the rules of a binding's role, None where there is none."""
        is_role = binding.role_kind == "Role"
        place = f"roles/{binding.namespace}/" if is_role else "clusterroles/"
        key = f"{PREFIX}{place}{binding.role_name}"
        entry = self._store.get(key)
        if entry is None:
            self._roles.pop(key, None)
            return None
        known = self._roles.get(key)
        if known is None or known[0] != entry.revision:
            if len(self._roles) > MAX_ROLES:
                self._roles.clear()
            rules = orjson.loads(entry.value).get("rules") or ()
            known = self._roles[key] = (entry.revision, tuple(map(Matcher, rules)))
        return known[1]


class Grants:
    """What one user may do in one namespace: the bindings, the subject that each names, and the rules it gives."""

    __slots__ = ("_known", "_refusal", "bound", "errors")

    def __init__(
        self, bound: Sequence[tuple[Binding, str, tuple[Matcher, ...]]], errors: tuple[str, ...]
    ) -> None:
        self.bound = bound
        self.errors = errors
        self._refusal = Decision(reason=f"RBAC: {aggregate(errors)}") if errors else NO_OPINION
        self._known: dict[tuple[str, str, str, str], tuple[tuple[Decision, Matcher], ...]] = {}

    def decide(self, info: RequestInfo) -> Decision:
        """Return the first rule's word, else that none allows."""
        if not info.is_resource:
            return self._decide_path(info.verb, info.path)
        question = (info.verb, info.group, info.plural, info.subresource)
        candidates = self._known.get(question)
        if candidates is None:
            candidates = self._remember(question)
        name = info.name or info.selected_name
        for decision, matcher in candidates:
            if matcher.names(name):
                return decision
        return self._refusal

    def _decide_path(self, verb: str, path: str) -> Decision:
        for binding, shown, matchers in self.bound:
            if any(matcher.allows_path(verb, path) for matcher in matchers):
                return _allowed_by(binding, shown)
        return self._refusal

    def _remember(self, question: tuple[str, str, str, str]) -> tuple[tuple[Decision, Matcher], ...]:
        """Keep, for a kind of request, the rules that are about it."""
        if len(self._known) >= MAX_QUESTIONS:
            self._known.clear()
        found = tuple(
            (_allowed_by(binding, shown), matcher)
            for binding, shown, matchers in self.bound
            for matcher in matchers
            if matcher.concerns(*question)
        )
        self._known[question] = found
        return found


def _allowed_by(binding: Binding, shown: str) -> Decision:
    return Decision(allowed=True, reason=f"RBAC: allowed by {binding.describe(shown)}")


def _not_found(binding: Binding) -> str:
    plural = "roles" if binding.role_kind == "Role" else "clusterroles"
    singular = plural.removesuffix("s")
    return f'{singular}.rbac.authorization.k8s.io "{binding.role_name}" not found'
