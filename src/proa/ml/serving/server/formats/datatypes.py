"""V2's data types, by numpy's and back: the names of the Open Inference Protocol."""

from __future__ import annotations

from typing import Any

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "object": "BYTES",
}
DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()}


def find_datatype(dtype: Any) -> str:
    """Return V2's name of a numpy dtype; of texts, and of what it has no name for, BYTES."""
    return DATATYPES.get(dtype.name, "BYTES")
