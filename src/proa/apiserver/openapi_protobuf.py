"""Write the Swagger 2.0 document as protobuf, which kubectl reads when OpenAPI v3 does not know a kind.

The messages are gnostic's openapi.v2.Document (github.com/google/gnostic-models/openapiv2/OpenAPIv2.proto). What a
schema, a parameter or an operation is made of is a table: the JSON key, the field's number, and what it holds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import orjson

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ACCEPTED = (MEDIA_TYPE, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
Json = Mapping[str, Any]
_VARINT, _FIXED64, _BYTES = 0, 1, 2


def encode_document(document: Json) -> bytes:
    """Return the bytes of a whole Swagger 2.0 document."""
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    return b"".join((
        _text(1, document["swagger"]),
        _message(2, info),
        _message(8, _named(2, document["paths"], _path)),
        _message(9, _named(1, document["definitions"], _schema)),
    ))  # fmt: skip


# The wire: protobuf.dev/programming-guides/encoding.


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def _text(number: int, value: str) -> bytes:
    return _message(number, value.encode())


def _texts(number: int, values: Iterable[str]) -> bytes:
    return b"".join(_text(number, value) for value in values)


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | _FIXED64) + struct.pack("<d", value)


def _named(number: int, values: Json, encode: Callable[[Any], bytes]) -> bytes:
    """A map is a list of messages with a name and a value."""
    return b"".join(
        _message(number, _text(1, name) + _message(2, encode(value))) for name, value in values.items()
    )


def _any(value: Any) -> bytes:
    """Return a value that has no message: as YAML, of which JSON is a part."""
    return _message(2, orjson.dumps(value))


# The document's parts.


def _encode(value: Json, fields: Mapping[str, Callable[[Any], bytes]], extensions: int) -> bytes:
    known = [fields[key](part) for key, part in value.items() if key in fields]
    loose = {key: part for key, part in value.items() if key.startswith("x-")}
    return b"".join(known) + _named(extensions, loose, _any)


def _schema(schema: Json) -> bytes:
    return _encode(schema, _SCHEMA, 31)


def _additional(value: Any) -> bytes:
    return _number(2, value) if isinstance(value, bool) else _message(1, _schema(value))


def _path(item: Json) -> bytes:
    methods = (_message(number, _operation(item[name])) for name, number in _METHODS.items() if name in item)
    return b"".join(methods) + _parameters(9, item.get("parameters", ()))


def _operation(operation: Json) -> bytes:
    return _encode(operation, _OPERATION, 13)


def _parameters(number: int, parameters: Iterable[Json]) -> bytes:
    return b"".join(_message(number, _message(1, _parameter(p))) for p in parameters)


def _parameter(parameter: Json) -> bytes:
    if parameter["in"] == "body":
        return _message(1, _encode(parameter, _BODY, 6))
    number = {"header": 1, "formData": 2, "query": 3, "path": 4}[parameter["in"]]
    is_query = parameter["in"] == "query"
    return _message(
        2, _message(number, _encode(parameter, _QUERY if is_query else _HEADER, 23 if is_query else 22))
    )


def _response(response: Json) -> bytes:
    said = _text(1, response["description"])
    if "schema" in response:
        said += _message(2, _message(1, _schema(response["schema"])))
    return _message(1, said)


def _fields(*table: tuple[str, int, Callable[[int, Any], bytes]]) -> dict[str, Callable[[Any], bytes]]:
    """Return how each JSON key is encoded: under its number, as what it holds."""
    return {key: partial(encode, number) for key, number, encode in table}


def _inner(encode: Callable[[Any], bytes]) -> Callable[[int, Any], bytes]:
    return lambda number, value: _message(number, encode(value))


def _each(encode: Callable[[Any], bytes]) -> Callable[[int, Any], bytes]:
    return lambda number, values: b"".join(_message(number, encode(value)) for value in values)


_type = _inner(lambda value: _texts(1, [value] if isinstance(value, str) else value))
_items = _inner(lambda value: _message(1, _schema(value)))
_properties = _inner(lambda value: _named(1, value, _schema))
_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}
_SCHEMA = _fields(
    ("$ref", 1, _text),
    ("format", 2, _text),
    ("title", 3, _text),
    ("description", 4, _text),
    ("default", 5, _inner(_any)),
    ("multipleOf", 6, _double),
    ("maximum", 7, _double),
    ("exclusiveMaximum", 8, _number),
    ("minimum", 9, _double),
    ("exclusiveMinimum", 10, _number),
    ("maxLength", 11, _number),
    ("minLength", 12, _number),
    ("pattern", 13, _text),
    ("maxItems", 14, _number),
    ("minItems", 15, _number),
    ("uniqueItems", 16, _number),
    ("maxProperties", 17, _number),
    ("minProperties", 18, _number),
    ("required", 19, _texts),
    ("enum", 20, _each(_any)),
    ("additionalProperties", 21, _inner(_additional)),
    ("type", 22, _type),
    ("items", 23, _items),
    ("properties", 25, _properties),
)
_OPERATION = _fields(
    ("tags", 1, _texts),
    ("description", 3, _text),
    ("operationId", 5, _text),
    ("produces", 6, _texts),
    ("consumes", 7, _texts),
    ("parameters", 8, _parameters),
    ("responses", 9, _inner(lambda value: _named(1, value, _response))),
    ("schemes", 10, _texts),
    ("deprecated", 11, _number),
)
_BODY = _fields(
    ("description", 1, _text),
    ("name", 2, _text),
    ("in", 3, _text),
    ("required", 4, _number),
    ("schema", 5, _inner(_schema)),
)
_HEADER = _fields(
    ("required", 1, _number),
    ("in", 2, _text),
    ("description", 3, _text),
    ("name", 4, _text),
    ("type", 5, _text),
    ("format", 6, _text),
)
_QUERY = _fields(
    ("required", 1, _number),
    ("in", 2, _text),
    ("description", 3, _text),
    ("name", 4, _text),
    ("type", 6, _text),
    ("format", 7, _text),
)
