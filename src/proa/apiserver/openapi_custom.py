"""Tell clients of custom kinds what their authors said of them, with what every Kubernetes object has.

Follows apiextensions-apiserver/pkg/controller/openapi/builder/builder.go and openapi/v2/conversion.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.apiserver.openapi_schemas import Json, reference
from proa.apiserver.registry.definition import ResourceDefinition
from proa.objects.resource import Resource
from proa.objects.schemas.load import META

_DESCRIPTIONS = {
    "apiVersion": "APIVersion defines the versioned schema of this representation of an object.",
    "kind": "Kind is a string value representing the REST resource this object represents.",
    "metadata": "Standard object's metadata.",
}
_UNSAID_BY_VERSION2 = ("allOf", "anyOf", "oneOf", "not", "nullable")


def custom_name(resource: Resource, kind: str = "") -> str:
    """Return the name of a custom kind's component: com.example.v1.Boat."""
    backwards = ".".join(reversed(resource.group.split(".")))
    return f"{backwards}.{resource.version}.{kind or resource.kind}"


def custom_components(definition: ResourceDefinition, *, version2: bool = False) -> Json:
    """Return the components of a custom kind and of its list. `version2` leaves out what Swagger 2.0 cannot say."""
    resource = definition.resource
    said = definition.openapi_schema
    name, list_name = custom_name(resource), custom_name(resource, definition.kind_of_list)
    items = {"type": "array", "items": reference(name), "description": f"List of {resource.plural}."}
    listed = {
        "type": "object",
        "required": ["items"],
        "description": f"{definition.kind_of_list} is a list of {resource.kind}",
        "properties": {**_type_meta(), "items": items, "metadata": _described("metadata", "ListMeta")},
        **_kind(resource, definition.kind_of_list),
    }
    return {name: {**_object(said, version2), **_kind(resource, resource.kind)}, list_name: listed}


def _kind(resource: Resource, kind: str) -> Json:
    gvk = {"group": resource.group, "kind": kind, "version": resource.version}
    return {"x-kubernetes-group-version-kind": [gvk]}


def _object(said: Mapping[str, Any], version2: bool) -> Json:
    if not said or (version2 and said.get("x-kubernetes-preserve-unknown-fields")):
        return {"type": "object"}  # kubectl would take a list of fields for all there are
    made = _node(said, version2)
    made["properties"] = {
        **made.get("properties", {}),
        **_type_meta(),
        "metadata": _described("metadata", "ObjectMeta"),
    }
    return made


def _type_meta() -> Json:
    return {key: {"type": "string", "description": _DESCRIPTIONS[key]} for key in ("apiVersion", "kind")}


def _described(key: str, kind: str) -> Json:
    return {"allOf": [reference(META + kind)], "description": _DESCRIPTIONS[key]}


def _node(said: Mapping[str, Any], version2: bool) -> Json:
    made = dict(said)
    if "properties" in made:
        made["properties"] = {key: _node(value, version2) for key, value in made["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), Mapping):
            made[key] = _node(made[key], version2)
    if version2:
        return _for_version2(made)
    if made.get("x-kubernetes-int-or-string") and "anyOf" not in made:
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if made.get("x-kubernetes-embedded-resource"):
        made["properties"] = {
            **made.get("properties", {}),
            **_type_meta(),
            "metadata": _described("metadata", "ObjectMeta"),
        }
        made["required"] = sorted({*made.get("required", ()), "apiVersion", "kind"})
    return made


def _for_version2(made: Json) -> Json:
    is_open = made.get("x-kubernetes-preserve-unknown-fields") or made.get("nullable")
    kept = {key: value for key, value in made.items() if key not in _UNSAID_BY_VERSION2}
    if is_open:
        for key in ("items", "properties", "type", "additionalProperties"):
            kept.pop(key, None)
    elif kept.get("type") == "array" and "items" not in kept:
        del kept["type"]
    nullable = {key for key, value in made.get("properties", {}).items() if "type" not in value}
    if nullable and "required" in kept:
        kept["required"] = [key for key in kept["required"] if key not in nullable]
        if not kept["required"]:
            del kept["required"]
    return kept
