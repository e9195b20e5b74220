"""Tell what a PolicyRule allows, and whether some rules cover others.

Rules are plain objects (rbac.authorization.k8s.io/v1 PolicyRule). Follows pkg/apis/rbac/v1/evaluation_helpers.go,
component-helpers/auth/rbac/validation/policy_comparator.go and pkg/registry/rbac/validation/policy_compact.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proa.client.protocol import Object
from proa.objects.validation import quote

ALL = "*"


class Matcher:
    """One rule, made ready for many questions."""

    __slots__ = ("_groups", "_names", "_prefixes", "_resources", "_urls", "_verbs", "rule")

    def __init__(self, rule: Object) -> None:
        self.rule = rule
        self._verbs = _set(rule.get("verbs"))
        self._groups = _set(rule.get("apiGroups"))
        self._resources = _set(rule.get("resources"))
        self._names = frozenset(rule.get("resourceNames") or ())
        self._urls = _set(rule.get("nonResourceURLs"))
        self._prefixes = tuple(u.rstrip(ALL) for u in rule.get("nonResourceURLs") or () if u.endswith(ALL))

    def concerns(self, verb: str, group: str, resource: str, subresource: str) -> bool:
        """Tell whether the rule is about this, whatever the object's name."""
        if not (_has(self._verbs, verb) and _has(self._groups, group)):
            return False
        if not subresource:
            return _has(self._resources, resource)
        return _has(self._resources, f"{resource}/{subresource}") or f"*/{subresource}" in (
            self._resources or ()
        )

    @property
    def has_paths(self) -> bool:
        """Tell whether the rule is about paths too."""
        return self._urls is None or bool(self._urls)

    def names(self, name: str) -> bool:
        """Tell whether the rule is about an object of this name ("" for none: a list, a create)."""
        return not self._names or name in self._names

    def allows_path(self, verb: str, path: str) -> bool:
        """Tell whether the rule allows a request that is for no resource."""
        return _has(self._verbs, verb) and (_has(self._urls, path) or path.startswith(self._prefixes))


def _set(values: Sequence[str] | None) -> frozenset[str] | None:
    """Return the values as a set; None stands for all."""
    return None if ALL in (values or ()) else frozenset(values or ())


def _has(values: frozenset[str] | None, value: str) -> bool:
    return values is None or value in values


# --- whether rules cover others ---------------------------------------------------------------------------------


def find_uncovered(held: Sequence[Object], wanted: Sequence[Object]) -> list[Object]:
    """Return the parts of `wanted` (a verb on one thing each) that no single rule of `held` covers."""
    return [
        part
        for rule in wanted
        for part in break_down(rule)
        if not any(_covers(owner, part) for owner in held)
    ]


def without_covered(held: Sequence[Object], wanted: Sequence[Object]) -> list[Object]:
    """Return the rules of `wanted` that no single rule of `held` covers as a whole: those that must be broken down."""
    return [rule for rule in wanted if not any(_covers(owner, rule) for owner in held)]


def count_parts(rule: Object) -> int:
    """Return how many parts `break_down` would yield."""
    groups, resources, verbs, urls = (
        len(rule.get(key) or ()) for key in ("apiGroups", "resources", "verbs", "nonResourceURLs")
    )
    return verbs * (groups * resources * max(len(rule.get("resourceNames") or ()), 1) + urls)


def break_down(rule: Object) -> Iterator[Object]:
    """Yield a rule's parts: one group, resource, verb and name each, or one URL and verb."""
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in rule.get("verbs") or ():
                part = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                names = rule.get("resourceNames") or ()
                if not names:
                    yield part
                for name in names:
                    yield {**part, "resourceNames": [name]}
    for url in rule.get("nonResourceURLs") or ():
        for verb in rule.get("verbs") or ():
            yield {"nonResourceURLs": [url], "verbs": [verb]}


def _covers(owner: Object, part: Object) -> bool:
    return (
        _holds(owner.get("verbs"), part["verbs"])
        and _holds(owner.get("apiGroups"), part.get("apiGroups"))
        and _holds_resources(owner.get("resources") or (), part.get("resources") or ())
        and _holds_urls(owner.get("nonResourceURLs") or (), part.get("nonResourceURLs") or ())
        and _holds_names(owner.get("resourceNames") or (), part.get("resourceNames") or ())
    )


def _holds(held: Sequence[str] | None, wanted: Sequence[str] | None) -> bool:
    return ALL in (held or ()) or set(wanted or ()) <= set(held or ())


def _holds_resources(held: Sequence[str], wanted: Sequence[str]) -> bool:
    if _holds(held, wanted):
        return True
    for resource in wanted:
        _, slash, subresource = resource.partition("/")
        if resource not in held and not (slash and f"*/{subresource}" in held):
            return False
    return True


def _holds_urls(held: Sequence[str], wanted: Sequence[str]) -> bool:
    return all(any(_holds_url(owner, url) for owner in held) for url in wanted)


def _holds_url(owner: str, url: str) -> bool:
    return owner in (url, ALL) or (owner.endswith(ALL) and url.startswith(owner.rstrip(ALL)))


def _holds_names(held: Sequence[str], wanted: Sequence[str]) -> bool:
    return not held if not wanted else not held or set(wanted) <= set(held)


# --- how rules are said -----------------------------------------------------------------------------------------


def compact(parts: Sequence[Object]) -> list[Object]:
    """Join the parts that differ in their verbs alone."""
    joined: dict[tuple[str, str], Object] = {}
    others = []
    for part in parts:
        if part.get("resourceNames") or part.get("nonResourceURLs"):
            others.append(part)
            continue
        key = (part["apiGroups"][0], part["resources"][0])
        verbs = joined[key]["verbs"] if key in joined else []
        joined[key] = {**part, "verbs": [*verbs, *part["verbs"]]}
    return [*others, *joined.values()]


def describe(rule: Object) -> str:
    """Return a rule in one line, as upstream prints it."""
    said = [f"{name}:[{' '.join(map(quote, rule[key]))}]" for key, name in _FIELDS if rule.get(key)]
    return "{" + ", ".join(said) + "}"


_FIELDS = (
    ("apiGroups", "APIGroups"),
    ("resources", "Resources"),
    ("nonResourceURLs", "NonResourceURLs"),
    ("resourceNames", "ResourceNames"),
    ("verbs", "Verbs"),
)
