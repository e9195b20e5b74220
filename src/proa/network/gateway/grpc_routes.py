"""Decide what a GRPCRoute asks of the proxy, and what is wrong with it. Pure.

Follows gateway.networking.k8s.io/v1 (GRPCRoute): a method is the path `/service/method`; backends speak HTTP/2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proa.client.protocol import Object
from proa.network.gateway.filters import Unsupported, read_filters
from proa.network.gateway.gateways import Condition
from proa.network.gateway.http_routes import (
    RulesPlan,
    check_regex,
    read_targets,
    read_value_match,
    resolved_condition,
)
from proa.network.gateway.model import PathMatch, Route, ValueMatch, make_order
from proa.network.gateway.retries import read_retry
from proa.network.gateway.world import World
from proa.objects import meta

KIND = "GRPCRoute"


def plan_rules(route: Object, world: World) -> RulesPlan:
    """Return what a GRPCRoute's rules ask for."""
    problems: list[Condition] = []
    routes: list[Route] = []
    try:
        for number, rule in enumerate((route.get("spec") or {}).get("rules") or ()):
            routes += _plan_rule(route, number, rule, world, problems)
    except Unsupported as unsupported:
        return RulesPlan((), resolved_condition(problems), str(unsupported))
    return RulesPlan(tuple(routes), resolved_condition(problems), "")


def _plan_rule(
    route: Object, number: int, rule: Mapping[str, Any], world: World, problems: list[Condition]
) -> Iterable[Route]:
    owner = f"{meta.namespace(route)}/{meta.name(route)}"
    created = route["metadata"].get("creationTimestamp") or ""
    filters = read_filters(route, KIND, rule.get("filters") or (), world, problems)
    targets = read_targets(route, KIND, rule, world, problems)
    retry = read_retry(route, rule)
    for index, match in enumerate(rule.get("matches") or ({},)):
        path = _path_match(match.get("method") or {})
        headers = _headers(match.get("headers") or ())
        yield filters.applied_to(
            Route(
                name=f"{KIND}/{owner}/{rule.get('name') or number}",
                order=make_order(
                    path, owner=owner, created=created, rule=number, match=index, headers=len(headers)
                ),
                path=path,
                headers=headers,
                targets=targets,
                retry=retry,
                is_grpc=True,
            )
        )


def _path_match(method: Mapping[str, Any]) -> PathMatch:
    service, name = method.get("service") or "", method.get("method") or ""
    if (method.get("type") or "Exact") == "RegularExpression":
        return PathMatch("regex", check_regex(f"/(?:{service or '[^/]+'})/(?:{name or '[^/]+'})"))
    if service and name:
        return PathMatch("exact", f"/{service}/{name}")
    if service:
        return PathMatch("prefix", f"/{service}")
    return PathMatch("regex", f"/[^/]+/{re.escape(name)}") if name else PathMatch("prefix", "/")


def _headers(entries: Sequence[Mapping[str, Any]]) -> tuple[ValueMatch, ...]:
    found: dict[str, ValueMatch] = {}
    for entry in entries:
        found.setdefault(entry["name"].lower(), read_value_match(entry))
    return tuple(found.values())
