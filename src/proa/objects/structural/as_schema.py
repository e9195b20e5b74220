"""Describe a custom resource to what works on schemas of any kind: managed fields, apply, CEL, OpenAPI of built-ins.

Follows apiextensions-apiserver/pkg/controller/openapi/builder: metadata is ObjectMeta, in the object and in embedded
ones, and what has no type or may hold unknown fields is as its values show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proa.objects.schemas.load import schema_named
from proa.objects.schemas.schema import Schema
from proa.objects.structural.embedded import OBJECT_META
from proa.objects.structural.node import Node

_STRING = Schema("string")


def make_schema(node: Node) -> Schema:
    """Return the schema of a node; its fields are made when they are first looked at."""
    kind = node.raw.get("type")
    if node.raw.get("x-kubernetes-int-or-string"):
        return Schema("int-or-string")
    if kind == "object" or (not kind and node.is_embedded):
        return _make_object(node)
    if kind == "array":
        items = node.items
        return Schema(
            "array",
            items=None if items is None else make_schema(items),
            list_type=node.raw.get("x-kubernetes-list-type") or "",
            list_map_keys=tuple(node.raw.get("x-kubernetes-list-map-keys") or ()),
        )
    if kind in ("string", "integer", "number", "boolean"):
        default = node.raw.get("default")
        form = node.raw.get("format") or "" if kind == "string" else ""
        return Schema(kind, default=default if isinstance(default, (str, int, float)) else None, format=form)
    return Schema("any")


def _make_object(node: Node) -> Schema:
    map_type: Any = node.raw.get("x-kubernetes-map-type") or ""
    if (others := node.others) is not None and not node.raw.get("properties"):
        return Schema("object", values=make_schema(others), map_type=map_type)
    fields = _Fields(node)
    if not fields and (node.keeps_unknown or node.allows_others):
        return Schema("object", values=Schema("any"), map_type=map_type, preserve_unknown=True)
    return Schema(
        "object",
        properties=fields,
        required=tuple(node.raw.get("required") or ()),
        map_type=map_type,
        preserve_unknown=node.keeps_unknown,
    )


class _Fields(Mapping[str, Schema]):
    """The fields of a node, each made when it is first looked at."""

    __slots__ = ("_made", "_names", "_node")

    def __init__(self, node: Node) -> None:
        self._node = node
        self._made: dict[str, Schema] = {}
        names = dict.fromkeys(node.raw.get("properties") or ())
        if node.is_embedded:
            names |= dict.fromkeys(("apiVersion", "kind", "metadata"))
        self._names = names

    def __getitem__(self, key: str) -> Schema:
        made = self._made.get(key)
        if made is None:
            if key not in self._names:
                raise KeyError(key)
            made = self._made[key] = self._make(key)
        return made

    def _make(self, key: str) -> Schema:
        if self._node.is_embedded and key == "metadata":
            return schema_named(OBJECT_META)
        if self._node.is_embedded and key in ("apiVersion", "kind"):
            return _STRING
        child = self._node.child(key)
        assert child is not None
        return make_schema(child)

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
