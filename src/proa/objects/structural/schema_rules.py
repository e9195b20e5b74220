"""Refuse a definition's JSON schema where it says what a schema may not say.

Follows ValidateCustomResourceDefinitionOpenAPISchema in apiextensions-apiserver/pkg/apis/apiextensions/validation/
validation.go. What an older server let pass stays allowed in updates: see `SchemaOptions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any, Protocol

from proa.objects.errors import Cause
from proa.objects.quick_dataclass import dataclass
from proa.objects.structural.field_paths import BadPath, find_field
from proa.objects.structural.node import META_FIELDS, Json, Node
from proa.objects.validation import forbidden, invalid, not_supported, required

TYPES = ("array", "boolean", "integer", "number", "object", "string")
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_LIST_TYPE, _KEYS, _MAP_TYPE = "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_PARTS = {
    **dict.fromkeys(("properties", "patternProperties", "definitions", "dependencies"), "named"),
    **dict.fromkeys(
        ("items", "allOf", "anyOf", "oneOf", "not", "additionalProperties", "additionalItems"), "plain"
    ),
}
"""Where a schema holds others: by name, or as they are."""
_NEWLINE = re.compile(r"[\n\r]")


class RuleContext(Protocol):
    """What compiles the rules of a schema and adds up their cost (rule_compiling.py)."""

    def item(self, schema: Json) -> RuleContext: ...

    def value(self, schema: Json) -> RuleContext: ...

    def property(self, schema: Json, name: str) -> RuleContext: ...

    def compile(self, schema: Json, path: str, uncorrelatable: str) -> list[Cause]: ...


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """What is asked of a schema; each can be waived for what is there already."""

    valid_types: bool = True
    atomic_sets: bool = True
    map_keys: bool = True


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the schema we are: whether defaults are allowed, else why not, and whether items have a past."""

    no_defaults: str | None = None
    inside_metadata: bool = False
    uncorrelatable: str = ""


@dataclass(slots=True)
class _Found:
    schema: list[Cause] = field(default_factory=list)
    rules: list[Cause] = field(default_factory=list)

    def add(self, other: _Found) -> None:
        self.schema += other.schema
        self.rules += other.rules


def validate_schema(raw: Json, path: str, options: SchemaOptions, rules: RuleContext | None) -> list[Cause]:
    """Return what is wrong with the schema at `path`; with `rules`, what is wrong with its rules too."""
    found = _validate(raw, path, _Place(), options, rules, is_root=True)
    return found.schema + found.rules


def has(raw: Any, test: Callable[[Json], bool]) -> bool:
    """Tell whether a schema, or any schema in it, passes a test."""
    return isinstance(raw, dict) and any(test(schema) for schema in every(raw))


def every(raw: Json) -> Iterator[Json]:
    """Yield a schema and every schema in it."""
    todo: list[Any] = [raw]
    while todo:
        schema = todo.pop()
        if type(schema) is not dict:
            continue
        yield schema
        for key, part in schema.items():
            how = _PARTS.get(key)
            if how is None or not part:
                continue
            if how == "named":
                todo += part.values()
            elif type(part) is list:
                todo += part
            else:
                todo.append(part)


def _validate(
    raw: Any,
    path: str,
    place: _Place,
    options: SchemaOptions,
    rules: RuleContext | None,
    *,
    is_root: bool = False,
) -> _Found:
    found = _Found()
    if not isinstance(raw, dict):
        return found
    found.schema += _standard(raw, path, place, options)
    if raw.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        found.schema.append(forbidden(f"{path}.uniqueItems", why))
    _validate_parts(raw, path, place, options, rules, is_root, found)
    found.schema += _extensions(raw, path, options)
    found.schema += _rule_fields(raw, path)
    if raw.get("x-kubernetes-validations") and not found.schema and rules is not None:
        found.rules += rules.compile(raw, path, place.uncorrelatable)
    return found


def _validate_parts(
    raw: Json,
    path: str,
    place: _Place,
    options: SchemaOptions,
    rules: RuleContext | None,
    is_root: bool,
    found: _Found,
) -> None:
    others: Any = raw.get("additionalProperties")
    known: Mapping[str, Any] = raw.get("properties") or {}
    if others is not None:
        if known and others is not True:
            why = "additionalProperties and properties are mutual exclusive"
            found.schema.append(forbidden(f"{path}.additionalProperties", why))
        below = place
        if place.inside_metadata:
            below = replace(place, no_defaults="inside additionalProperties applying to object metadata")
        context = rules.value(others) if rules is not None and isinstance(others, dict) else None
        found.add(_validate(others, f"{path}.additionalProperties", below, options, context))
    map_type = raw.get(_MAP_TYPE)
    for key, schema in known.items():
        below = place
        if map_type not in (None, "granular", "atomic"):
            below = _without_past(below, path)
        if (is_root or raw.get("x-kubernetes-embedded-resource")) and key in META_FIELDS:
            below = replace(below, inside_metadata=True)
            if is_root:
                below = replace(below, no_defaults=f"in top-level {key}")
        context = rules.property(schema, key) if rules is not None else None
        found.add(_validate(schema, f"{path}.properties[{key}]", below, options, context))
    if (negated := raw.get("not")) is not None:
        found.add(_validate(negated, f"{path}.not", place, options, None))
    for key in ("allOf", "oneOf", "anyOf"):
        for index, schema in enumerate(raw.get(key) or ()):
            found.add(_validate(schema, f"{path}.{key}[{index}]", place, options, None))
    items: Any = raw.get("items")
    if items is not None:
        below = place if raw.get(_LIST_TYPE) == "map" else _without_past(place, path)
        if isinstance(items, list):
            for index, schema in enumerate(items):
                found.add(_validate(schema, f"{path}.items[{index}]", below, options, None))
        else:
            context = rules.item(items) if rules is not None else None
            found.add(_validate(items, f"{path}.items", below, options, context))


def _without_past(place: _Place, path: str) -> _Place:
    """The highest path from which on old and new cannot be told to belong together is the one that is said."""
    return place if place.uncorrelatable else replace(place, uncorrelatable=path)


def _standard(raw: Json, path: str, place: _Place, options: SchemaOptions) -> Iterator[Cause]:
    kind = raw.get("type") or ""
    if options.valid_types and kind and kind not in TYPES:
        yield not_supported(f"{path}.type", kind, TYPES)
    if raw.get("default") is not None and place.no_defaults is not None:
        yield forbidden(f"{path}.default", f"must not be set {place.no_defaults}")
    for key in _UNSUPPORTED:
        if raw.get(key) or (key == "additionalItems" and raw.get(key) is not None):
            yield forbidden(f"{path}.{key}", f"{key} is not supported")
    if kind == "null":
        yield forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    if isinstance(raw.get("items"), list) and raw["items"]:
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    if place.inside_metadata and raw.get("x-kubernetes-embedded-resource"):
        why = "must not be used inside of resource meta"
        yield forbidden(f"{path}.x-kubernetes-embedded-resource", why)


def _extensions(raw: Json, path: str, options: SchemaOptions) -> Iterator[Cause]:
    if raw.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    map_type, list_type = raw.get(_MAP_TYPE), raw.get(_LIST_TYPE)
    if map_type is not None:
        yield from _needs_type(raw, "object", _MAP_TYPE, path)
        if map_type not in ("atomic", "granular"):
            yield not_supported(f"{path}.{_MAP_TYPE}", map_type, ("atomic", "granular"))
    items: Any = raw.get("items")
    if list_type is not None and raw.get("type") != "array":
        yield from _needs_type(raw, "array", _LIST_TYPE, path)
    elif options.atomic_sets and list_type == "set" and has_compound_items(raw):
        key = _LIST_TYPE if items.get("type") == "array" else _MAP_TYPE
        shown = items.get(_LIST_TYPE)
        why = "must be atomic as item of a list with x-kubernetes-list-type=set"
        yield invalid(f"{path}.items.{key}", shown, why)
    if list_type not in (None, "atomic", "set", "map"):
        yield not_supported(f"{path}.{_LIST_TYPE}", list_type, ("atomic", "set", "map"))
    if raw.get(_KEYS) and list_type != "map":
        why = "must be map if x-kubernetes-list-map-keys is non-empty"
        field = f"{path}.{_LIST_TYPE}"
        yield required(field, why) if list_type is None else invalid(field, list_type, why)
    if list_type == "map":
        yield from _list_map(raw, items, path)
    if options.map_keys:
        yield from map_key_causes(raw, path)


def _needs_type(raw: Json, wanted: str, extension: str, path: str) -> Iterator[Cause]:
    kind = raw.get("type") or ""
    if kind != wanted:
        why = f"must be {wanted} if {extension} is specified"
        yield invalid(f"{path}.type", kind, why) if kind else required(f"{path}.type", why)


def has_compound_items(raw: Json) -> bool:
    """Tell whether a set's items are lists or objects that merge by their parts."""
    items: Any = raw.get("items")
    if raw.get(_LIST_TYPE) != "set" or not isinstance(items, dict):
        return False
    if items.get("type") == "array":
        return items.get(_LIST_TYPE) not in (None, "atomic")
    return items.get("type") == "object" and items.get(_MAP_TYPE) != "atomic"


def _list_map(raw: Json, items: Any, path: str) -> Iterator[Cause]:
    keys = raw.get(_KEYS) or []
    if not keys:
        yield required(f"{path}.{_KEYS}", "must not be empty if x-kubernetes-list-type is map")
    if items is None:
        yield required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
    elif not isinstance(items, dict):
        yield invalid(
            f"{path}.items", items, "must only have a single schema if x-kubernetes-list-type is map"
        )
    elif items.get("type") != "object":
        why = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid(f"{path}.items.type", items.get("type") or "", why)
    else:
        known = items.get("properties") or {}
        for index, key in enumerate(keys):
            if key not in known:
                yield invalid(f"{path}.{_KEYS}", keys, "entries must all be names of item properties")
            elif known[key].get("type") in ("array", "object"):
                why = "must be a scalar type if parent array's x-kubernetes-list-type is map"
                yield invalid(f"{path}.items.properties[{key}].type", items["type"], why)
            if key in keys[:index]:
                yield invalid(f"{path}.{_KEYS}", keys, "must not contain duplicate entries")


def map_key_causes(raw: Json, path: str) -> Iterator[Cause]:
    """Yield why items of a set or map, or the keys of a map's items, could be absent or null."""
    items, list_type = raw.get("items"), raw.get(_LIST_TYPE)
    if not isinstance(items, dict) or list_type not in ("set", "map"):
        return
    if items.get("nullable"):
        yield forbidden(
            f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {list_type}"
        )
    if list_type != "map":
        return
    known, needed = items.get("properties") or {}, items.get("required") or ()
    for key in raw.get(_KEYS) or ():
        if key not in known:
            continue
        here = f"{path}.items.properties[{key}]"
        if key not in needed and known[key].get("default") is None:
            why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{here}.default", why)
        if known[key].get("nullable"):
            why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            yield forbidden(f"{here}.nullable", why)


def _rule_fields(raw: Json, path: str) -> Iterator[Cause]:
    for index, rule in enumerate(raw.get("x-kubernetes-validations") or ()):
        here = f"{path}.x-kubernetes-validations[{index}]"
        yield from _rule_text(rule, here)
        expression = rule.get("messageExpression") or ""
        if expression and not expression.strip():
            yield required(f"{here}.messageExpression", "messageExpression must be non-empty if specified")
        reason = rule.get("reason")
        if reason is not None and reason not in REASONS:
            yield not_supported(f"{here}.reason", reason, REASONS)
        field_path = rule.get("fieldPath") or ""
        if field_path and not field_path.strip():
            yield invalid(f"{here}.fieldPath", field_path, "must be non-empty if specified")
        if _NEWLINE.search(field_path):
            yield invalid(f"{here}.fieldPath", field_path, "must not contain line breaks")
        if field_path:
            try:
                find_field(field_path, Node(raw))
            except BadPath:
                yield invalid(f"{here}.fieldPath", field_path, "must be a valid path")


def _rule_text(rule: Json, path: str) -> Iterator[Cause]:
    text, message = (rule.get("rule") or "").strip(), rule.get("message") or ""
    if not text:
        yield required(f"{path}.rule", "rule is not specified")
    elif message and not message.strip():
        yield invalid(f"{path}.message", message, "must be non-empty if specified")
    elif _NEWLINE.search(message.strip()):
        yield invalid(f"{path}.message", message, "must not contain line breaks")
    elif _NEWLINE.search(text) and not message.strip():
        yield required(f"{path}.message", "message must be specified if rule contains line breaks")
