"""Allow what the roles bound to a user allow, and nothing else: plugin/pkg/auth/authorizer/rbac/rbac.go.

What a user may do in a namespace is worked out once (`Grants`) and kept until any role or binding changes; what a role
allows is kept for as long as the role is the same. A request costs three look-ups, however many bindings there are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from functools import cached_property

import orjson

from proa.apiserver.authorization.bindings import PREFIX, Binding, BindingIndex
from proa.apiserver.authorization.decision import NO_OPINION, Decision, Rules, aggregate
from proa.apiserver.authorization.rules import Matcher
from proa.apiserver.pace import HEAVY_BYTES, Pace, aside, slices
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import User
from proa.store.protocol import Store

MAX_GRANTS = 4096
"""Pairs of user and namespace that are kept."""
MAX_ROLES = 4096
MAX_QUESTIONS = 1024
"""Kinds of request that are kept for each."""
QUICK_MATCHERS = 2_000
"""So many rules are looked at within a millisecond."""
MATCHERS_AT_ONCE = 500

Question = tuple[str, str, str, str]
"""Verb, group, resource and subresource."""


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

    def preparation(self, user: User, info: RequestInfo) -> Awaitable[None] | None:
        """Return what reads the roles bound to `user` and looks for the rules about `info`, where these are many."""
        key = self._key(user, info.namespace)
        grants = self._grants.get(key)
        if grants is None:
            unread = [place for place in self._places(user, info.namespace) if not self._is_read(place)]
            if sum(self._size_of(place) for place in unread) > HEAVY_BYTES:
                return self._prepare(user, info, unread)
            grants = self._grants_of(user, info.namespace)
        return None if grants.is_quick(info) else grants.prepare(info)

    async def _prepare(self, user: User, info: RequestInfo, unread: Sequence[str]) -> None:
        pace = Pace()
        for place in unread:
            await self._read_slowly(place, pace)
        grants = self._grants_of(user, info.namespace)
        if not grants.is_quick(info):
            await grants.prepare(info)

    async def _read_slowly(self, place: str, pace: Pace) -> None:
        entry = self._store.get(place)
        if entry is None:
            return
        rules = (await aside(orjson.loads, entry.value)).get("rules") or ()
        matchers: list[Matcher] = []
        for part in slices(rules, MATCHERS_AT_ONCE):
            matchers += map(Matcher, part)
            await pace.give_way()
        self._keep_role(place, entry.revision, matchers)

    def _places(self, user: User, namespace: str) -> set[str]:
        return {_place_of(binding) for binding, _ in self._bindings.of(user, namespace)}

    def _is_read(self, place: str) -> bool:
        entry, known = self._store.get(place), self._roles.get(place)
        return entry is None or (known is not None and known[0] == entry.revision)

    def _size_of(self, place: str) -> int:
        entry = self._store.get(place)
        return 0 if entry is None else len(entry.value)

    def _key(self, user: User, namespace: str) -> tuple[str, tuple[str, ...], str]:
        """Return what grants are kept by, once what has changed is taken in."""
        if self._bindings.refresh():
            self._grants.clear()
        return (user.name, user.groups, namespace)

    def _grants_of(self, user: User, namespace: str) -> Grants:
        key = self._key(user, namespace)
        found = self._grants.get(key)
        if found is None:
            if len(self._grants) >= MAX_GRANTS:
                self._grants.clear()
            found = self._grants[key] = self._work_out(user, namespace)
        return found

    def _work_out(self, user: User, namespace: str) -> Grants:
        bound: dict[str, tuple[Binding, str, tuple[Matcher, ...]]] = {}
        errors: list[str] = []
        for binding, shown in self._bindings.of(user, namespace):
            place = _place_of(binding)
            if place in bound:
                continue  # another binding of the same role allows nothing more
            matchers = self._role(place)
            if matchers is None:
                errors.append(_not_found(binding))
            else:
                bound[place] = (binding, shown, matchers)
        return Grants([*bound.values()], tuple(errors))

    def _role(self, place: str) -> tuple[Matcher, ...] | None:
        """Return the rules of a role, None where there is none."""
        entry = self._store.get(place)
        if entry is None:
            self._roles.pop(place, None)
            return None
        known = self._roles.get(place)
        if known is None or known[0] != entry.revision:
            rules = orjson.loads(entry.value).get("rules") or ()
            return self._keep_role(place, entry.revision, map(Matcher, rules))
        return known[1]

    def _keep_role(self, place: str, revision: int, matchers: Iterable[Matcher]) -> tuple[Matcher, ...]:
        kept = tuple(matchers)
        self._roles[place] = (revision, kept)
        if len(self._roles) > MAX_ROLES:
            del self._roles[next(iter(self._roles))]
        return kept


class Grants:
    """What one user may do in one namespace: the bindings, the subject that each names, and the rules it gives."""

    def __init__(
        self, bound: Sequence[tuple[Binding, str, tuple[Matcher, ...]]], errors: tuple[str, ...]
    ) -> None:
        self.bound = bound
        self.errors = errors
        self._refusal = Decision(reason=f"RBAC: {aggregate(errors)}") if errors else NO_OPINION
        self._known: dict[Question, tuple[tuple[Decision, Matcher], ...]] = {}
        self._is_small = sum(len(matchers) for _, _, matchers in bound) <= QUICK_MATCHERS

    def decide(self, info: RequestInfo) -> Decision:
        """Return the first rule's word, else that none allows."""
        if not info.is_resource:
            return self._decide_path(info.verb, info.path)
        question = _question(info)
        candidates = self._known.get(question)
        if candidates is None:
            candidates = self._remember(question)
        name = info.name or info.selected_name
        for decision, matcher in candidates:
            if matcher.names(name):
                return decision
        return self._refusal

    def is_quick(self, info: RequestInfo) -> bool:
        """Tell whether `decide` need not look at thousands of rules."""
        return self._is_small or (info.is_resource and _question(info) in self._known)

    async def prepare(self, info: RequestInfo) -> None:
        """Look at the rules for a kind of request, and give way now and then."""
        if not info.is_resource:
            return  # few rules are about paths
        pace = Pace()
        found: list[tuple[Decision, Matcher]] = []
        question = _question(info)
        for binding, shown, matchers in self.bound:
            for part in slices(matchers, MATCHERS_AT_ONCE):
                found += _about(question, binding, shown, part)
                await pace.give_way()
        self._keep(question, found)

    def _decide_path(self, verb: str, path: str) -> Decision:
        for binding, shown, matchers in self._about_paths:
            if any(matcher.allows_path(verb, path) for matcher in matchers):
                return _allowed_by(binding, shown)
        return self._refusal

    @cached_property
    def _about_paths(self) -> Sequence[tuple[Binding, str, Sequence[Matcher]]]:
        """Return what is bound without the rules that are about no path: most."""
        found = [(b, shown, [m for m in matchers if m.has_paths]) for b, shown, matchers in self.bound]
        return [each for each in found if each[2]]

    def _remember(self, question: Question) -> tuple[tuple[Decision, Matcher], ...]:
        """Keep, for a kind of request, the rules that are about it."""
        found: list[tuple[Decision, Matcher]] = []
        for bound in self.bound:
            found += _about(question, *bound)
        return self._keep(question, found)

    def _keep(
        self, question: Question, found: Sequence[tuple[Decision, Matcher]]
    ) -> tuple[tuple[Decision, Matcher], ...]:
        if len(self._known) >= MAX_QUESTIONS:
            self._known.clear()
        kept = self._known[question] = tuple(found)
        return kept


def _question(info: RequestInfo) -> Question:
    return (info.verb, info.group, info.plural, info.subresource)


def _about(
    question: Question, binding: Binding, shown: str, matchers: Sequence[Matcher]
) -> list[tuple[Decision, Matcher]]:
    """Return the rules that are about a kind of request, with what is said when one allows it."""
    concerned = [matcher for matcher in matchers if matcher.concerns(*question)]
    return [(_allowed_by(binding, shown), matcher) for matcher in concerned]


def _place_of(binding: Binding) -> str:
    """Return the key of a binding's role."""
    place = f"roles/{binding.namespace}/" if binding.role_kind == "Role" else "clusterroles/"
    return f"{PREFIX}{place}{binding.role_name}"


def _allowed_by(binding: Binding, shown: str) -> Decision:
    return Decision(allowed=True, reason=f"RBAC: allowed by {binding.describe(shown)}")


def _not_found(binding: Binding) -> str:
    plural = "roles" if binding.role_kind == "Role" else "clusterroles"
    singular = plural.removesuffix("s")
    return f'{singular}.rbac.authorization.k8s.io "{binding.role_name}" not found'
