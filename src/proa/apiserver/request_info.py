"""Know what a URL addresses: follows apiserver/pkg/endpoints/request/requestinfo.go.

Paths are split, never matched: this runs once for each request.
"""

from __future__ import annotations

from urllib.parse import unquote

from proa.client.protocol import Request
from proa.objects.errors import BadRequest
from proa.objects.quick_dataclass import dataclass
from proa.objects.selectors import parse_field_selector
from proa.objects.validation import path_segment

_VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_NAMESPACE_SUBRESOURCES = frozenset(("status", "finalize"))


@dataclass(slots=True)
class RequestInfo:
    """What is asked for. `subpath` follows the subresource, still percent-encoded, with its leading slash.

    `field_selector` is that of a list, watch or deletion of many, as it was sent; `selected_name` is the one name that
    it picks where it lists or watches: authorization takes it for `name`.
    """

    is_resource: bool
    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    plural: str = ""
    name: str = ""
    subresource: str = ""
    subpath: str = ""
    selected_name: str = ""
    field_selector: str = ""


def parse_request(request: Request) -> RequestInfo:
    """Return what `request` addresses; anything unknown is a non-resource path."""
    path = request.path
    raw = path.split("/")
    parts = [p for p in raw if p]
    if len(parts) < 3 or parts[0] not in ("api", "apis"):
        return RequestInfo(False, request.method.lower(), unquote(path) if "%" in path else path)
    if parts[0] == "api":
        info = RequestInfo(True, _VERBS.get(request.method, ""), path, "", parts[1])
        rest = parts[2:]
    elif len(parts) < 4:
        return RequestInfo(False, request.method.lower(), path)
    else:
        info = RequestInfo(True, _VERBS.get(request.method, ""), path, parts[1], parts[2])
        rest = parts[3:]
    is_watch_path = rest[0] == "watch" and len(rest) > 1
    if is_watch_path:
        rest = rest[1:]
    if rest[0] == "namespaces" and len(rest) > 1:
        info.namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    info.plural = rest[0]
    count = len(rest)
    if count > 1:
        info.name = rest[1]
        if count > 2:
            info.subresource = rest[2]
            if count > 3 or path.endswith("/"):
                info.subpath = _after(path, len(parts) - count + 3)
    if "%" in path:
        info.namespace, info.name = unquote(info.namespace), unquote(info.name)
    if is_watch_path:
        info.verb = "watch"
    elif not info.name:
        if info.verb == "get":
            info.verb = "watch" if asks_for_watch(request) else "list"
            if "fieldSelector" in request.query:
                info.field_selector = request.query["fieldSelector"][0]
                info.selected_name = _selected_name(info.field_selector)
        elif info.verb == "delete":
            info.verb = "deletecollection"
            if "fieldSelector" in request.query:
                info.field_selector = request.query["fieldSelector"][0]
    return info


def asks_for_watch(request: Request) -> bool:
    return request.parameter("watch", "false").lower() not in ("false", "0")


def _selected_name(field_selector: str) -> str:
    """Return the name that a field selector demands, "" where it does not demand one (RequiresExactMatch)."""
    try:
        requirements = parse_field_selector(field_selector).requirements
    except BadRequest:  # what serves the request says so
        return ""
    for key, operator, name in requirements:
        if key == "metadata.name" and operator == "=" and not path_segment(name):
            return name
    return ""


def _after(path: str, count: int) -> str:
    """Return what follows the first `count` parts of the path, as it was sent: slashes may be doubled."""
    position = 0
    for _ in range(count):
        while path[position] == "/":
            position += 1
        position = path.find("/", position)
        if position < 0:
            return ""
    return path[position:]
