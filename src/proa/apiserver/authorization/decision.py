"""Say whether somebody may do something, and why: what authorizers answer, and how several are asked in turn.

What is asked is a `RequestInfo` (with the verb, resource or path). Follows apiserver/pkg/authorization/authorizer,
union and authorizerfactory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import field
from typing import Protocol

from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Object, User
from proa.objects.quick_dataclass import dataclass

MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed, denied for good, or neither: then the next authorizer is asked. `error` is what could not be judged."""

    allowed: bool = False
    denied: bool = False
    reason: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """The PolicyRules that somebody has; `incomplete` where an authorizer cannot list its own."""

    rules: Sequence[Object] = ()
    incomplete: bool = False
    errors: tuple[str, ...] = field(default=())


class Authorizer(Protocol):
    """Judges requests. Runs on every request: microseconds, and nothing that waits."""

    def authorize(self, user: User, info: RequestInfo) -> Decision:
        """Tell whether `user` may do what `info` says."""

    def rules_for(self, user: User, namespace: str) -> Rules:
        """Return what `user` may do in a namespace ("" for the cluster)."""

    def preparation(self, user: User, info: RequestInfo) -> Awaitable[None] | None:
        """Return what makes `authorize` quick, None where it is already: most of the time."""


ALLOWED = Decision(allowed=True)
NO_OPINION = Decision()
EVERYTHING: tuple[Object, ...] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)


class AlwaysAllow:
    """Allows everybody everything."""

    def authorize(self, user: User, info: RequestInfo) -> Decision:
        """Allow."""
        return ALLOWED

    def rules_for(self, user: User, namespace: str) -> Rules:
        """Return the rules that allow everything."""
        return Rules(EVERYTHING)

    def preparation(self, user: User, info: RequestInfo) -> None:
        """There is nothing to prepare."""


class PrivilegedGroup:
    """Allows members of system:masters everything, before and whatever the other authorizers say."""

    def authorize(self, user: User, info: RequestInfo) -> Decision:
        """Allow, or have no opinion."""
        return ALLOWED if MASTERS in user.groups else NO_OPINION

    def rules_for(self, user: User, namespace: str) -> Rules:
        """Return nothing: upstream's cannot list rules; the role cluster-admin is bound to the group too."""
        return Rules()

    def preparation(self, user: User, info: RequestInfo) -> None:
        """There is nothing to prepare."""


class AuthorizerChain:
    """Asks each in turn until one allows or denies."""

    def __init__(self, *authorizers: Authorizer) -> None:
        self._authorizers = authorizers

    def authorize(self, user: User, info: RequestInfo) -> Decision:
        """Return the first opinion; without any, all that was said."""
        silent: list[Decision] = []
        for authorizer in self._authorizers:
            decision = authorizer.authorize(user, info)
            if decision.allowed or decision.denied:
                return decision
            if decision is not NO_OPINION:
                silent.append(decision)
        if not silent:
            return NO_OPINION
        reason = "\n".join(d.reason for d in silent if d.reason)
        return Decision(reason=reason, error=aggregate([d.error for d in silent if d.error]))

    def rules_for(self, user: User, namespace: str) -> Rules:
        """Return what all of them list."""
        found = [authorizer.rules_for(user, namespace) for authorizer in self._authorizers]
        rules = [rule for each in found for rule in each.rules]
        errors = tuple(error for each in found for error in each.errors)
        return Rules(rules, any(each.incomplete for each in found), errors)

    def preparation(self, user: User, info: RequestInfo) -> Awaitable[None] | None:
        """Return the first that has something to prepare; who may do everything is not kept waiting."""
        if MASTERS in user.groups:
            return None
        for authorizer in self._authorizers:
            preparation = authorizer.preparation(user, info)
            if preparation is not None:
                return preparation
        return None


def aggregate(messages: Sequence[str]) -> str:
    """Return several errors as one, as apimachinery/pkg/util/errors prints an Aggregate."""
    unique = list(dict.fromkeys(messages))
    return unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]" if unique else ""
