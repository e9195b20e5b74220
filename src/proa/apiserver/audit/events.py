"""Make audit events (audit.k8s.io/v1) of what was noted while requests were served.

`Seen` holds references alone, for the request must not wait; `encode` does the work, aside. Follows
apiserver/pkg/audit/request.go and pkg/apis/audit/v1.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import orjson

from proa.apiserver.audit.policy import METADATA, REQUEST_RESPONSE, Wanted
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Object, Request, User
from proa.objects.errors import ApiError
from proa.objects.meta import format_micro_time
from proa.objects.quick_dataclass import dataclass

IN_PROCESS = "127.0.0.1"
"""Where requests of the cluster's own components come from."""
_WITH_BODY = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True, slots=True)
class Seen:
    """One stage of one request. `body` is the answer's, b"" where it has none; times are epoch seconds."""

    wanted: Wanted
    stage: str
    request: Request
    info: RequestInfo
    audit_id: str
    user: User | None
    acting_as: User | None
    received: float
    at: float
    code: int = 0
    body: bytes = b""
    message: str = ""
    annotations: dict[str, str] | None = None


def encode(seen: Seen) -> bytes:
    """Return the event as a line of JSON."""
    request, info, level = seen.request, seen.info, seen.wanted.level
    query = urlencode(request.query, doseq=True) if request.query else ""
    event: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": level,
        "auditID": seen.audit_id,
        "stage": seen.stage,
        "requestURI": f"{request.path}?{query}" if query else request.path,
        "verb": info.verb,
        "user": _user(seen.user),
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
        event["requestObject"] = _bare(sent) if seen.wanted.omits_managed_fields else sent
    if level == REQUEST_RESPONSE and answered is not None:
        event["responseObject"] = _bare(answered) if seen.wanted.omits_managed_fields else answered
    event["requestReceivedTimestamp"] = format_micro_time(seen.received)
    event["stageTimestamp"] = format_micro_time(seen.at)
    if seen.annotations:
        event["annotations"] = seen.annotations
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def _user(user: User | None) -> Object:
    if user is None:
        return {}
    shown = {
        "username": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra.items()},
    }
    return {key: value for key, value in shown.items() if value}


def _sources(request: Request) -> list[str]:
    """Return the addresses that the request came by: what proxies say, then the one that connected."""
    said = [each.strip() for each in request.headers.get("x-forwarded-for", "").split(",")]
    said.append(request.headers.get("x-real-ip", "").strip())
    said.append(request.source or IN_PROCESS)
    return list(dict.fromkeys(each for each in said if each))


def _reference(info: RequestInfo, sent: Any) -> Object:
    """Return what the request is about; the body tells the name of what is made."""
    metadata = sent.get("metadata") if isinstance(sent, dict) else None
    metadata = metadata if isinstance(metadata, dict) else {}
    shown = {
        "resource": info.plural,
        "namespace": info.namespace or metadata.get("namespace"),
        "name": info.name or metadata.get("name"),
        "uid": metadata.get("uid"),
        "apiGroup": info.group,
        "apiVersion": info.version,
        "resourceVersion": metadata.get("resourceVersion"),
        "subresource": info.subresource,
    }
    return {key: value for key, value in shown.items() if value}


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
