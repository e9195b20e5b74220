"""Read TensorFlow's event files by hand: framed records, and in them scalars, in their old and their new form.

A record is its length, the length's checksum, the data, the data's checksum (crc32c, masked). Data is an Event
(event.proto): wall_time 1, summary 5; a Summary's values 1 (summary.proto): tag 1, simple_value 2, tensor 8
(tensor.proto): dtype 1, tensor_content 4, and a list for each type. Sources: tensorflow/core/util/event.proto,
tensorflow/core/framework/{summary,tensor}.proto, tensorflow/core/lib/io/record_writer.cc.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Field = tuple[int, int, int | bytes]
    """Number, wire type, value."""

HEADER_BYTES, FOOTER_BYTES = 12, 4
MAX_RECORD = 256 * 1024
"""Bytes; what is longer is a picture or a graph, and passed over."""

_FLOAT, _DOUBLE, _HALF, _BFLOAT16 = 1, 2, 19, 14
_INTEGERS = {3: "<i", 4: "<B", 5: "<h", 6: "<b", 9: "<q", 10: "<?", 17: "<H", 22: "<I", 23: "<Q"}
_LISTS = {_FLOAT: (5, "<f"), _DOUBLE: (6, "<d")}
_INTEGER_LISTS = {3: 7, 4: 7, 5: 7, 6: 7, 9: 10, 10: 11, 17: 7, 22: 16, 23: 17}


class Damaged(Exception):
    """This is not, or no longer, a file of records."""


def split_record(data: bytes, start: int) -> tuple[int, int] | None:
    """Return where the data of the record at `start` begins and ends; None when its header has not all come yet."""
    if len(data) < start + HEADER_BYTES:
        return None
    length, checksum = struct.unpack_from("<QI", data, start)
    if masked_crc(data[start : start + 8]) != checksum:
        raise Damaged("a record's length is damaged")
    return start + HEADER_BYTES, start + HEADER_BYTES + length


def is_intact(record: bytes, footer: bytes) -> bool:
    """Tell whether a record's data is what its checksum says."""
    return bool(struct.unpack("<I", footer)[0] == masked_crc(record))


def scalars(event: bytes) -> Iterator[tuple[float, str, str]]:
    """Yield (wall time, tag, value) of an Event's scalar summaries; raise Damaged for what is not an Event."""
    found = list(_fields(event))
    times = [v for number, wire, v in found if (number, wire) == (1, 1) and isinstance(v, bytes)]
    wall_time = struct.unpack("<d", times[-1])[0] if times else 0.0
    for number, _, summary in found:
        if number != 5 or not isinstance(summary, bytes):
            continue
        for of_summary, _, value in _fields(summary):
            if of_summary == 1 and isinstance(value, bytes):
                tag, text = _scalar(value)
                if text:
                    yield wall_time, tag, text


def shortest(value: float) -> str:
    """Return the shortest text of a number in single precision (0.1, not 0.10000000149011612)."""
    for digits in range(6, 10):
        text = f"{value:.{digits}g}"
        if struct.pack("<f", float(text)) == struct.pack("<f", value):
            return text
    return repr(value)


def _scalar(value: bytes) -> tuple[str, str]:
    tag, text = "", ""
    for number, wire, content in _fields(value):
        if number == 1 and isinstance(content, bytes):
            tag = content.decode(errors="replace")
        elif (number, wire) == (2, 5) and isinstance(content, bytes):
            text = shortest(struct.unpack("<f", content)[0])
        elif number == 8 and isinstance(content, bytes):
            text = _tensor(content)
    return tag, text


def _tensor(tensor: bytes) -> str:
    """Return a tensor of one number as text, "" for any other."""
    fields = list(_fields(tensor))
    dtype = next((v for number, _, v in fields if number == 1 and isinstance(v, int)), 0)
    content = next((v for number, _, v in fields if number == 4 and isinstance(v, bytes)), b"")
    if content:
        return _from_content(dtype, content)
    if dtype in _LISTS:
        number, form = _LISTS[dtype]
        packed = b"".join(v for n, _, v in fields if n == number and isinstance(v, bytes))
        return _number(dtype, struct.unpack(form, packed)[0]) if len(packed) == struct.calcsize(form) else ""
    if dtype in (_HALF, _BFLOAT16) or dtype in _INTEGER_LISTS:
        values = _integers([v for n, _, v in fields if n == _INTEGER_LISTS.get(dtype, 13)])
        if len(values) != 1:
            return ""
        if dtype in _INTEGER_LISTS:
            signed = values[0] - (1 << 64) if values[0] >> 63 and dtype not in (10, 17, 22, 23) else values[0]
            return str(signed)
        return _from_content(dtype, struct.pack("<H", values[0] & 0xFFFF))
    return ""


def _from_content(dtype: int, content: bytes) -> str:
    forms = {_FLOAT: "<f", _DOUBLE: "<d", _HALF: "<e", **_INTEGERS}
    if dtype == _BFLOAT16 and len(content) == 2:
        return _number(_FLOAT, struct.unpack("<f", b"\0\0" + content)[0])
    form = forms.get(dtype)
    if form is None or len(content) != struct.calcsize(form):
        return ""
    return _number(dtype, struct.unpack(form, content)[0])


def _number(dtype: int, value: float) -> str:
    if dtype in (_FLOAT, _HALF):
        return shortest(value)
    return repr(value) if dtype == _DOUBLE else str(int(value))


def _integers(values: list[int | bytes]) -> list[int]:
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
            continue
        position = 0
        while position < len(value) and len(found) < 2:
            number, position = _varint(value, position)
            found.append(number)
    return found


def _fields(message: bytes) -> Iterator[Field]:
    """Yield the fields of a protobuf message: varints as numbers, all else as bytes."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, position = _varint(message, position)
            yield number, wire, value
            continue
        if wire == 2:
            length, position = _varint(message, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise Damaged(f"wire type {wire}")
        if position + length > len(message):
            raise Damaged("a field is longer than its message")
        yield number, wire, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7
    raise Damaged("a number has no end")


def _make_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _make_table()


def masked_crc(data: bytes) -> int:
    """Return TFRecord's checksum: crc32c, rotated right by 15 bits, and a constant added."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
