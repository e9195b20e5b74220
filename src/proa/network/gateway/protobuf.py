"""Read and write the few protobuf messages that are exchanged with Envoy: fields by their numbers."""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


def varint(number: int) -> bytes:
    """Return a number as it is written."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def integer(number: int, value: int) -> bytes:
    """Return a field that holds a number."""
    return varint(number << 3 | _VARINT) + varint(value)


def field(number: int, body: bytes | str) -> bytes:
    """Return a field that holds a string, bytes or a message."""
    data = body.encode() if isinstance(body, str) else body
    return varint(number << 3 | _LENGTH) + varint(len(data)) + data


def fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield a message's strings, bytes and messages with their numbers, in order; raise ValueError, IndexError."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _read_varint(data, at)
        elif kind == _LENGTH:
            length, at = _read_varint(data, at)
            yield tag >> 3, data[at : at + length]
            at += length
        elif kind in _FIXED_BYTES:
            at += _FIXED_BYTES[kind]
        else:
            raise ValueError(f"a field of wire type {kind}")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return number, at
