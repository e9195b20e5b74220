"""Say routes in Envoy's words (its v3 API, as JSON). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from proa.network.gateway.envoy_config import TYPE, Json
from proa.network.gateway.model import (
    Cors,
    Door,
    HeaderEdits,
    PathChange,
    PathMatch,
    Redirect,
    Retry,
    Route,
    Target,
    ValueMatch,
)

_ANY_REST = re.compile(r"\^?([\w/ -]+)\.\*\$?", re.ASCII)
"""A regular expression, of the whole value, for all that begins with something."""
NOWHERE = "nowhere"
"""A cluster that there is not: requests to it are answered with 500."""
RETRY_ON = "connect-failure,refused-stream,reset-before-request"
"""Only what no backend has seen is sent again, so that this is harmless for any method."""
MAX_BACK_OFF_FACTOR = 10
REPEATABLE_BODY_BYTES = 4 << 20
"""A request with a longer body is not sent again once it was begun."""
REDIRECT_CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
SCHEME_PORTS = {"http": 80, "https": 443}


def make_routes(name: str, door: Door, public_ports: Mapping[int, int]) -> Json:
    """Return the routes behind a door. `public_ports` says which port the host has for each port of a listener."""
    hosts: dict[tuple[int, ...], Json] = {}
    for host, routes in sorted(door.sites.items()):
        key = tuple(map(id, routes))  # hostnames of one object share its routes, which are said once
        if key not in hosts:
            made = [_make_route(route, door, public_ports) for route in routes]
            hosts[key] = {"name": host or "*", "domains": [], "routes": made}
        hosts[key]["domains"].append(host or "*")
    return {"name": name, "virtual_hosts": [*hosts.values()], "ignore_port_in_host_matching": True}


def _make_route(route: Route, door: Door, public_ports: Mapping[int, int]) -> Json:
    made: Json = {"name": route.name, "match": _make_match(route)}
    if route.redirect is not None:
        made["redirect"] = _make_redirect(route, route.redirect, door, public_ports)
    elif not route.targets:
        made["direct_response"] = {"status": route.status}
    else:
        made["route"] = _make_action(route)
        if route.retry.on_reset or route.retry.codes:
            made["request_body_buffer_limit"] = REPEATABLE_BODY_BYTES
        made |= _edits("request", route.request_headers)
    made |= _edits("response", route.response_headers)
    if route.cors is not None:
        made["typed_per_filter_config"] = {"envoy.filters.http.cors": _make_cors(route.cors)}
    return made


def _make_match(route: Route) -> Json:
    match: Json = _path_match(route.path)
    headers = [_header_match(header) for header in route.headers]
    if route.method:
        headers.append({"name": ":method", "string_match": {"exact": route.method}})
    if route.label_only:
        pattern = rf"[^.]+\.{re.escape(route.label_only)}(:[0-9]+)?"
        headers.append({"name": ":authority", "string_match": {"safe_regex": {"regex": f"(?i){pattern}"}}})
    if headers:
        match["headers"] = headers
    if route.queries:
        match["query_parameters"] = [_value_match(query) for query in route.queries]
    if route.is_grpc:
        match["grpc"] = {}
    return match


def _path_match(path: PathMatch) -> Json:
    if path.kind == "exact":
        return {"path": path.value}
    if path.kind == "regex":
        return {"safe_regex": {"regex": path.value}}
    if path.value == "/":
        return {"prefix": "/"}
    if {"?", "#"} & {*path.value}:  # no path has them, and Envoy refuses all routes for one such prefix
        return {"path": path.value}
    return {"path_separated_prefix": path.value}


def _header_match(match: ValueMatch) -> Json:
    """Return the match; what only asks for a beginning without a regular expression, which would cost each request."""
    beginning = _ANY_REST.fullmatch(match.value) if match.is_regex else None
    if beginning is None:
        return _value_match(match)
    return {"name": match.name, "string_match": {"prefix": beginning[1]}}


def _value_match(match: ValueMatch) -> Json:
    how: Json = {"safe_regex": {"regex": match.value}} if match.is_regex else {"exact": match.value}
    return {"name": match.name, "string_match": how}


def _make_action(route: Route) -> Json:
    action: Json = {
        "weighted_clusters": {"clusters": [_share(target) for target in route.targets]},
        "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR",
        "timeout": _seconds(route.timeout_seconds),
        "retry_policy": _make_retry(route.retry),
    }
    if route.backend_timeout_seconds:
        action["retry_policy"]["per_try_timeout"] = _seconds(route.backend_timeout_seconds)
    if route.rewrite is not None:
        if route.rewrite.hostname:
            action["host_rewrite_literal"] = route.rewrite.hostname
        if route.rewrite.path is not None:
            action["regex_rewrite"] = _rewrite(route.path, route.rewrite.path)
    if route.mirrors:
        action["request_mirror_policies"] = [
            {
                "cluster": str(mirror.backend),
                "runtime_fraction": {"default_value": _fraction(mirror.numerator, mirror.denominator)},
            }
            for mirror in route.mirrors
        ]
    return action


def _make_retry(retry: Retry) -> Json:
    conditions = [RETRY_ON]
    if retry.on_reset:
        conditions.append("reset")
    if retry.codes:
        conditions.append("retriable-status-codes")
    other_hosts = f"{TYPE}extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {
        "retry_on": ",".join(conditions),
        "retriable_status_codes": [*retry.codes],
        "num_retries": retry.attempts,
        "retry_back_off": {
            "base_interval": _seconds(retry.backoff_seconds),
            "max_interval": _seconds(retry.backoff_seconds * MAX_BACK_OFF_FACTOR),
        },
        "retry_host_predicate": [
            {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": other_hosts}}
        ],
        "host_selection_retry_max_attempts": 10,
    }


def _share(target: Target) -> Json:
    share: Json = {
        "name": str(target.backend) if target.backend is not None else NOWHERE,
        "weight": target.weight,
    }
    share |= _edits("request", target.request_headers)
    return share | _edits("response", target.response_headers)


def _fraction(numerator: int, denominator: int) -> Json:
    """Return a fraction in millionths, which is the finest that Envoy has."""
    return {"numerator": min(round(numerator * 1e6 / denominator), 1_000_000), "denominator": "MILLION"}


def _seconds(seconds: float | None) -> str:
    return f"{seconds or 0:.3f}s"


def _rewrite(match: PathMatch, change: PathChange) -> Json:
    """Return the rewrite of a path: as a whole, or of the prefix that was matched."""
    new = change.value.replace("\\", r"\\")
    if change.kind == "full":
        return {"pattern": {"regex": "^.*$"}, "substitution": new}
    old = match.value.rstrip("/")
    stripped = new.rstrip("/")
    if not stripped:
        return {"pattern": {"regex": f"^{re.escape(old)}/*(.*)$"}, "substitution": r"/\1"}
    if not old:
        return {"pattern": {"regex": "^/*(.*)$"}, "substitution": rf"{stripped}/\1"}
    return {"pattern": {"regex": f"^{re.escape(old)}(.*)$"}, "substitution": rf"{stripped}\1"}


def _make_redirect(route: Route, redirect: Redirect, door: Door, public_ports: Mapping[int, int]) -> Json:
    scheme = redirect.scheme or door.key.protocol.lower()
    made: Json = {"response_code": REDIRECT_CODES[redirect.status]}
    if redirect.scheme:
        made["scheme_redirect"] = redirect.scheme
    if redirect.hostname:
        made["host_redirect"] = redirect.hostname
    wanted = redirect.port or (SCHEME_PORTS[scheme] if redirect.scheme else door.key.port)
    port = public_ports.get(wanted, wanted)
    is_elsewhere = bool(redirect.scheme or redirect.hostname or redirect.port)
    if is_elsewhere and port != SCHEME_PORTS[scheme]:
        made["port_redirect"] = port
    if redirect.path is not None and redirect.path.kind == "full":
        made["path_redirect"] = redirect.path.value
    elif redirect.path is not None:
        made["regex_rewrite"] = _rewrite(route.path, redirect.path)
    return made


def _edits(side: str, edits: HeaderEdits) -> Json:
    made: Json = {}
    add = [
        {"header": {"key": name, "value": value.replace("%", "%%")}, "append_action": action}
        for entries, action in (
            (edits.set, "OVERWRITE_IF_EXISTS_OR_ADD"),
            (edits.add, "APPEND_IF_EXISTS_OR_ADD"),
        )
        for name, value in entries
    ]
    if add:
        made[f"{side}_headers_to_add"] = add
    if edits.remove:
        made[f"{side}_headers_to_remove"] = [*edits.remove]
    return made


def _make_cors(cors: Cors) -> Json:
    made: Json = {
        "@type": f"{TYPE}extensions.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [_origin(origin) for origin in cors.origins],
        "allow_credentials": cors.allow_credentials,
    }
    lists = {
        "allow_methods": cors.methods,
        "allow_headers": cors.headers,
        "expose_headers": cors.exposed_headers,
    }
    made |= {field: ", ".join(values) for field, values in lists.items() if values}
    if cors.max_age_seconds:
        made["max_age"] = str(cors.max_age_seconds)
    return made


def _origin(origin: str) -> Json:
    if "*" not in origin:
        return {"exact": origin}
    return {"safe_regex": {"regex": ".*".join(re.escape(part) for part in origin.split("*"))}}
