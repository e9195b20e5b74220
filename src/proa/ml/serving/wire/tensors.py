"""Tensors on the wire become arrays, and arrays tensors: JSON's lists and bytes, checked before they are used.

Every fault names the input and says what would work. numpy is imported with the first tensor. Source:
docs/predict-api/v2/required_api.md ("Tensor Data") and binary_tensor_data_extension.md of kserve/kserve and Triton.
"""

from __future__ import annotations

import reprlib
import struct
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from proa.ml.serving.wire.datatypes import BY_NUMPY, DATATYPES, Datatype
from proa.ml.serving.wire.refusals import Refused, bad_request

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]
    Arrays = Mapping[str, Array]

MAX_AXES = 32
_LENGTH = struct.Struct("<I")
_FLOATS = ("FP16", "FP32", "FP64")
_FORMATS = {
    "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q",
    "FP32": "f", "FP64": "d",
}  # fmt: skip
"""struct's letters: it takes a flat list of numbers that fit, and nothing else, quicker than numpy."""
_dtypes: dict[str, Any] = {}
"""numpy's own, by V2's names: made with the first tensor of a type."""
_names: dict[Any, str] = {}
"""V2's names by numpy's types: likewise."""


def find_datatype(name: str, datatype: object) -> Datatype:
    """Return a data type by its name; raise Refused. `name` is the input's, as everywhere here."""
    found = DATATYPES.get(datatype) if isinstance(datatype, str) else None
    if found is None:
        raise bad_request(f"input {name}: datatype {_shown(datatype)} is none of {', '.join(DATATYPES)}")
    return found


def check_shape(name: str, shape: object) -> list[int]:
    """Return a shape that a tensor may have; raise Refused."""
    if type(shape) is not list or len(shape) > MAX_AXES:
        raise bad_request(f"input {name}: shape must be a list of up to {MAX_AXES} sizes, such as [1, 4]")
    for size in shape:
        if type(size) is not int or size < 0:
            raise bad_request(f"input {name}: shape has {_shown(size)}: a size is a number from 0 on")
    return shape


def read_list(name: str, datatype: Datatype, shape: list[int], data: object) -> Array:
    """Return the array of a JSON list, flat or nested; raise Refused."""
    if type(data) is not list:
        raise bad_request(f"input {name}: data must be a list")
    array = _read_texts(name, data) if datatype.size == 0 else _read_numbers(name, datatype, data)
    if array.shape == tuple(shape):
        return array
    if array.size != (expected := prod(shape)):
        raise bad_request(
            f"input {name}: shape {shape} is of {_shown(expected)} elements, data has {array.size}"
        )
    return array.reshape(shape)


def read_bytes(name: str, datatype: Datatype, shape: list[int], data: bytes | memoryview) -> Array:
    """Return the array of a tensor's bytes, which are copied: a model may write to it; raise Refused."""
    import numpy

    expected = prod(shape)
    if datatype.size == 0:
        return _read_byte_strings(name, shape, expected, bytes(data))
    if len(data) != expected * datatype.size:
        wanted = _shown(expected * datatype.size)
        raise bad_request(
            f"input {name}: {datatype.name} of shape {shape} has {wanted} bytes, not {len(data)}"
        )
    return numpy.frombuffer(bytearray(data), datatype.numpy).reshape(shape)


def read_instances(name: str, instances: list[Any]) -> Array:
    """Return the array that numpy makes of V1's instances; raise Refused."""
    import numpy

    try:
        array = numpy.array(instances)
    except ValueError:
        raise bad_request(f"{name}: the instances have different lengths: all must have one shape") from None
    if array.dtype.kind not in "fiub":
        return _read_mixed(name, instances, array)
    return array


def find_name(array: Array) -> str:
    """Return the name of an array's data type."""
    name = _names.get(array.dtype)
    if name is not None:
        return name
    name = BY_NUMPY.get(array.dtype.newbyteorder("<").str)
    if name is not None:
        _names[array.dtype] = name
    elif array.dtype.kind not in "USO":
        raise Refused(500, f"the model's output is of {array.dtype}, which the protocol does not have")
    return name or "BYTES"


def write_list(array: Array) -> Any:
    """Return what orjson writes as a nested list of JSON: the array itself, or a list where it has texts."""
    import numpy

    if array.dtype.kind in "fiub":
        return numpy.ascontiguousarray(array) if array.ndim else array.item()
    return _plain(array.tolist())


def write_rows(array: Array) -> list[Any]:
    """Return the array as a list of Python's own, a row each."""
    rows: list[Any] = array.tolist()
    return [_plain(row) for row in rows] if array.dtype.kind in "USO" else rows


def write_texts(array: Array) -> list[str]:
    """Return the elements of an array of texts, flat, as V2's BYTES in JSON; raise Refused."""
    try:
        return [_text(item) for item in array.ravel().tolist()]
    except UnicodeDecodeError:
        raise bad_request("an output's bytes are not UTF-8: ask for binary_data") from None


def write_bytes(array: Array) -> bytes:
    """Return a tensor's bytes."""
    if array.dtype.kind in "USO":
        items = [item if isinstance(item, bytes) else _text(item).encode() for item in array.ravel().tolist()]
        return b"".join([part for item in items for part in (_LENGTH.pack(len(item)), item)])
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _read_numbers(name: str, datatype: Datatype, data: list[Any]) -> Array:
    import numpy

    wanted = _dtypes.get(datatype.name) or _dtypes.setdefault(datatype.name, numpy.dtype(datatype.numpy))
    packed = _pack(datatype, data)
    if packed is not None:
        return numpy.frombuffer(packed, wanted)
    try:
        array = numpy.array(data)
    except ValueError:
        raise bad_request(
            f"input {name}: the lists of data have different lengths: all rows must have one shape"
        ) from None
    dtype = array.dtype
    if dtype == wanted:
        return array
    kind = dtype.kind
    if not array.size:
        return array.astype(wanted)
    if kind not in "fiub" or (datatype.name == "BOOL") != (kind == "b"):
        raise bad_request(f"input {name}: data has {_what(kind, data)}, which is no {datatype.name}")
    return _narrow(name, datatype, array, data, wanted)


def _pack(datatype: Datatype, data: list[Any]) -> bytearray | None:
    """Return a flat list's bytes, None where it is not one of numbers that fit."""
    letter = _FORMATS.get(datatype.name)
    if letter is None or not data or type(data[0]) not in (int, float):
        return None
    packed = bytearray(len(data) * datatype.size)
    try:
        struct.pack_into(f"<{len(data)}{letter}", packed, 0, *data)
    except (struct.error, OverflowError):
        return None
    return packed


def _narrow(name: str, datatype: Datatype, array: Array, data: list[Any], wanted: Any) -> Array:
    """Return numbers as the type that was named, where each of them fits."""
    import numpy

    if datatype.name in _FLOATS:
        try:
            with numpy.errstate(over="raise"):
                return array.astype(wanted)
        except FloatingPointError:
            raise bad_request(
                f"input {name}: data has a number that is too large for {datatype.name}"
            ) from None
    if array.dtype.kind == "f":
        if not (array == numpy.trunc(array)).all():
            raise bad_request(f"input {name}: data has a fraction, which is no {datatype.name}")
        try:  # of the list: large integers beside small ones are floats that are not quite they
            with numpy.errstate(invalid="raise"):
                return numpy.array(data, dtype=wanted)
        except (FloatingPointError, OverflowError):
            raise bad_request(
                f"input {name}: data has a number that is too large for {datatype.name}"
            ) from None
    bounds = numpy.iinfo(wanted)
    least, most = array.min(), array.max()
    if int(least) < bounds.min or int(most) > bounds.max:
        found = least if int(least) < bounds.min else most
        raise bad_request(
            f"input {name}: data has {int(found)}: {datatype.name} is from {bounds.min} to {bounds.max}"
        )
    return array.astype(wanted)


def _what(kind: str, data: list[Any]) -> str:
    """Say what a list has that is no number."""
    while data and type(data[0]) is list:
        data = data[0]
    return {"U": "a text", "b": "true or false", "f": "a number", "i": "a number", "u": "a number"}.get(
        kind, "null, an object, or a number that is too large"
    )


def _read_texts(name: str, data: list[Any]) -> Array:
    import numpy

    try:
        array = numpy.array(data, dtype=object)
    except ValueError:
        raise bad_request(f"input {name}: the lists of data have different lengths") from None
    for item in array.ravel():
        if type(item) is not str:
            raise bad_request(f"input {name}: data has {_shown(item)}: BYTES in JSON are texts")
    return array


def _read_byte_strings(name: str, shape: list[int], expected: int, data: bytes) -> Array:
    """Return an array of bytes: each is four bytes of its length, and itself."""
    import numpy

    items: list[bytes] = []
    place = 0
    while place < len(data):
        end = place + 4
        length = _LENGTH.unpack_from(data, place)[0] if end <= len(data) else len(data)
        if end + length > len(data):
            raise bad_request(f"input {name}: its bytes end within element {len(items)}")
        items.append(data[end : end + length])
        place = end + length
    if len(items) != expected:
        raise bad_request(
            f"input {name}: shape {shape} is of {_shown(expected)} elements, data has {len(items)}"
        )
    array = numpy.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


def _read_mixed(name: str, instances: list[Any], array: Array) -> Array:
    """Return instances that are not numbers alone: texts, or rows of texts and numbers, as objects."""
    import numpy

    mixed = numpy.array(instances, dtype=object)
    for item in mixed.ravel():
        if type(item) not in (str, int, float, bool, type(None)):
            raise bad_request(f"{name}: the instances have {_shown(item)}: all must have one shape")
    return mixed if array.dtype.kind == "O" or mixed.ndim else array


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _text(item: Any) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, bytes):
        return item.decode()
    import orjson

    return orjson.dumps(item, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _shown(value: object) -> str:
    """Return a value as a message has it: never longer than people read."""
    return reprlib.repr(value)
