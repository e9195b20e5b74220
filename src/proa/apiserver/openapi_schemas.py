"""Write a structural schema as OpenAPI v3 components, named as upstream names them.

Follows kube-openapi pkg/builder3. Descriptions are there when `kubernetes-validate` is installed (`proa[explain]`):
the table of schemas that we ship has facts only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from proa.objects.schemas.load import (
    EVERYWHERE,
    META,
    definition_names_by_kind,
    find_definition_name,
    schema_named,
)
from proa.objects.schemas.schema import Schema

Json = dict[str, Any]
_SCALARS: dict[str, Json] = {
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "int-or-string": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    "any": {},
}


def reference(name: str) -> Json:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def make_components(names: Iterable[str], group_versions: Iterable[tuple[str, str]]) -> Json:
    """Return the components for definitions `names` and all that they refer to."""
    kinds = _kinds_of(group_versions)
    told = find_descriptions()
    components: Json = {}
    todo = sorted(set(names))
    while todo:
        name = todo.pop()
        if name in components:
            continue
        component, referred = _component(schema_named(name), told.get(name, {}))
        if name in kinds:
            component["x-kubernetes-group-version-kind"] = kinds[name]
        components[name] = component
        todo += referred - components.keys()
    return dict(sorted(components.items()))


def _kinds_of(group_versions: Iterable[tuple[str, str]]) -> dict[str, list[Json]]:
    """Return group, version and kind of each definition that is one; the shared ones are in all group versions."""
    pairs = list(group_versions)
    kinds: dict[str, list[Json]] = {}
    for api_version, kind, name in definition_names_by_kind():
        group, _, version = api_version.rpartition("/")
        kinds.setdefault(name, []).append({"group": group, "kind": kind, "version": version})
    for kind in EVERYWHERE:
        kinds[META + kind] = [{"group": g, "kind": kind, "version": v} for g, v in pairs]
    kinds[META + "Status"] = [{"group": "", "kind": "Status", "version": "v1"}]
    return kinds


def _component(schema: Schema, told: Json) -> tuple[Json, set[str]]:
    referred: set[str] = set()
    component: Json = {}
    if "description" in told:
        component["description"] = told["description"]
    if schema.type != "object":
        return {**component, **_scalar(schema)}, referred
    fields = told.get("properties", {})
    properties: Json = {}
    for key, node in schema.properties.items():
        written = _field(node, referred)
        if "description" in fields.get(key, ()):
            if "$ref" in written:
                written = {"allOf": [written]}
            written = {"description": fields[key]["description"], **written}
        properties[key] = written
    component["type"] = "object"
    if properties:
        component["properties"] = properties
    if schema.required:
        component["required"] = list(schema.required)
    if schema.map_type:
        component["x-kubernetes-map-type"] = schema.map_type
    return component, referred


def _field(node: Schema, referred: set[str]) -> Json:
    facts = _facts(node)
    if node.name:
        referred.add(node.name)
        return {"allOf": [reference(node.name)], **facts} if facts else reference(node.name)
    if node.type == "array":
        items = _field(node.items, referred) if node.items else {}
        return {"type": "array", "items": items, **facts}
    if node.type == "object":
        values = {"additionalProperties": _field(node.values, referred)} if node.values else {}
        return {"type": "object", **values, **facts}
    return {**_scalar(node), **facts}


def _facts(node: Schema) -> Json:
    shared_map_type = schema_named(node.name).map_type if node.name else ""
    facts = {
        "x-kubernetes-list-map-keys": list(node.list_map_keys),
        "x-kubernetes-list-type": node.list_type,
        "x-kubernetes-map-type": "" if node.map_type == shared_map_type else node.map_type,
        "x-kubernetes-patch-merge-key": node.merge_key,
        "x-kubernetes-patch-strategy": ",".join(node.patch_strategy),
    }
    return {key: value for key, value in facts.items() if value}


def _scalar(node: Schema) -> Json:
    if node.type in _SCALARS:
        return dict(_SCALARS[node.type])
    return {"type": node.type, "format": node.format} if node.format else {"type": node.type}


def find_descriptions() -> Json:
    """Return what `kubernetes-validate` tells of each definition, or nothing where it is not installed."""
    found = importlib.util.find_spec("kubernetes_validate")
    if found is None or found.origin is None:
        return {}
    folder = Path(found.origin).parent / "kubernetes-json-schema/v1.36.0-local"
    file = folder / "_definitions.json"
    told: Json = orjson.loads(file.read_bytes())["$defs"] if file.exists() else {}
    return told


def definition_of(api_version: str, kind: str) -> str:
    """Return the name of a kind's definition, "" for one that has none (connect options)."""
    return find_definition_name(api_version, kind) or ""
