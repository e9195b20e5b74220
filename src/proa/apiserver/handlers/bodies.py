"""Read what clients send: JSON, YAML or protobuf, of the kind that the URL takes, checked against its schema.

Follows apiserver/pkg/endpoints/handlers/create.go and runtime/serializer; refusals have upstream's words.
"""

from __future__ import annotations

from typing import Any

import orjson

from proa.apiserver.pace import HEAVY_YAML_BYTES, aside
from proa.apiserver.registry.definition import ResourceDefinition
from proa.client.protocol import Object, Request
from proa.objects.errors import BadRequest, UnsupportedMediaType
from proa.objects.managed_fields.entries import note_reset
from proa.objects.resource import Resource
from proa.objects.schemas.check import Checked, Strictness, check
from proa.objects.schemas.duplicates import may_have_duplicates
from proa.objects.schemas.load import find_definition_name, schema_named

SHOWN_BYTES = 30
"""So much of a body that cannot be read is shown (summarizeData in handlers/rest.go)."""
READABLE = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
PROTOBUF = "application/vnd.kubernetes.protobuf"
AUXILIARY = {
    "Binding": "io.k8s.api.core.v1.Binding",
    "DeleteOptions": "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "Eviction": "io.k8s.api.policy.v1.Eviction",
    "Scale": "io.k8s.api.autoscaling.v1.Scale",
    "TokenRequest": "io.k8s.api.authentication.v1.TokenRequest",
}
"""Kinds of bodies that are not stored, and their schemas."""
_STRICTNESS: dict[str, Strictness] = {"": "Warn", "Warn": "Warn", "Strict": "Strict", "Ignore": "Ignore"}


def read_object(request: Request, definition: ResourceDefinition) -> Checked:
    """Return the body as an object of the definition's kind, unknown fields pruned; raise BadRequest."""
    obj, body = parse(request, definition.resource.kind), request.body
    is_doubtful = is_json(request) and may_have_duplicates(body, obj)
    obj = _as_kind(obj, definition.resource, body)
    note_reset(obj.get("metadata"))
    return check(obj, definition.object_schema, strictness_of(request), body if is_doubtful else b"")


async def read_object_aside(request: Request, definition: ResourceDefinition, heavy: bool) -> Checked:
    """Return the same, read aside where it is heavy."""
    return await aside(read_object, request, definition) if heavy else read_object(request, definition)


def is_heavy(request: Request, definition: ResourceDefinition) -> bool:
    """Tell whether working on the body may take longer than others should wait: YAML is slow to read."""
    size = len(request.body)
    if size > definition.heavy_bytes:
        return True
    return size > HEAVY_YAML_BYTES and ("yaml" in media_type_of(request) and request.body[:1] != b"{")


def read_auxiliary(request: Request, kind: str) -> Object:
    """Return the body of a request that is no stored object (a Binding, DeleteOptions), checked against its schema."""
    obj = parse(request, kind)
    _check_type_meta(obj, kind, request.body)
    obj.setdefault("kind", kind)
    return check_auxiliary(obj, kind)


def check_auxiliary(obj: object, kind: str) -> Object:
    """Return an object that is not stored, checked against its schema; raise BadRequest."""
    if not isinstance(obj, dict):
        raise BadRequest(f"cannot unmarshal {_go_name(obj)} into Go value of type {kind}")
    return check(obj, schema_named(AUXILIARY[kind])).obj


def _check_type_meta(obj: Object, kind: str, body: bytes) -> None:
    for key in ("kind", "apiVersion"):
        if not isinstance(obj.get(key, ""), str):
            why = f"json: cannot unmarshal {_go_name(obj[key])} into Go struct field .{key} of type string"
            raise _unrecognized(kind, why, body)


def _as_kind(obj: Object, resource: Resource, body: bytes) -> Object:
    """Return the object, which must be of the resource's kind and version where it says so."""
    _check_type_meta(obj, resource.kind, body)
    kind, api_version = obj.get("kind") or "", obj.get("apiVersion") or ""
    if kind == resource.kind and api_version == resource.api_version:
        return obj
    if not kind and not api_version:
        obj["kind"], obj["apiVersion"] = resource.kind, resource.api_version
        return obj
    raise BadRequest(_wrong_kind(resource, kind or resource.kind, api_version or resource.api_version))


def _wrong_kind(resource: Resource, kind: str, api_version: str) -> str:
    version = api_version.rpartition("/")[2]
    start = f'{kind} in version "{version}" cannot be handled as a {resource.kind}'
    if find_definition_name(api_version, kind) is None:
        return f'{start}: no kind "{kind}" is registered for version "{api_version}" in scheme ' + (
            '"pkg/api/legacyscheme/scheme.go:30"'
        )
    group = resource.group.partition(".")[0] or "core"
    return f"{start}: converting ({version}.{kind}) to ({group}.{resource.kind}): unknown conversion"


def strictness_of(request: Request) -> Strictness:
    """Return what fieldValidation asks for; raise BadRequest for anything unknown."""
    asked = request.parameter("fieldValidation")
    strictness = _STRICTNESS.get(asked)
    if strictness is None:
        raise BadRequest(
            f'fieldValidation: Unsupported value: "{asked}": supported values: "Ignore", "Strict", "Warn"'
        )
    return strictness


def media_type_of(request: Request) -> str:
    """Return the body's type without parameters; JSON where the client does not say."""
    said = request.headers.get("content-type", "")
    return said.partition(";")[0].strip().lower() or "application/json"


def is_json(request: Request) -> bool:
    """Tell whether the body is JSON."""
    return media_type_of(request) == "application/json"


def parse(request: Request, kind: str) -> Object:
    """Return the body as a JSON object; raise BadRequest, UnsupportedMediaType."""
    media_type = media_type_of(request)
    if media_type == "application/json":
        value = parse_json(request.body, kind)
    elif media_type in ("application/yaml", "application/x-yaml", "text/yaml"):
        from proa.apiserver.handlers.yaml_bodies import load_yaml

        value = load_yaml(request.body)
    elif media_type == PROTOBUF:
        from proa.apiserver.protobuf.decode import decode_object

        value = decode_object(request.body, kind)
    else:
        raise UnsupportedMediaType(
            f"the body of the request was in an unknown format - accepted media types include: {READABLE}"
        )
    if not isinstance(value, dict):
        raise _unrecognized(kind, f"cannot unmarshal {_go_name(value)} into Go value", request.body)
    return value


def parse_json(body: bytes, kind: str) -> Any:
    """Return decoded JSON; raise BadRequest in the words of Go's decoder."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _unrecognized(kind, _go_words(body, error.pos), body) from None


def _unrecognized(kind: str, why: str, body: bytes) -> BadRequest:
    return BadRequest(
        f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: "
        f"{why} ({_summary(body)})"
    )


def _summary(body: bytes) -> str:
    """Return how a body begins, and no more: the message is logged and audited, and the body may be a Secret."""
    if not body:
        return "<empty>"
    start = body[:SHOWN_BYTES]
    shown = start.decode(errors="replace") if start[:1] == b"{" else start.hex()
    return f"{shown} ..." if len(body) > SHOWN_BYTES else shown


def _go_words(body: bytes, position: int) -> str:
    text = body.decode(errors="replace")
    if position >= len(text.rstrip()) or not text:
        return "unexpected end of JSON input"
    before = text[:position].rstrip()[-1:]
    what = "object key string" if before == "{" else "value"
    character = text[position]
    return f"invalid character '{character}' looking for beginning of {what}"


def _go_name(value: object) -> str:
    names = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "null")
