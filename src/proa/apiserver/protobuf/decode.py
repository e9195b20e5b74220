"""Turn a Kubernetes protobuf body into the object that its JSON would have been.

A body is the four bytes `k8s\\0`, then a `runtime.Unknown` message: apiVersion and kind, and the object's own message
(apimachinery/pkg/runtime/serializer/protobuf/protobuf.go). Field numbers come from the table beside this file. On the
wire a Go field that is not a pointer is present even when it is empty; in JSON most are then left out, as here. Unknown
field numbers are skipped, as every protobuf decoder does. Depth and lengths are bounded; nothing here trusts the body.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from proa.apiserver.protobuf.table import BYTES, FIXED32, FIXED64, MAGIC, VARINT, find_message, messages
from proa.client.protocol import Object
from proa.objects.errors import BadRequest

MAX_DEPTH = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Malformed(ValueError):
    """The bytes are not the message that they should be."""


def decode_object(body: bytes, kind: str) -> Object:
    """Return the object in a protobuf body that should hold a `kind`; raise BadRequest."""
    try:
        api_version, found, raw = _open_envelope(body)
        name = find_message(api_version, found)
        if name is None:
            raise Malformed(f'no kind "{found}" is registered for version "{api_version}"')
        obj = _decode_message(memoryview(raw), name, 0)
    except Malformed as error:
        raise BadRequest(
            f"the object provided is unrecognized (must be of type {kind}): protobuf: {error}"
        ) from None
    return {"kind": found, "apiVersion": api_version, **obj}


def _open_envelope(body: bytes) -> tuple[str, str, bytes]:
    """Return apiVersion, kind and the message inside."""
    if not body.startswith(MAGIC):
        raise Malformed(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    api_version, kind, raw = "", "", b""
    for number, wire, value in _fields(memoryview(body)[len(MAGIC) :]):
        if wire != BYTES:
            continue
        if number == 1:
            meta = {n: _text(v) for n, w, v in _fields(value) if w == BYTES}
            api_version, kind = meta.get(1, ""), meta.get(2, "")
        elif number == 2:
            raw = bytes(value)
        elif number == 3 and len(value):
            raise Malformed(f"content encoding {_text(value)!r} is not supported")
    return api_version, kind, raw


def _decode_message(data: memoryview, message: str, depth: int) -> Object:
    if depth > MAX_DEPTH:
        raise Malformed(f"nested deeper than {MAX_DEPTH}")
    known = messages()[message]
    obj: Object = {}
    for number, wire, value in _fields(data):
        field = known.get(number)
        if field is None:
            continue
        if field.is_inline:
            obj.update(_decode_message(_bytes(wire, value), field.type, depth + 1))
        elif field.type.startswith("[]") and not field.type.startswith("[]items:"):
            obj.setdefault(field.name, []).extend(_decode_list(wire, value, field.type[2:], depth))
        elif field.type.startswith("{}"):
            key, item = _decode_entry(_bytes(wire, value), field.type[2:], depth)
            obj.setdefault(field.name, {})[key] = item
        else:
            decoded = _decode_value(wire, value, field.type, depth)
            if field.shows_zero or not _is_zero(decoded):
                obj[field.name] = decoded
    return obj


def _is_zero(value: Any) -> bool:
    return value is None or value in ("", 0, False) or value in ({}, [])


def _decode_list(wire: int, value: Any, item: str, depth: int) -> list[Any]:
    """Return the items of one occurrence of a repeated field: one, or several packed numbers."""
    if wire == BYTES and item in ("int32", "int64", "bool"):
        return [_number(v, item) for v in _varints(value)]
    return [_decode_value(wire, value, item, depth)]


def _decode_entry(data: memoryview, item: str, depth: int) -> tuple[str, Any]:
    """Return one entry of a map: key is field 1, value field 2; what is missing is empty."""
    key, decoded = "", _empty(item)
    for number, wire, value in _fields(data):
        if number == 1:
            key = _text(_bytes(wire, value))
        elif number == 2:
            decoded = _decode_value(wire, value, item, depth)
    return key, decoded


def _empty(item: str) -> Any:
    if item.startswith("[]"):
        return []
    return {"string": "", "bytes": "", "quantity": "0"}.get(item, {})


def _decode_value(wire: int, value: Any, type_: str, depth: int) -> Any:
    if type_ in ("int32", "int64", "bool"):
        if wire != VARINT:
            raise Malformed(f"wire type {wire} for a number")
        return _number(value, type_)
    if type_ == "double":
        if wire != FIXED64:
            raise Malformed(f"wire type {wire} for a double")
        return struct.unpack("<d", value)[0]
    data = _bytes(wire, value)
    read = _SCALARS.get(type_)
    if read is not None:
        return read(data)
    prefix, _, item = type_.partition(":")
    if not item:
        return _decode_message(data, type_, depth + 1)
    if prefix == "[]items":
        return [_decode_value(w, v, item, depth) for n, w, v in _fields(data) if n == 1]
    return _decode_union(data, prefix, item, depth)


def _decode_union(data: memoryview, prefix: str, schema: str, depth: int) -> Any:
    """Return a JSON schema or what may stand in its place: apiextensions/v1/marshal.go."""
    fields = list(_fields(data))
    at, other = (2, 1) if prefix == "orBool" else (1, 2)
    for number, wire, value in fields:
        if number == at:
            return _decode_value(wire, value, schema, depth)
    if prefix == "orBool":
        return any(number == other and wire == VARINT and value for number, wire, value in fields)
    item = schema if prefix == "orArray" else "string"
    return [_decode_value(wire, value, item, depth) for number, wire, value in fields if number == other]


def _number(value: int, type_: str) -> int | bool:
    if type_ == "bool":
        return bool(value)
    return value - (1 << 64) if value >= 1 << 63 else value


def _bytes(wire: int, value: Any) -> memoryview:
    if wire != BYTES:
        raise Malformed(f"wire type {wire} where a length is due")
    data: memoryview = value
    return data


def _text(data: memoryview) -> str:
    try:
        return bytes(data).decode()
    except UnicodeDecodeError:
        raise Malformed("a string is not UTF-8") from None


def _read_time(data: memoryview) -> str | None:
    moment = _read_moment(data)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def _read_micro_time(data: memoryview) -> str | None:
    moment = _read_moment(data)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None


def _read_moment(data: memoryview) -> datetime | None:
    """Return the moment of a Timestamp; None for the zero time, which Go sends as an empty message."""
    numbers = {n: _number(v, "int64") for n, w, v in _fields(data) if w == VARINT}
    if not numbers:
        return None
    try:
        return _EPOCH + timedelta(seconds=numbers.get(1, 0), microseconds=numbers.get(2, 0) // 1000)
    except OverflowError:
        raise Malformed("a time is out of range") from None


def _read_duration(data: memoryview) -> str:
    numbers = {n: _number(v, "int64") for n, w, v in _fields(data) if w == VARINT}
    return f"{numbers.get(1, 0) / 1e9:g}s"


def _read_quantity(data: memoryview) -> str:
    return next((_text(v) for n, w, v in _fields(data) if n == 1 and w == BYTES), "0")


def _read_int_or_string(data: memoryview) -> int | str:
    """Return field 3 where field 1 (the type) says string, else field 2."""
    values = {n: v for n, _, v in _fields(data)}
    if values.get(1, 0) == 1:
        return _text(_bytes(BYTES, values.get(3, memoryview(b""))))
    return _number(values.get(2, 0), "int32") if isinstance(values.get(2, 0), int) else 0


def _read_json(data: memoryview) -> Any:
    raw = next((bytes(v) for n, w, v in _fields(data) if n == 1 and w == BYTES), b"")
    try:
        return orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError as error:
        raise Malformed(f"embedded JSON: {error}") from None


_SCALARS: dict[str, Callable[[memoryview], Any]] = {
    "string": _text,
    "bytes": lambda data: base64.b64encode(data).decode(),
    "time": _read_time,
    "microTime": _read_micro_time,
    "duration": _read_duration,
    "quantity": _read_quantity,
    "intOrString": _read_int_or_string,
    "json": _read_json,
}


def _fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Yield (number, wire type, value): an int for VARINT, else a view of the bytes."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            length, at = _varint(data, at)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise Malformed(f"wire type {wire}")
        if length > end - at:
            raise Malformed("unexpected EOF")
        yield number, wire, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number at `at`, and where the next byte is."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise Malformed("unexpected EOF")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((1 << 64) - 1), at
        shift += 7
        if shift > 63:
            raise Malformed("a number is longer than 64 bits")


def _varints(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value
