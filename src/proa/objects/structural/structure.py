"""Refuse a JSON schema that is not structural: one from which a value's shape cannot be read field by field.

Types, defaults and extensions stand outside of allOf, anyOf, oneOf and not, and whatever those speak of is specified
outside of them too. Follows apiextensions-apiserver/pkg/apiserver/schema/validation.go and complete.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from proa.objects.errors import Cause
from proa.objects.structural.node import Json
from proa.objects.structural.patterns import BadPattern, compiled
from proa.objects.validation import forbidden, invalid, required

Level = Literal["root", "item", "field"]
_WHERE = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_EMBEDDED, _PRESERVE = "x-kubernetes-embedded-resource", "x-kubernetes-preserve-unknown-fields"
_EITHER = "x-kubernetes-int-or-string"
_FORBIDDEN = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    (_PRESERVE, "must be false to be structural"),
    (_EMBEDDED, "must be false to be structural"),
    (_EITHER, "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)
"""What may not stand in a nested schema."""


def validate_structural(raw: Json, path: str) -> list[Cause]:
    """Return why the schema at `path` is not structural, sorted as upstream sorts it."""
    causes = [*_invariants(raw, "root", path), *_completeness(raw, raw, path, path)]
    return sorted(causes, key=lambda cause: f"{cause.field}: {cause.message}")


def _invariants(raw: Json, level: Level, path: str) -> Iterator[Cause]:
    kind, items, others = raw.get("type") or "", raw.get("items"), raw.get("additionalProperties")
    if kind == "array" and items is None:
        yield required(f"{path}.items", "must be specified")
    if isinstance(items, dict):
        yield from _invariants(items, "item", f"{path}.items")
    for key, schema in (raw.get("properties") or {}).items():
        yield from _invariants(schema, "field", f"{path}.properties[{key}]")
    if others is not None:
        if level == "root":
            yield forbidden(f"{path}.additionalProperties", "must not be used at the root")
        if isinstance(others, dict):
            yield from _invariants(others, "field", f"{path}.additionalProperties")
    yield from _extensions(raw, path)
    skips_any = raw.get("anyOf") == _INT_OR_STRING
    yield from _values(raw, skips_any, _starts_with_int_or_string(raw), level, path)
    yield from _type(raw, level, path)
    if raw.get(_EMBEDDED) and others is not None:
        why = "must not be used if x-kubernetes-embedded-resource is set"
        yield forbidden(f"{path}.additionalProperties", why)
    if level == "root" and kind and kind != "object":
        yield invalid(f"{path}.type", kind, "must be object at the root")
    yield from _metadata(raw, level, path)
    if raw.get(_EMBEDDED) and not raw.get(_PRESERVE) and not raw.get("properties"):
        why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        yield required(f"{path}.properties", why)


def _starts_with_int_or_string(raw: Json) -> bool:
    schemas: Sequence[Any] = raw.get("allOf") or ()
    return bool(schemas) and schemas[0].get("anyOf") == _INT_OR_STRING


def _extensions(raw: Json, path: str) -> Iterator[Cause]:
    if raw.get(_EITHER):
        for extension in (_PRESERVE, _EMBEDDED):
            if raw.get(extension):
                yield invalid(
                    f"{path}.{extension}", True, "must be false if x-kubernetes-int-or-string is true"
                )


def _type(raw: Json, level: Level, path: str) -> Iterator[Cause]:
    kind = raw.get("type") or ""
    if raw.get(_EMBEDDED) and kind != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid(f"{path}.type", kind, why) if kind else required(f"{path}.type", why)
    elif not kind and not raw.get(_EITHER) and not raw.get(_PRESERVE):
        yield required(f"{path}.type", f"must not be empty {_WHERE[level]}")


def _metadata(raw: Json, level: Level, path: str) -> Iterator[Cause]:
    known = raw.get("properties") or {}
    checked = level == "root" or bool(raw.get(_EMBEDDED))
    for key in ("kind", "apiVersion"):
        if checked and key in known and known[key].get("type") != "string":
            yield invalid(f"{path}.properties[{key}].type", known[key].get("type") or "", "must be string")
    metadata = known.get("metadata")
    if metadata is None:
        return
    here = f"{path}.properties[metadata]"
    if checked and metadata.get("type") != "object":
        yield invalid(f"{here}.type", metadata.get("type") or "", "must be object")
    if level == "root":
        names = set(metadata.get("properties") or ())
        rest = {
            k
            for k, v in metadata.items()
            if k not in ("type", "default", "properties") and v not in (None, False)
        }
        if rest or names - {"name", "generateName"}:
            why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            yield forbidden(here, why)


def _values(raw: Json, skips_any: bool, skips_first_all: bool, level: Level, path: str) -> Iterator[Cause]:
    for key in ("anyOf", "allOf", "oneOf"):
        if key == "anyOf" and skips_any:
            continue
        for index, schema in enumerate(raw.get(key) or ()):
            skips = key == "allOf" and skips_first_all and index == 0
            yield from _nested(schema, skips, level, f"{path}.{key}[{index}]")
    if isinstance(raw.get("not"), dict):
        yield from _nested(raw["not"], False, level, f"{path}.not")
    if pattern := raw.get("pattern"):
        try:
            compiled(pattern)
        except BadPattern as error:
            why = f"must be a valid regular expression, but isn't: {error}"
            yield invalid(f"{path}.pattern", pattern, why)


def _nested(raw: Json, skips_any: bool, level: Level, path: str) -> Iterator[Cause]:
    yield from _values(raw, skips_any, False, level, path)
    if isinstance(items := raw.get("items"), dict):
        yield from _nested(items, False, level, f"{path}.items")
    known = raw.get("properties") or {}
    for key, schema in known.items():
        yield from _nested(schema, False, "field", f"{path}.properties[{key}]")
    for key, why in _FORBIDDEN:
        if raw.get(key) or (key == "additionalProperties" and isinstance(raw.get(key), dict)):
            yield forbidden(f"{path}.{key}", why)
    if "metadata" in known:
        yield forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")


def _completeness(values: Json, raw: Json | None, path: str, told: str) -> Iterator[Cause]:
    """Yield what nested schemas speak of and the structure does not have; `told` is where they do."""
    if raw is None:
        yield required(path, f"because it is defined in {told}")
        return
    if isinstance(values.get("not"), dict):
        yield from _nested_completeness(values["not"], raw, path, f"{told}.not")
    for key in ("allOf", "anyOf", "oneOf"):
        for index, schema in enumerate(values.get(key) or ()):
            yield from _nested_completeness(schema, raw, path, f"{told}.{key}[{index}]")


def _nested_completeness(nested: Json, raw: Json | None, path: str, told: str) -> Iterator[Cause]:
    yield from _completeness(nested, raw, path, told)
    if raw is None:
        return
    if isinstance(items := nested.get("items"), dict):
        has = raw.get("items")
        where = f"{path}.items"
        yield from _nested_completeness(items, has if isinstance(has, dict) else None, where, f"{told}.items")
    known = raw.get("properties") or {}
    for key, schema in (nested.get("properties") or {}).items():
        here, there = f"{path}.properties[{key}]", f"{told}.properties[{key}]"
        yield from _nested_completeness(schema, known.get(key), here, there)
