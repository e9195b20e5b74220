"""Give the schema of any built-in kind, from the generated table beside this file, building only what is asked for.

The table is read once, at the first call (2 ms); a node's fields become Schema objects when they are first looked
at. Its format is described in tools/generate_schemas.py, which writes it, and that of what is omitted in
tools/generate_protobuf.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from proa.objects.schemas.schema import Schema, SchemaType

TABLE = Path(__file__).with_name("kubernetes-1.36.json")
OMITTED = Path(__file__).with_name("omitted-1.36.json")
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
MICRO_TIME = META + "MicroTime"
EVERYWHERE = ("DeleteOptions", "WatchEvent")
"""Kinds of meta.v1 that belong to every group version."""
_JSON_SCHEMA = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_SCALARS: dict[str, tuple[SchemaType, str]] = {
    "string": ("string", ""),
    "boolean": ("boolean", ""),
    "int32": ("integer", "int32"),
    "int64": ("integer", "int64"),
    "double": ("number", "double"),
    "bytes": ("string", "byte"),
    "time": ("string", "date-time"),
    "quantity": ("quantity", ""),
    "int-or-string": ("int-or-string", ""),
    "any": ("any", ""),
}


def schema_named(definition_name: str) -> Schema:
    """Return the schema of a definition, e.g. io.k8s.api.core.v1.Pod; raise KeyError when there is none."""
    return _definition(definition_name)


def schema_for_kind(api_version: str, kind: str) -> Schema:
    """Return the schema of a built-in kind; raise KeyError when there is none."""
    return _definition(_table()["kinds"][f"{api_version} {kind}"])


def find_definition_name(api_version: str, kind: str) -> str | None:
    """Return the definition of a built-in kind, or None; kinds of every group are found in any."""
    if kind in EVERYWHERE:
        return META + kind
    name: str | None = _table()["kinds"].get(f"{api_version} {kind}")
    return name


def definition_names_by_kind() -> Iterator[tuple[str, str, str]]:
    """Yield (apiVersion, kind, definition name) of every built-in kind."""
    for key, name in _table()["kinds"].items():
        api_version, _, kind = key.rpartition(" ")
        yield api_version, kind, name


class _Fields(Mapping[str, Schema]):
    """The fields of one definition, each made when it is first looked at."""

    __slots__ = ("_made", "_table")

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._table = table
        self._made: dict[str, Schema] = {}

    def __getitem__(self, key: str) -> Schema:
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = _node(self._table[key])
        return made

    def __contains__(self, key: object) -> bool:
        return key in self._table

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = orjson.loads(TABLE.read_bytes())
    return table


@cache
def _omitted() -> dict[str, list[str]]:
    table: dict[str, list[str]] = orjson.loads(OMITTED.read_bytes())
    return table


@cache
def _definition(name: str) -> Schema:
    fields, required, facts = _table()["definitions"][name]
    if fields is None:
        scalar = _scalar(facts["type"], name)
        if name in (_JSON_SCHEMA + "OrArray", _JSON_SCHEMA + "OrBool"):
            scalar.object_form = _definition(_JSON_SCHEMA)
        return scalar
    return Schema(
        "object",
        properties=_Fields(fields),
        required=tuple(required),
        map_type=facts.get("mapType", ""),
        name=name,
        omitted=frozenset(_omitted().get(name, ())),
    )


def _node(entry: str | list[Any]) -> Schema:
    if isinstance(entry, str):
        return _of_type(entry)
    expression, facts = entry
    return _of_type(
        expression,
        merge_key=facts.get("mergeKey", ""),
        patch_strategy=tuple(filter(None, facts.get("patchStrategy", "").split(","))),
        list_type=facts.get("listType", ""),
        list_map_keys=tuple(facts.get("listMapKeys", ())),
        map_type=facts.get("mapType", ""),
    )


def _of_type(expression: str, **facts: Any) -> Schema:
    if expression.startswith("[]"):
        return Schema("array", items=_of_type(expression[2:]), **facts)
    if expression.startswith("{}"):
        return Schema("object", values=_of_type(expression[2:]), **facts)
    if expression in _SCALARS or expression == "object":
        return _scalar(expression, "")
    shared = _definition(expression)
    if not any(facts.values()):
        return shared
    facts["map_type"] = facts["map_type"] or shared.map_type
    return Schema(
        shared.type,
        properties=shared.properties,
        required=shared.required,
        name=shared.name,
        omitted=shared.omitted,
        **facts,
    )


@cache
def _scalar(expression: str, name: str) -> Schema:
    if expression == "object":
        return Schema("object", preserve_unknown=True, name=name)
    kind, form = _SCALARS[expression]
    return Schema(kind, format=form, name=name)
