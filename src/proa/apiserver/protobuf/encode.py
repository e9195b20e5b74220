"""Write an object as the protobuf that a real API server would send: byte for byte, where the JSON says the same.

A message's fields stand in the order of their numbers. One that is no pointer in Go, nor a list or a map, is there even
where the object lacks it, as its zero; entries of maps stand in the order of their keys (gogo/protobuf, marshal). Each
message is compiled once into a function. `decode.py` is the inverse; field numbers come from the table of both.
"""

from __future__ import annotations

import base64
import functools
import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import orjson

from proa.apiserver.protobuf.table import BYTES, FIXED64, MAGIC, VARINT, Field, find_message, messages

Write = Callable[[Any], bytes]
"""Returns a value as it stands on the wire: behind its tag, and its length where it has one."""
_MASK = (1 << 64) - 1


def encode_object(obj: Mapping[str, Any]) -> bytes:
    """Return an object that says its kind as a body: a runtime.Unknown behind four bytes (protobuf.go)."""
    api_version, kind = obj.get("apiVersion", ""), obj["kind"]
    name = find_message(api_version, kind)
    if name is None:
        raise ValueError(f'kind "{kind}" of "{api_version}" has no protobuf')
    type_meta = _tagged(1, _sized(api_version.encode())) + _tagged(2, _sized(kind.encode()))
    body = _tagged(1, _sized(type_meta)) + _tagged(2, _sized(_message(name)(obj)))
    return b"%b%b\x1a\0\x22\0" % (MAGIC, body)


def encode_event(line: bytes) -> bytes:
    """Return a watch event, which is given as JSON: a WatchEvent message whose object is a body as above."""
    event = orjson.loads(line)
    raw = _tagged(1, _sized(encode_object(event["object"])))
    return _tagged(1, _sized(event["type"].encode())) + _tagged(2, _sized(raw))


@functools.cache
def _message(name: str) -> Write:
    """Return what writes a message's fields, without its length."""
    fields = [(None if f.is_inline else f.name, *_field(f)) for f in messages()[name].values()]

    def write(obj: Mapping[str, Any]) -> bytes:
        parts = []
        for key, absent, write_field in fields:
            value = obj if key is None else obj.get(key)
            parts.append(absent if value is None else write_field(value))
        return b"".join(parts)

    return write


def _field(field: Field) -> tuple[bytes, Write]:
    """Return what stands for a field that the object lacks, and what writes one that it has."""
    type_ = field.type
    if type_.startswith("[]") and not type_.startswith("[]items:"):
        return b"", _repeated(field.number, type_[2:])
    if type_.startswith("{}"):
        return b"", _map(field.number, type_[2:])
    wire, write = _value(type_)
    tag = _tag(field.number, wire)
    absent = b"" if field.is_pointer or type_ == "bytes" else tag + _zero(type_)
    return absent, lambda value: tag + write(value)


def _repeated(number: int, item: str) -> Write:
    wire, write = _value(item)
    tag = _tag(number, wire)
    return lambda values: b"".join([tag + write(value) for value in values])


def _map(number: int, item: str) -> Write:
    tag, value_tag = _tag(number, BYTES), _tag(2, BYTES)
    _, write = _value(item)

    def write_map(values: Mapping[str, Any]) -> bytes:
        parts = []
        for key in sorted(values):
            entry = b"\x0a" + _sized(key.encode()) + value_tag + write(values[key])
            parts.append(tag + _sized(entry))
        return b"".join(parts)

    return write_map


def _value(type_: str) -> tuple[int, Write]:
    """Return the wire type of a single value and what writes it."""
    if type_ in ("int32", "int64", "bool"):
        return VARINT, lambda value: _varint(int(value) & _MASK)
    if type_ == "double":
        return FIXED64, functools.partial(struct.pack, "<d")
    read = _SCALARS.get(type_)
    if read is not None:
        return BYTES, lambda value: _sized(read(value))
    prefix, _, item = type_.partition(":")
    if not item:
        return BYTES, lambda value: _sized(_message(type_)(value))  # looked up late: schemas hold schemas
    if prefix == "[]items":
        write_items = _repeated(1, item)
        return BYTES, lambda values: _sized(write_items(values))
    return BYTES, lambda value: _sized(_union(prefix, item, value))


def _union(prefix: str, schema: str, value: Any) -> bytes:
    """Return a JSON schema or what stands in its place: apiextensions/v1/marshal.go."""
    allows = b"\x08\1" if prefix == "orBool" and value is not False else b"\x08\0"
    head = allows if prefix == "orBool" else b""
    if isinstance(value, Mapping):
        return head + _tagged(2 if head else 1, _sized(_message(schema)(value)))
    if prefix == "orBool":
        return head
    return _repeated(2, schema if prefix == "orArray" else "string")(value)


@functools.cache
def _zero(type_: str) -> bytes:
    """Return Go's zero value of a type."""
    if type_ in ("int32", "int64", "bool"):
        return b"\0"
    if type_ == "double":
        return bytes(8)
    if type_ in ("string", "bytes", "time", "microTime", "json") or type_.startswith("[]items:"):
        return b"\0"  # nothing, and its length
    if type_ == "quantity":
        return _sized(_quantity("0"))
    if type_ == "intOrString":
        return _sized(_int_or_string(0))
    return _sized(_message(type_)({}))


def _quantity(value: Any) -> bytes:
    return b"\x0a" + _sized(str(value).encode())


def _int_or_string(value: Any) -> bytes:
    if isinstance(value, str):
        return b"\x08\1\x10\0\x1a" + _sized(value.encode())
    return b"\x08\0\x10" + _varint(value & _MASK) + b"\x1a\0"


def _json(value: Any) -> bytes:
    return b"\x0a" + _sized(orjson.dumps(value))


@functools.lru_cache(maxsize=1024)
def _time(value: str) -> bytes:
    return _moment(int(datetime.fromisoformat(value).timestamp()), 0)


def _micro_time(value: str) -> bytes:
    moment = datetime.fromisoformat(value)
    return _moment(int(moment.replace(microsecond=0).timestamp()), moment.microsecond * 1000)


def _moment(seconds: int, nanoseconds: int) -> bytes:
    return b"\x08" + _varint(seconds & _MASK) + b"\x10" + _varint(nanoseconds)


_SCALARS: dict[str, Write] = {
    "string": str.encode,
    "bytes": base64.b64decode,
    "time": _time,
    "microTime": _micro_time,
    "quantity": _quantity,
    "intOrString": _int_or_string,
    "json": _json,
}


def _tagged(number: int, written: bytes) -> bytes:
    return _tag(number, BYTES) + written


def _tag(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _sized(data: bytes) -> bytes:
    return _varint(len(data)) + data


_SHORT = tuple(bytes((n,)) for n in range(128))


def _varint(value: int) -> bytes:
    """Return a number that is not negative, seven bits a byte."""
    if value < 128:
        return _SHORT[value]
    out = bytearray()
    while value >= 128:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
