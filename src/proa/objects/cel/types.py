"""The types that CEL's checker reasons with, and how a schema is one.

Follows cel-go common/types/types.go (names) and apiserver/pkg/cel/common/schemas.go (what a schema becomes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from proa.objects.cel.escaping import RESERVED, escape, unescape
from proa.objects.schemas.schema import Schema

Kind = Literal["dyn", "error", "param", "scalar", "list", "map", "object", "opaque", "null", "type"]


@dataclass(frozen=True, slots=True)
class Type:
    """A type. Two objects are the same type when their names are; `fields` says what they have."""

    kind: Kind
    name: str
    parameters: tuple[Type, ...] = ()
    fields: Fields | None = field(default=None, compare=False, repr=False)
    list_type: str = field(default="", compare=False)
    list_map_keys: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(str(p) for p in self.parameters)})"


class Fields:
    """What fields a type of object has. `find` is lazy, so that recursive schemas are types too."""

    def find(self, name: str) -> Type | None:
        """Return the type of a field, None where there is no such field."""
        raise NotImplementedError

    def source_name(self, name: str) -> str:
        """Return the key under which values hold the field."""
        return name


class NamedFields(Fields):
    """Fields from a mapping."""

    def __init__(self, types: Mapping[str, Type]) -> None:
        self.types = types

    def find(self, name: str) -> Type | None:
        """Return the type of a field, None where there is no such field."""
        return self.types.get(name)


def _scalar(name: str) -> Type:
    return Type("scalar", name)


DYN = Type("dyn", "dyn")
ERROR = Type("error", "!error!")
NULL = Type("null", "null_type")
BOOL, INT, UINT, DOUBLE = _scalar("bool"), _scalar("int"), _scalar("uint"), _scalar("double")
STRING, BYTES = _scalar("string"), _scalar("bytes")
TIMESTAMP, DURATION = _scalar("timestamp"), _scalar("duration")
TYPE = Type("type", "type")
URL = Type("opaque", "kubernetes.URL")
QUANTITY = Type("opaque", "kubernetes.Quantity")
SEMVER = Type("opaque", "kubernetes.Semver")
IP = Type("opaque", "net.IP")
CIDR = Type("opaque", "net.CIDR")
FORMAT = Type("opaque", "kubernetes.NamedFormat")
AUTHORIZER = Type("opaque", "kubernetes.authorization.Authorizer")
PATH_CHECK = Type("opaque", "kubernetes.authorization.PathCheck")
GROUP_CHECK = Type("opaque", "kubernetes.authorization.GroupCheck")
RESOURCE_CHECK = Type("opaque", "kubernetes.authorization.ResourceCheck")
DECISION = Type("opaque", "kubernetes.authorization.Decision")


def list_of(element: Type, list_type: str = "", keys: tuple[str, ...] = ()) -> Type:
    """Return `list(element)`."""
    return Type("list", "list", (element,), list_type=list_type, list_map_keys=keys)


def map_of(key: Type, value: Type) -> Type:
    """Return `map(key, value)`."""
    return Type("map", "map", (key, value))


def optional_of(value: Type) -> Type:
    """Return `optional_type(value)`."""
    return Type("opaque", "optional_type", (value,))


def type_of(value: Type) -> Type:
    """Return `type(value)`."""
    return Type("type", "type", (value,))


def object_of(name: str, fields: Mapping[str, Type]) -> Type:
    """Return a type of object with these fields and no others."""
    return Type("object", name, fields=NamedFields(fields))


def parameter(name: str) -> Type:
    """Return a type parameter of a function."""
    return Type("param", name)


def is_optional(kind: Type) -> bool:
    """Tell whether values may be absent."""
    return kind.name == "optional_type" and kind.kind == "opaque"


class _SchemaFields(Fields):
    __slots__ = ("_made", "_path", "_schema")

    def __init__(self, schema: Schema, path: str) -> None:
        self._schema, self._path = schema, path
        self._made: dict[str, Type | None] = {}

    def find(self, name: str) -> Type | None:
        if name not in self._made:
            made = None
            source = self.source_name(name)
            is_written_so = escape(source) == name or name in RESERVED
            if is_written_so and source in self._schema.properties:
                made = from_schema(self._schema.properties[source], f"{self._path}.{name}")
            self._made[name] = made
        return self._made[name]

    def source_name(self, name: str) -> str:
        source = unescape(name)
        return name if source is None else source


def from_schema(schema: Schema, name: str = "object") -> Type | None:
    """Return the type of what a schema describes; None: expressions cannot reach it.

    `name` is what messages call an object of it. Field names that CEL cannot write are escaped; reserved words
    may be written plainly too (recognizeKeywordAsFieldName in apiserver/pkg/cel/types.go), as in `metadata.namespace`.
    """
    if schema.type == "int-or-string":
        return DYN
    if schema.type == "array":
        element = from_schema(schema.items, f"{name}.@idx") if schema.items else None
        return list_of(element, schema.list_type, schema.list_map_keys) if element else None
    if schema.type == "object":
        if schema.values is not None:
            value = from_schema(schema.values, f"{name}.@elem")
            if value is None and schema.preserve_unknown:
                return object_of(name, {})  # it can be asked for, and compared, but not looked into
            return map_of(STRING, value) if value else None
        return Type("object", name, fields=_SchemaFields(schema, name))
    if schema.type == "string":
        return _FORMATS.get(schema.format, STRING)
    return _SCALARS.get(schema.type)


_FORMATS = {"byte": BYTES, "duration": DURATION, "date": TIMESTAMP, "date-time": TIMESTAMP}
_SCALARS = {"boolean": BOOL, "number": DOUBLE, "integer": INT, "quantity": DYN}
