"""Read the filters and backend references of routes. Pure.

Follows HTTPRouteFilter, GRPCRouteFilter and BackendObjectReference of gateway.networking.k8s.io/v1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.network.gateway.gateways import Condition, is_granted
from proa.network.gateway.model import (
    NO_EDITS,
    BackendKey,
    Cors,
    HeaderEdits,
    Mirror,
    ObjectKey,
    PathChange,
    Redirect,
    Rewrite,
    Route,
)
from proa.network.gateway.world import Problem, World, find_backend
from proa.objects import meta

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Unsupported(Exception):
    """A route asks for what cannot be carried out; the message says what."""


class Filters(NamedTuple):
    """What a rule's filters make of each of its routes."""

    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None

    def applied_to(self, route: Route) -> Route:
        """Return the route with these filters."""
        return replace(
            route,
            request_headers=self.request_headers,
            response_headers=self.response_headers,
            redirect=self.redirect,
            rewrite=self.rewrite,
            mirrors=self.mirrors,
            cors=self.cors,
        )


def read_filters(
    route: Object,
    kind: str,
    entries: Sequence[Mapping[str, Any]],
    world: World,
    problems: list[Condition],
) -> Filters:
    """Return what the filters ask for; note what is wrong with their references. Raises Unsupported."""
    filters = Filters()
    for entry in entries:
        match entry["type"]:
            case "RequestHeaderModifier":
                edits = _read_modifier(entry["requestHeaderModifier"])
                filters = filters._replace(request_headers=filters.request_headers.then(edits))
            case "ResponseHeaderModifier":
                edits = _read_modifier(entry["responseHeaderModifier"])
                filters = filters._replace(response_headers=filters.response_headers.then(edits))
            case "RequestRedirect":
                filters = filters._replace(redirect=_read_redirect(entry["requestRedirect"]))
            case "URLRewrite":
                filters = filters._replace(rewrite=_read_rewrite(entry["urlRewrite"]))
            case "RequestMirror":
                mirror = _read_mirror(route, kind, entry["requestMirror"], world, problems)
                filters = filters._replace(mirrors=filters.mirrors + mirror)
            case "CORS":
                filters = filters._replace(cors=_read_cors(entry["cors"]))
            case other:
                raise Unsupported(f"filters of type {other} are not supported")
    return filters


def read_edits(entries: Sequence[Mapping[str, Any]]) -> tuple[HeaderEdits, HeaderEdits]:
    """Return a backend's edits of request and response; raise Unsupported for its other filters."""
    request = response = NO_EDITS
    for entry in entries:
        match entry["type"]:
            case "RequestHeaderModifier":
                request = request.then(_read_modifier(entry["requestHeaderModifier"]))
            case "ResponseHeaderModifier":
                response = response.then(_read_modifier(entry["responseHeaderModifier"]))
            case other:
                raise Unsupported(f"filters of type {other} are not supported for single backends")
    return request, response


def _read_modifier(modifier: Mapping[str, Any]) -> HeaderEdits:
    edits = HeaderEdits(
        set=tuple((e["name"], e["value"]) for e in modifier.get("set") or ()),
        add=tuple((e["name"], e["value"]) for e in modifier.get("add") or ()),
        remove=tuple(modifier.get("remove") or ()),
    )
    for _, value in (*edits.set, *edits.add):
        check_text(value)
    named = [*(name for name, _ in (*edits.set, *edits.add)), *edits.remove]
    if any(name.lower() == "host" for name in named):
        raise Unsupported("the Host header is changed by a filter of type URLRewrite only")
    return edits


def _read_path(path: Mapping[str, Any] | None) -> PathChange | None:
    if not path:
        return None
    if path["type"] == "ReplaceFullPath":
        return PathChange("full", check_text(path.get("replaceFullPath") or "/"))
    return PathChange("prefix", check_text(path.get("replacePrefixMatch") or "/"))


def check_text(text: str) -> str:
    """Return what may stand in a header; raise Unsupported for control characters, of which Envoy takes none."""
    if _CONTROL.search(text):
        raise Unsupported(f"{text!r} has control characters")
    return text


def _read_redirect(redirect: Mapping[str, Any]) -> Redirect:
    return Redirect(
        scheme=redirect.get("scheme") or "",
        hostname=redirect.get("hostname") or "",
        port=redirect.get("port") or 0,
        path=_read_path(redirect.get("path")),
        status=redirect.get("statusCode") or 302,
    )


def _read_rewrite(rewrite: Mapping[str, Any]) -> Rewrite:
    return Rewrite(rewrite.get("hostname") or "", _read_path(rewrite.get("path")))


def _read_mirror(
    route: Object, kind: str, mirror: Mapping[str, Any], world: World, problems: list[Condition]
) -> tuple[Mirror, ...]:
    found = find_reference(route, kind, mirror["backendRef"], world, is_http2=kind == "GRPCRoute")
    if isinstance(found, Condition):
        problems.append(found)
        return ()
    fraction = mirror.get("fraction")
    if fraction:
        return (Mirror(found, fraction["numerator"], fraction.get("denominator") or 100),)
    return (Mirror(found, mirror.get("percent", 100)),)


def _read_cors(cors: Mapping[str, Any]) -> Cors:
    return Cors(
        origins=tuple(cors.get("allowOrigins") or ()),
        methods=tuple(cors.get("allowMethods") or ()),
        headers=tuple(cors.get("allowHeaders") or ()),
        exposed_headers=tuple(cors.get("exposeHeaders") or ()),
        max_age_seconds=cors.get("maxAge") or 0,
        allow_credentials=bool(cors.get("allowCredentials")),
    )


def find_reference(
    route: Object, kind: str, reference: Mapping[str, Any], world: World, *, is_http2: bool
) -> BackendKey | Condition:
    """Return the backend that a reference names, or what is wrong with it as a condition."""
    group, backend_kind = reference.get("group") or "", reference.get("kind") or "Service"
    if (group, backend_kind) != ("", "Service"):
        words = f"{backend_kind}.{group} is no kind of backend here: Service is"
        return Condition("ResolvedRefs", False, "InvalidKind", words)
    key = ObjectKey(reference.get("namespace") or meta.namespace(route), reference["name"])
    if not is_granted(world, kind, meta.namespace(route), "Service", key):
        words = f'no ReferenceGrant lets this {kind} use Service "{key}"'
        return Condition("ResolvedRefs", False, "RefNotPermitted", words)
    found = find_backend(world, key, reference.get("port") or 0, is_http2=is_http2)
    if isinstance(found, Problem):
        return Condition("ResolvedRefs", False, found.reason, found.message)
    return found
