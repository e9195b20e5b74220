"""Make of plain JSON the values that its schema says they are, and of values plain JSON.

Objects and lists of them stay as they are, and are converted a field at a time as an expression looks at them:
only scalars, and lists and maps of scalars, are made anew. Follows apiserver/pkg/cel/common/valuesunstructured.go.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from functools import cache
from typing import Any

from proa.objects.cel import types as t
from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.types import Type
from proa.objects.cel.values import (
    Duration,
    LazyFields,
    Optional,
    Struct,
    Timestamp,
    TypeValue,
    Uint,
    parse_duration,
)

Convert = Callable[[Any, Budget], Any]


def converter(kind: Type) -> Convert | None:
    """Return what makes a value of the type from JSON, None where JSON's own value is it."""
    scalar = _SCALARS.get(kind.name) if kind.kind == "scalar" else None
    if scalar is not None:
        return scalar
    if kind.kind in ("list", "map"):
        element = converter(kind.parameters[-1])
        if element is not None:
            return _all(element)
    return None


def _all(element: Convert) -> Convert:
    def convert(value: Any, budget: Budget) -> Any:
        if type(value) is list:
            budget.charge(len(value))
            return [element(item, budget) for item in value]
        if type(value) is dict:
            budget.charge(len(value))
            return {key: element(item, budget) for key, item in value.items()}
        return value

    return convert


def _double(value: Any, budget: Budget) -> Any:
    return float(value) if type(value) is int else value


def _integer(value: Any, budget: Budget) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


def _bytes(value: Any, budget: Budget) -> Any:
    if type(value) is not str:
        return value
    budget.charge(len(value) // 10)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise CelRuntimeError(f"unstructured data: illegal base64 data: {error}") from None


def _duration(value: Any, budget: Budget) -> Any:
    if type(value) is not str:
        return value
    try:
        return parse_duration(value)
    except ValueError as error:
        raise CelRuntimeError(f"failed to convert Duration, got unexpected value: {error}") from None


def _timestamp(value: Any, budget: Budget) -> Any:
    if type(value) is not str:
        return value
    return _times()(value)


@cache
def _times() -> Callable[[str], Timestamp]:
    from proa.objects.cel.library.times import read_timestamp

    def read(text: str) -> Timestamp:
        if len(text) == 10:
            text += "T00:00:00Z"
        return read_timestamp(text)

    return read


_SCALARS: dict[str, Convert] = {
    "double": _double,
    "int": _integer,
    "bytes": _bytes,
    "duration": _duration,
    "timestamp": _timestamp,
}


def to_json(value: Any, budget: Budget) -> Any:
    """Return a value as JSON; raise CelRuntimeError where it has none."""
    budget.charge(1)
    kind = type(value)
    if value is None or kind in (bool, int, float):
        return value
    if kind is str:
        budget.charge(len(value) // 10)
        return value
    if kind is Uint:
        return int(value)
    if kind is list:
        return [to_json(item, budget) for item in value]
    if kind is dict:
        return {_key(key): to_json(item, budget) for key, item in value.items()}
    if kind is Struct:
        return {key: to_json(item, budget) for key, item in value.fields.items()}
    if kind is Optional:
        return to_json(value.value, budget) if value.present else None
    return _text(value)


def _key(key: Any) -> str:
    if type(key) is str:
        return key
    raise CelRuntimeError(f"map key of type {type(key).__name__} has no JSON")


def _text(value: Any) -> str:
    if isinstance(value, LazyFields | TypeValue):
        raise CelRuntimeError("unsupported conversion to JSON")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Timestamp | Duration):
        from proa.objects.cel.library.times import show_duration, show_timestamp

        return show_timestamp(value) if isinstance(value, Timestamp) else show_duration(value)
    raise CelRuntimeError(f"unsupported conversion to JSON: {t.STRING}")
