"""Decide what an HTTPRoute asks of the proxy, and what is wrong with it. Pure.

Follows gateway.networking.k8s.io/v1 (HTTPRoute of the standard channel). What could not be carried out as it is written
makes the whole route not accepted; a backend that cannot be used has its share of the requests answered with 500.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.network.gateway.durations import read_duration
from proa.network.gateway.filters import Unsupported, find_reference, read_edits, read_filters
from proa.network.gateway.gateways import Condition
from proa.network.gateway.model import (
    BackendKey,
    PathMatch,
    Route,
    Target,
    ValueMatch,
    make_order,
)
from proa.network.gateway.retries import read_retry
from proa.network.gateway.world import World
from proa.objects import meta

KIND = "HTTPRoute"


class RulesPlan(NamedTuple):
    """A route's rules, for whichever hostnames; `unsupported` says what cannot be carried out ("" all can)."""

    routes: tuple[Route, ...]
    resolved: Condition
    unsupported: str


def plan_rules(route: Object, world: World) -> RulesPlan:
    """Return what an HTTPRoute's rules ask for."""
    problems: list[Condition] = []
    routes: list[Route] = []
    try:
        for number, rule in enumerate((route.get("spec") or {}).get("rules") or ()):
            routes += _plan_rule(route, number, rule, world, problems)
    except Unsupported as unsupported:
        return RulesPlan((), resolved_condition(problems), str(unsupported))
    return RulesPlan(tuple(routes), resolved_condition(problems), "")


def resolved_condition(problems: Sequence[Condition]) -> Condition:
    """Return the condition of all references: the first problem's, if there is any."""
    if problems:
        return problems[0]
    return Condition("ResolvedRefs", True, "ResolvedRefs", "all references are resolved")


def _plan_rule(
    route: Object, number: int, rule: Mapping[str, Any], world: World, problems: list[Condition]
) -> Iterable[Route]:
    owner = f"{meta.namespace(route)}/{meta.name(route)}"
    created = route["metadata"].get("creationTimestamp") or ""
    filters = read_filters(route, KIND, rule.get("filters") or (), world, problems)
    targets = read_targets(route, KIND, rule, world, problems)
    timeouts = rule.get("timeouts") or {}
    retry = read_retry(route, rule)
    for index, match in enumerate(rule.get("matches") or ({},)):
        path = _path_match(match.get("path") or {})
        headers, queries = (_value_matches(match.get(field) or ()) for field in ("headers", "queryParams"))
        method = match.get("method") or ""
        yield filters.applied_to(
            Route(
                name=f"{KIND}/{owner}/{rule.get('name') or number}",
                order=make_order(
                    path,
                    owner=owner,
                    created=created,
                    rule=number,
                    match=index,
                    method=method,
                    headers=len(headers),
                    queries=len(queries),
                ),
                path=path,
                method=method,
                headers=headers,
                queries=queries,
                targets=targets if filters.redirect is None else (),
                timeout_seconds=read_duration(timeouts.get("request")),
                backend_timeout_seconds=read_duration(timeouts.get("backendRequest")),
                retry=retry,
            )
        )


def _path_match(path: Mapping[str, Any]) -> PathMatch:
    kind, value = path.get("type") or "PathPrefix", path.get("value") or "/"
    if kind == "Exact":
        return PathMatch("exact", value)
    if kind == "RegularExpression":
        return PathMatch("regex", check_regex(value))
    return PathMatch("prefix", value.rstrip("/") or "/")


def _value_matches(entries: Sequence[Mapping[str, Any]]) -> tuple[ValueMatch, ...]:
    """Return the matches by name; of several for one name (headers: whatever their case) the first counts."""
    found: dict[str, ValueMatch] = {}
    for entry in entries:
        found.setdefault(entry["name"].lower(), read_value_match(entry))
    return tuple(found.values())


def read_value_match(entry: Mapping[str, Any]) -> ValueMatch:
    """Return a header's or query parameter's match; raise Unsupported."""
    if (entry.get("type") or "Exact") == "RegularExpression":
        return ValueMatch(entry["name"], check_regex(entry["value"]), True)
    return ValueMatch(entry["name"], entry["value"])


def check_regex(pattern: str) -> str:
    """Return a regular expression that RE2, as Envoy has it, takes; raise Unsupported."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        raise Unsupported(f"{pattern!r} is no regular expression of RE2: {error}") from None
    return pattern


def read_targets(
    route: Object, kind: str, rule: Mapping[str, Any], world: World, problems: list[Condition]
) -> tuple[Target, ...]:
    """Return the backends of a rule with their weights; note what is wrong with them. Raises Unsupported."""
    targets = []
    for entry in rule.get("backendRefs") or ():
        weight = entry.get("weight", 1)
        found = find_reference(route, kind, entry, world, is_http2=kind == "GRPCRoute")
        if isinstance(found, Condition):
            problems.append(found)
        backend = found if isinstance(found, BackendKey) else None
        request, response = read_edits(entry.get("filters") or ())
        if weight:
            targets.append(Target(backend, weight, request, response))
    return tuple(targets)
