"""V2's data types: their names, sizes, numpy's names for them, and where gRPC's messages have their elements.

Source: docs/predict-api/v2/required_api.md ("Tensor Data Types") of kserve/kserve.
"""

from __future__ import annotations

from typing import NamedTuple


class Datatype(NamedTuple):
    """One type of a tensor's elements."""

    name: str
    numpy: str
    """Its dtype, little-endian as on the wire; "O" for BYTES: objects that are str or bytes."""
    size: int
    """Bytes of an element; 0 where they differ."""
    contents: str
    """The field of InferTensorContents; "" where there is none and the raw contents are needed."""


DATATYPES = {
    found.name: found
    for found in (
        Datatype("BOOL", "|b1", 1, "bool_contents"),
        Datatype("INT8", "|i1", 1, "int_contents"),
        Datatype("INT16", "<i2", 2, "int_contents"),
        Datatype("INT32", "<i4", 4, "int_contents"),
        Datatype("INT64", "<i8", 8, "int64_contents"),
        Datatype("UINT8", "|u1", 1, "uint_contents"),
        Datatype("UINT16", "<u2", 2, "uint_contents"),
        Datatype("UINT32", "<u4", 4, "uint_contents"),
        Datatype("UINT64", "<u8", 8, "uint64_contents"),
        Datatype("FP16", "<f2", 2, ""),
        Datatype("FP32", "<f4", 4, "fp32_contents"),
        Datatype("FP64", "<f8", 8, "fp64_contents"),
        Datatype("BYTES", "O", 0, "bytes_contents"),
    )
}
BY_NUMPY = {found.numpy: found.name for found in DATATYPES.values()}
