"""Make audit events (audit.k8s.io/v1) of what was noted while requests were served.

`Seen` holds references alone, for the request must not wait; `encode` does the work, aside. Follows
apiserver/pkg/audit/request.go and pkg/apis/audit/v1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlencode

import orjson

from proa.apiserver.audit.policy import METADATA, REQUEST_RESPONSE, Wanted
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Object, Request, User
from proa.objects.errors import ApiError
from proa.objects.meta import format_time
from proa.objects.quick_dataclass import dataclass

IN_PROCESS = "127.0.0.1"
"""Where requests of the cluster's own components come from."""
_EMPTY: Object = {}
_WITH_BODY = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(slots=True, eq=False)
class Visit:
    """One request: what its events have in common. `user` is None where nobody could be authenticated."""

    wanted: Wanted
    request: Request
    info: RequestInfo
    audit_id: str
    user: User | None
    received: float
    annotations: dict[str, str] | None = None


class Seen(NamedTuple):
    """One stage of a request. `body` is the answer's, b"" where it has none; times are epoch seconds."""

    visit: Visit
    stage: str
    at: float
    acting_as: User | None = None
    code: int = 0
    body: bytes = b""
    message: str = ""


def encode(seen: Seen) -> bytes:
    """Return the event as a line of JSON."""
    visit = seen.visit
    request, info, level = visit.request, visit.info, visit.wanted.level
    query = urlencode(request.query, doseq=True) if request.query else ""
    event: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": level,
        "auditID": visit.audit_id,
        "stage": seen.stage,
        "requestURI": f"{request.path}?{query}" if query else request.path,
        "verb": info.verb,
        "user": _user(visit.user),
    }
    if seen.acting_as is not None:
        event["impersonatedUser"] = _user(seen.acting_as)
    event["sourceIPs"] = _sources(request)
    if request.headers.get("user-agent"):
        event["userAgent"] = request.headers["user-agent"]
    sent = _read_body(request) if info.verb in _WITH_BODY and request.body else None
    if info.is_resource:
        event["objectRef"] = _reference(info, sent)
    answered = _load(seen.body) if seen.body else None
    if seen.code:
        event["responseStatus"] = _status(seen, answered)
    if level != METADATA and sent is not None:
        event["requestObject"] = _bare(sent) if visit.wanted.omits_managed_fields else sent
    if level == REQUEST_RESPONSE and answered is not None:
        event["responseObject"] = _bare(answered) if visit.wanted.omits_managed_fields else answered
    event["requestReceivedTimestamp"] = _time(visit.received)
    event["stageTimestamp"] = _time(seen.at)
    if visit.annotations:
        event["annotations"] = visit.annotations
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def _time(moment: float) -> str:
    second = int(moment)
    return f"{_second(second)}.{int((moment - second) * 1e6):06d}Z"


@lru_cache(maxsize=16)
def _second(second: int) -> str:
    return format_time(second)[:-1]


def _user(user: User | None) -> Object:
    if user is None:
        return {}
    shown: Object = {"username": user.name}
    if user.uid:
        shown["uid"] = user.uid
    if user.groups:
        shown["groups"] = user.groups
    if user.extra:
        shown["extra"] = dict(user.extra)
    return shown


def _sources(request: Request) -> list[str]:
    """Return the addresses that the request came by: what proxies say, then the one that connected."""
    headers, source = request.headers, request.source or IN_PROCESS
    if "x-forwarded-for" not in headers and "x-real-ip" not in headers:
        return [source]
    said = [each.strip() for each in headers.get("x-forwarded-for", "").split(",")]
    said += [headers.get("x-real-ip", "").strip(), source]
    return list(dict.fromkeys(each for each in said if each))


def _reference(info: RequestInfo, sent: Any) -> Object:
    """Return what the request is about; the body tells the name of what is made."""
    metadata = sent.get("metadata") if isinstance(sent, dict) else None
    metadata = metadata if isinstance(metadata, dict) else _EMPTY
    shown: Object = {"resource": info.plural}
    for key, value in (
        ("namespace", info.namespace or metadata.get("namespace")),
        ("name", info.name or metadata.get("name")),
        ("uid", metadata.get("uid")),
        ("apiGroup", info.group),
        ("apiVersion", info.version),
        ("resourceVersion", metadata.get("resourceVersion")),
        ("subresource", info.subresource),
    ):
        if value:
            shown[key] = value
    return shown


def _status(seen: Seen, answered: Any) -> Object:
    status: Object = {"metadata": {}}
    if isinstance(answered, dict) and answered.get("kind") == "Status":
        for key in ("status", "message", "reason", "details"):
            if answered.get(key):
                status[key] = answered[key]
    if seen.message:
        status["message"] = seen.message
    return {**status, "code": seen.code}


def _read_body(request: Request) -> Any:
    """Return the body as JSON, None where it cannot be read: then it was refused too."""
    from proa.apiserver.handlers.bodies import parse

    found = _load(request.body)
    if found is None and not request.headers.get("content-type", "").startswith("application/json"):
        try:
            return parse(request, "")
        except ApiError:
            return None
    return found


def _load(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _bare(obj: Any) -> Any:
    """Return an object, or a list's items, without managedFields."""
    if not isinstance(obj, dict):
        return obj
    metadata = obj.get("metadata")
    if isinstance(metadata, dict) and "managedFields" in metadata:
        kept = {key: value for key, value in metadata.items() if key != "managedFields"}
        obj = {**obj, "metadata": kept}
    items = obj.get("items")
    return {**obj, "items": [_bare(item) for item in items]} if isinstance(items, list) else obj
