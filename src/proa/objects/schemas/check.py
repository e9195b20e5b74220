"""Make a decoded body what its kind's schema allows: types checked, unknown fields pruned, scalars canonical.

Each node is compiled once into a function that walks a value at full speed and knows nothing of paths. Only when
such a function meets something to report (an unknown field, a wrong type, a null) is the object walked again,
slowly, by `_Inspector`, which says where and in Go's words. Follows sigs.k8s.io/json and
apimachinery/pkg/runtime/serializer/json/json.go; a null, an empty optional list or map, or a zero in a field that is
no pointer, is as good as absent, as Go's omitempty has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any, Literal

from proa.objects.errors import BadRequest
from proa.objects.quick_dataclass import dataclass
from proa.objects.schemas.duplicates import find_duplicate_fields
from proa.objects.schemas.scalars import WrongType, WrongValue, converter, json_name, zero_value
from proa.objects.schemas.schema import Schema

Strictness = Literal["Ignore", "Warn", "Strict"]
Compiled = Callable[[Any], Any]
_GO_TYPES = {"boolean": "bool", "number": "float64", "quantity": "resource.Quantity", "any": "interface {}"}


@dataclass(frozen=True, slots=True)
class Checked:
    """The object as the schema has it, and what a client is to be warned of."""

    obj: dict[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Faults:
    """What was wrong with an object: the first undecodable value, and the fields that nobody knows."""

    undecodable: str = ""
    unknown: list[str] = field(default_factory=list)
    mismatch: tuple[str, Schema] | None = None
    """The JSON type and the schema behind `undecodable`, where it is that they do not fit."""


def check(
    obj: dict[str, Any], schema: Schema, strictness: Strictness = "Ignore", body: bytes = b""
) -> Checked:
    """Return `obj` checked and pruned; it is changed in place. Raise BadRequest as a real API server words it.

    With `body`, the bytes that `obj` was decoded from, fields given twice are found too.
    """
    faults = prune(obj, schema)
    duplicates = find_duplicate_fields(body) if body and strictness != "Ignore" else []
    if faults is None and not duplicates:
        return Checked(obj)
    faults = faults or Faults()
    if faults.undecodable:
        raise BadRequest(f"{_handled_as(obj)}: {faults.undecodable}")
    complaints = [f'unknown field "{path}"' for path in faults.unknown]
    complaints += [f'duplicate field "{path}"' for path in duplicates]
    if strictness == "Strict" and complaints:
        raise BadRequest(f"{_handled_as(obj)}: strict decoding error: {', '.join(complaints)}")
    return Checked(obj, tuple(complaints) if strictness == "Warn" else ())


def prune(obj: dict[str, Any], schema: Schema) -> Faults | None:
    """Bring `obj` in place to what `schema` allows; return what could not be, or None."""
    if schema.decode is not None:
        faults: Faults | None = schema.decode(obj)
        return faults
    try:
        _compiled(schema)(obj)
    except (_LookCloser, WrongType, WrongValue):
        inspector = _Inspector()
        inspector.walk(obj, schema, "", "", "")
        return inspector.faults
    return None


def _handled_as(obj: dict[str, Any]) -> str:
    kind = obj.get("kind", "")
    version = str(obj.get("apiVersion", "")).rpartition("/")[2]
    return f'{kind} in version "{version}" cannot be handled as a {kind}'


class _LookCloser(Exception):
    """There is something to report: walk again with paths."""


def _compiled(schema: Schema) -> Compiled:
    made: Compiled | None = schema.compiled
    if made is None:
        made = schema.compiled = _compile(schema)
    return made


def _compile(schema: Schema) -> Compiled:
    if schema.type == "object":
        if schema.values is not None:
            return _compile_map(schema.values)
        return _is_object if schema.preserve_unknown else _compile_struct(schema)
    if schema.type == "array":
        return _compile_list(schema.items)
    if schema.object_form is not None:
        return _compile_union(schema.object_form, schema.name.endswith("OrBool"))
    return _keep if schema.type == "any" else converter(schema)


def _keep(value: Any) -> Any:
    return value


def _is_object(value: Any) -> Any:
    if type(value) is not dict:
        raise _LookCloser
    return value


def _compile_union(shape: Schema, or_bool: bool) -> Compiled:
    def run(value: Any) -> Any:
        if type(value) is dict:
            return _compiled(shape)(value)
        if type(value) is list and not or_bool:
            return [_compiled(shape)(item) for item in value]
        if type(value) is not bool or not or_bool:
            raise WrongValue(
                "boolean or JSON schema expected" if or_bool else "JSON schema or array expected"
            )
        return value

    return run


def _compile_struct(schema: Schema) -> Compiled:
    plain: dict[str, type] = {}  # no more to do than to compare the type
    others: dict[str, tuple[Compiled, bool]] = {}
    fields, required, omitted = schema.properties, schema.required, schema.omitted

    def find(key: str) -> tuple[Compiled, bool]:
        node = fields.get(key)
        if node is None:
            raise _LookCloser
        if node.type == "string" and not node.format:
            plain[key] = str
        elif node.type == "boolean":
            plain[key] = bool
        is_container = node.type == "array" or node.values is not None
        droppable = key in omitted or (is_container and key not in required)
        others[key] = found = (_compiled(node), droppable)
        return found

    def run(value: Any) -> Any:
        if type(value) is not dict:
            raise _LookCloser
        dropped: list[str] | None = None
        for key, item in value.items():
            if type(item) is plain.get(key) and (item or key not in omitted):
                continue
            convert, droppable = others.get(key) or find(key)
            if item is None or (droppable and not item):
                if item is not None:
                    convert(item)  # which says where an empty list stands for a map
                dropped = [key] if dropped is None else [*dropped, key]
                continue
            converted = convert(item)
            if converted is not item:
                value[key] = converted
        for key in dropped or ():
            del value[key]
        return value

    return run


def _compile_map(values: Schema) -> Compiled:
    convert = _compiled(values)
    plain = str if values.type == "string" and not values.format else None

    def run(value: Any) -> Any:
        if type(value) is not dict:
            raise _LookCloser
        for key, item in value.items():
            if type(item) is plain:
                continue
            if item is None:
                raise _LookCloser
            converted = convert(item)
            if converted is not item:
                value[key] = converted
        return value

    return run


def _compile_list(items: Schema | None) -> Compiled:
    convert: Compiled | None = None
    plain = str if items is not None and items.type == "string" and not items.format else None

    def run(value: Any) -> Any:
        nonlocal convert
        if type(value) is not list:
            raise _LookCloser
        if convert is None:
            convert = _keep if items is None else _compiled(items)
        for index, item in enumerate(value):
            if type(item) is plain:
                continue
            if item is None:
                raise _LookCloser
            converted = convert(item)
            if converted is not item:
                value[index] = converted
        return value

    return run


class _Inspector:
    """The slow walk: the same changes, and what is wrong where.

    `path` is that of strict decoding (`spec.containers[0].foo`); `struct` and `fields` are Go's: the innermost
    struct type and the field names that lead to the value, without indices and map keys.
    """

    def __init__(self) -> None:
        self.faults = Faults()

    def walk(self, value: Any, schema: Schema, path: str, struct: str, fields: str) -> Any:
        if schema.object_form is not None:
            return self._union(value, schema, path, struct, fields)
        if schema.type == "any" or (schema.preserve_unknown and type(value) is dict):
            return value
        if schema.type == "object":
            return self._object(value, schema, path, struct, fields)
        if schema.type == "array":
            return self._list(value, schema, path, struct, fields)
        try:
            return converter(schema)(value)
        except WrongType as error:
            self._wrong_type(error.found, schema, struct, fields)
        except WrongValue as error:
            self.faults.undecodable = self.faults.undecodable or str(error)
        return value

    def _union(self, value: Any, schema: Schema, path: str, struct: str, fields: str) -> Any:
        shape = schema.object_form
        assert shape is not None
        if type(value) is dict:
            return self.walk(value, shape, path, struct, fields)
        if type(value) is list and schema.name.endswith("OrArray"):
            return [self.walk(item, shape, f"{path}[{i}]", struct, fields) for i, item in enumerate(value)]
        try:
            return _compiled(schema)(value)
        except WrongValue as error:
            self.faults.undecodable = self.faults.undecodable or str(error)
        return value

    def _object(self, value: Any, schema: Schema, path: str, struct: str, fields: str) -> Any:
        if type(value) is not dict:
            self._wrong_type(json_name(value), schema, struct, fields)
        elif schema.values is not None:
            for key, item in value.items():
                value[key] = self._item(item, schema.values, f"{path}.{key}", struct, fields)
        else:
            self._struct(value, schema, path, fields)
        return value

    def _struct(self, value: dict[str, Any], schema: Schema, path: str, fields: str) -> None:
        struct = schema.name.rpartition(".")[2]
        for key in list(value):
            node, item = schema.properties.get(key), value[key]
            here = f"{path}.{key}" if path else key
            if node is None:
                self.faults.unknown.append(here)
                del value[key]
            elif item is None or _is_droppable(item, key, node, schema):
                del value[key]
            else:
                made = self.walk(item, node, here, struct, f"{fields}.{key}" if fields else key)
                if made or key not in schema.omitted:
                    value[key] = made
                else:
                    del value[key]

    def _list(self, value: Any, schema: Schema, path: str, struct: str, fields: str) -> Any:
        if type(value) is not list:
            self._wrong_type(json_name(value), schema, struct, fields)
        elif schema.items is not None:
            for index, item in enumerate(value):
                value[index] = self._item(item, schema.items, f"{path}[{index}]", struct, fields)
        return value

    def _item(self, item: Any, schema: Schema, path: str, struct: str, fields: str) -> Any:
        return zero_value(schema) if item is None else self.walk(item, schema, path, struct, fields)

    def _wrong_type(self, found: str, schema: Schema, struct: str, fields: str) -> None:
        where = f"Go struct field {struct}.{fields}" if fields else "Go value"
        if not self.faults.undecodable:
            self.faults.undecodable = f"json: cannot unmarshal {found} into {where} of type {go_type(schema)}"
            self.faults.mismatch = (found, schema)


def _is_droppable(item: Any, key: str, node: Schema, parent: Schema) -> bool:
    container = (type(item) is list and node.type == "array") or (
        type(item) is dict and node.values is not None
    )
    return container and not item and key not in parent.required


def go_type(schema: Schema) -> str:
    """Return the Go type of a field, e.g. []v1.Container."""
    if schema.type == "array":
        return "[]" + (go_type(schema.items) if schema.items else "interface {}")
    if schema.values is not None:
        return "map[string]" + go_type(schema.values)
    if schema.name:
        return ".".join(schema.name.split(".")[-2:])
    if schema.format == "byte":
        return "[]uint8"
    if schema.type == "integer":
        return schema.format or "int64"
    return _GO_TYPES.get(schema.type, schema.type)
