"""Turn messages into protobuf's bytes and back, by a table of their fields: as much of proto3 as ML's services need.

A message is a dict with all of its fields: "" and 0 and [] and {} where nothing is set, None for a message (or an
optional number or text, such as one of a oneof) that is not there. An enum's value is its name; a number without one
is read as the enum's zero. Fields that the table does not have are skipped.
Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Message = dict[str, Any]
Label = Literal["", "optional", "repeated", "map"]

MAX_ITEMS = 200_000
"""Of a repeated field: an item of two bytes is some hundreds of bytes when it is read."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SMALL = [bytes([number]) for number in range(128)]
_SCALARS: dict[str, tuple[int, Any]] = {
    "string": (_BYTES, ""),
    "bytes": (_BYTES, b""),
    "bool": (_VARINT, False),
    "int32": (_VARINT, 0),
    "int64": (_VARINT, 0),
    "uint32": (_VARINT, 0),
    "uint64": (_VARINT, 0),
    "double": (_FIXED64, 0.0),
    "float": (_FIXED32, 0.0),
}
"""Wire type and default of each type that is neither a message nor an enum."""
_FIXED = {"double": "d", "float": "f"}
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}


class Malformed(ValueError):
    """These bytes are no such message."""


class Field(NamedTuple):
    """One field of a message. `type` is one of _SCALARS, or the name of an enum or a message, or of a map's entries."""

    number: int
    label: Label
    type: str
    name: str
    wire: int
    default: Any


class Contract(NamedTuple):
    """What both ends of a connection have agreed on: messages, and the two that each method's path takes and gives."""

    codec: Codec
    methods: Mapping[str, tuple[str, str]]


class Codec:
    """The messages of one table: lines of a .proto file as "number [label] type name", and enums' names.

    A label is optional, repeated or map. A map's keys are texts, `type` is its values'.
    """

    def __init__(self, messages: Mapping[str, tuple[str, ...]], enums: Mapping[str, tuple[str, ...]]) -> None:
        self._enums = enums
        lines = {**messages, **{_entry(type): _entry_fields(type) for type in _map_types(messages)}}
        self._fields = {name: [self._parse(line) for line in of_one] for name, of_one in lines.items()}
        self._by_number = {
            name: {field.number: field for field in fields} for name, fields in self._fields.items()
        }
        self._names = {name: {field.name for field in fields} for name, fields in self._fields.items()}

    @property
    def messages(self) -> list[str]:
        """Return the names of all messages."""
        return [name for name in self._fields if not name.startswith(_ENTRY)]

    def encode(self, name: str, message: Mapping[str, Any]) -> bytes:
        """Return the bytes of a message; what it lacks is left out. Raises KeyError for a field that is none."""
        out = bytearray()
        if unknown := message.keys() - self._names[name]:
            raise KeyError(f"{name} has no field {min(unknown)}")
        for field in self._fields[name]:
            if (value := message.get(field.name)) is not None:
                self._encode_field(out, field, value)
        return bytes(out)

    def decode(self, name: str, data: bytes) -> Message:
        """Return the message; raise Malformed."""
        message: Message = {
            field.name: field.default.copy() if isinstance(field.default, list | dict) else field.default
            for field in self._fields[name]
        }
        fields = self._by_number[name]
        for number, wire, value in _read(data):
            field = fields.get(number)
            if field is not None:
                self._decode_field(message, field, wire, value)
        return message

    def _encode_field(self, out: bytearray, field: Field, value: Any) -> None:
        if field.label == "map":
            for key, item in value.items():
                _put_bytes(out, field.number, self.encode(field.type, {"key": key, "value": item}))
        elif field.label == "repeated" and field.wire != _BYTES:
            if packed := self._pack(field.type, value):
                _put_bytes(out, field.number, packed)
        elif field.label == "repeated":
            for item in value:
                _put_bytes(out, field.number, self._scalar(field.type, item))
        elif value != field.default and field.wire == _BYTES:
            _put_bytes(out, field.number, self._scalar(field.type, value))
        elif value != field.default:
            out += _varint(field.number << 3 | field.wire) + self._scalar(field.type, value)

    def _pack(self, type: str, values: Sequence[Any]) -> bytes:
        if type in _FIXED:
            return struct.pack(f"<{len(values)}{_FIXED[type]}", *values)
        return b"".join([self._scalar(type, item) for item in values])

    def _scalar(self, type: str, value: Any) -> bytes:
        if type == "string":
            return str(value).encode()
        if type == "bytes":
            return bytes(value)
        if type in _FIXED:
            return struct.pack(f"<{_FIXED[type]}", value)
        if type in _SCALARS:
            return _varint(int(value) & 0xFFFFFFFFFFFFFFFF)  # a negative one has ten bytes
        if type in self._enums:
            return _varint(self._enums[type].index(value))
        return self.encode(type, value)

    def _decode_field(self, message: Message, field: Field, wire: int, value: int | bytes) -> None:
        if isinstance(value, bytes) and wire == _BYTES and field.wire != _BYTES:
            if field.label != "repeated":
                raise Malformed(f"field {field.name} has wire type {wire}")
            message[field.name] += self._unpack(field, value)
            return
        if wire != field.wire:
            raise Malformed(f"field {field.name} has wire type {wire}")
        found = self._value(field, value)
        if field.label == "map":
            message[field.name][found["key"]] = found["value"]
        elif field.label == "repeated":
            if len(message[field.name]) >= MAX_ITEMS:
                raise Malformed(f"field {field.name} has more than {MAX_ITEMS} items")
            message[field.name].append(found)
        else:  # a message that comes twice would be merged by protobuf: no encoder writes one
            message[field.name] = found

    def _value(self, field: Field, value: int | bytes) -> Any:
        if not isinstance(value, bytes):
            return self._number(field, value)
        if field.type in _FIXED:
            return struct.unpack(f"<{_FIXED[field.type]}", value)[0]
        if field.type == "bytes":
            return value
        if field.type != "string":
            return self.decode(field.type, value)
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"field {field.name} is not UTF-8: {error}") from None

    def _number(self, field: Field, value: int) -> Any:
        if field.type == "int64":
            return value - (1 << 64) if value >> 63 else value
        if field.type == "uint64":
            return value
        if field.type == "bool":
            return bool(value)
        number = value & 0xFFFFFFFF
        if field.type in self._enums:
            names = self._enums[field.type]
            return names[number] if number < len(names) else names[0]
        return number - (1 << 32) if number >> 31 and field.type == "int32" else number

    def _unpack(self, field: Field, data: bytes) -> list[Any]:
        if field.type in _FIXED:
            count, left = divmod(len(data), _FIXED_SIZES[field.wire])
            if left:
                raise Malformed("it ends within a field")
            return list(struct.unpack(f"<{count}{_FIXED[field.type]}", data))
        place, numbers = 0, []
        while place < len(data):
            number, place = _read_varint(data, place)
            numbers.append(self._number(field, number))
        return numbers

    def _parse(self, line: str) -> Field:
        number, *labels, type, name = line.split()
        label: Any = labels[0] if labels else ""
        enum_or_message = (_VARINT, self._enums[type][0]) if type in self._enums else (_BYTES, None)
        wire, default = _SCALARS.get(type, enum_or_message)
        if label == "map":
            return Field(int(number), label, _entry(type), name, _BYTES, {})
        default = [] if label == "repeated" else None if label == "optional" else default
        return Field(int(number), label, type, name, wire, default)


_ENTRY = "entry of "


def _entry(type: str) -> str:
    """Return the name of the messages that a map of these values consists of."""
    return _ENTRY + type


def _entry_fields(type: str) -> tuple[str, ...]:
    return "1 string key", f"2 {type} value"


def _map_types(messages: Mapping[str, tuple[str, ...]]) -> set[str]:
    words = (line.split() for lines in messages.values() for line in lines)
    return {type for _, *label, type, _ in words if label == ["map"]}


def _put_bytes(out: bytearray, number: int, value: bytes) -> None:
    out += _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    if number <= 0x7F:
        return _SMALL[number]
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield each field's number, wire type and value."""
    place = 0
    while place < len(data):
        tag, place = _read_varint(data, place)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == _VARINT:
            value, place = _read_varint(data, place)
        elif wire == _BYTES:
            length, place = _read_varint(data, place)
            value, place = _take(data, place, length)
        elif wire in _FIXED_SIZES:
            value, place = _take(data, place, _FIXED_SIZES[wire])
        else:
            raise Malformed(f"wire type {wire} is none of proto3's")
        if not number:
            raise Malformed("a field has number 0")
        yield number, wire, value


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    if place < len(data) and data[place] < 0x80:
        return data[place], place + 1
    number = 0
    for index in range(10):
        if place + index >= len(data):
            raise Malformed("it ends within a number")
        byte = data[place + index]
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, place + index + 1
    raise Malformed("a number has more than ten bytes")


def _take(data: bytes, place: int, length: int) -> tuple[bytes, int]:
    if place + length > len(data):
        raise Malformed("it ends within a field")
    return data[place : place + length], place + length
