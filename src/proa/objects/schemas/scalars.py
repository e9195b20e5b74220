"""Bring the scalars of a JSON body into the form in which Kubernetes keeps them, or say in Go's words why not.

Follows metav1.Time and MicroTime (apimachinery/pkg/apis/meta/v1/time.go), resource.Quantity, intstr.IntOrString
and encoding/json.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from proa.objects.quantity import canonicalize
from proa.objects.schemas.load import MICRO_TIME
from proa.objects.schemas.schema import Schema

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
JSON_NAMES = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}

_PLAIN_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([.,]\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_LAYOUT = (("2006", r"\d{4}"), ("-", "-"), ("01", r"\d\d"), ("-", "-"), ("02", r"\d\d"), ("T", "T"), ("15", r"\d\d"),
           (":", ":"), ("04", r"\d\d"), (":", ":"), ("05", r"\d\d"))  # fmt: skip


class WrongType(Exception):
    """The JSON value has another type than the field; where, the caller knows."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


class WrongValue(Exception):
    """The type fits and the value does not; the message is complete."""


def converter(schema: Schema) -> Callable[[Any], Any]:
    """Return the function that takes a JSON value to the kept form; it raises WrongType or WrongValue."""
    if schema.type == "string":
        if schema.format == "date-time":
            return _micro_time if schema.name == MICRO_TIME else _time
        return _base64 if schema.format == "byte" else _string
    if schema.type == "integer":
        return _int32 if schema.format == "int32" else _int64
    return {"number": _number, "boolean": _boolean, "quantity": _quantity, "int-or-string": _int_or_string}[
        schema.type
    ]


def zero_value(schema: Schema) -> Any:
    """Return what a null stands for inside a list or a map; a time that is none is shown as null."""
    if schema.format == "date-time":
        return None
    return {"string": "", "integer": 0, "number": 0, "boolean": False, "quantity": "0", "int-or-string": 0,
            "array": [], "object": {}, "any": None}[schema.type]  # fmt: skip


def json_name(value: object) -> str:
    """Return what Go's decoder calls the type of a JSON value."""
    return JSON_NAMES.get(type(value), "null")


def _string(value: Any) -> str:
    if type(value) is not str:
        raise WrongType(json_name(value))
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise WrongType(json_name(value))
    return value


def _int32(value: Any) -> int:
    return _integer(value, INT32_MAX)


def _int64(value: Any) -> int:
    return _integer(value, INT64_MAX)


def _integer(value: Any, most: int) -> int:
    if type(value) is int:
        if -most - 1 <= value <= most:
            return value
        raise WrongType(f"number {value}")
    raise WrongType(f"number {value!r}" if type(value) is float else json_name(value))


def _number(value: Any) -> float:
    if type(value) is not int and type(value) is not float:
        raise WrongType(json_name(value))
    return value


def _quantity(value: Any) -> str:
    if type(value) is str or type(value) is int or type(value) is float:
        try:
            return canonicalize(str(value).strip())
        except ValueError as error:
            raise WrongValue(str(error)) from None
    raise WrongValue(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )


def _int_or_string(value: Any) -> int | str:
    if type(value) is str:
        return value
    if type(value) is int and -INT32_MAX - 1 <= value <= INT32_MAX:
        return value
    found = f"number {value!r}" if type(value) in (int, float) else json_name(value)
    raise WrongValue(f"json: cannot unmarshal {found} into Go value of type int32")


def _base64(value: Any) -> str:
    if type(value) is not str:
        raise WrongType(json_name(value))
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except (binascii.Error, ValueError):
        unfolded = value.replace("\n", "").replace("\r", "")
        if unfolded != value:
            return _base64(unfolded)
        legal = re.match(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{0,3})", value)
        at = legal.end() if legal else 0
        position = at if at < len(value) else len(value) - len(value) % 4
        raise WrongValue(f"illegal base64 data at input byte {position}") from None
    return value


def _time(value: Any) -> str:
    if type(value) is not str:
        raise _not_a_time(value)
    if _PLAIN_TIME.fullmatch(value):
        _checked_time(value, value)
        return value
    if not _TIME.fullmatch(value):
        raise WrongValue(_time_complaint(value, "2006-01-02T15:04:05Z07:00", "Z07:00"))
    seconds = re.sub(r"[.,]\d+", "", value)
    return _checked_time(seconds, value).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro_time(value: Any) -> str:
    if type(value) is not str:
        raise _not_a_time(value)
    if not _MICRO_TIME.fullmatch(value):
        raise WrongValue(_time_complaint(value, "2006-01-02T15:04:05.000000Z07:00", ".000000"))
    moment = _checked_time(value, value)
    return value if value.endswith("Z") else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _not_a_time(value: object) -> WrongValue:
    return WrongValue(f"json: cannot unmarshal {json_name(value)} into Go value of type string")


def _checked_time(text: str, original: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        part = str(error).split(" ", 1)[0]
        raise WrongValue(f'parsing time "{original}": {part} out of range') from None


def _time_complaint(value: str, layout: str, rest: str) -> str:
    at = 0
    for element, pattern in _LAYOUT:
        found = re.compile(pattern, re.ASCII).match(value, at)
        if found is None:
            return f'parsing time "{value}" as "{layout}": cannot parse "{value[at:]}" as "{element}"'
        at = found.end()
    return f'parsing time "{value}" as "{layout}": cannot parse "{value[at:]}" as "{rest}"'
