"""Read a list request's filter: JSON of a v2beta1 Filter (or v1beta1's), to predicates that SQL can be made of.

Source: backend/src/apiserver/filter/filter.go, server/list_request_util.go and backend/api/v2beta1/filter.proto.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from proa.ml.database.errors import Invalid
from proa.objects.quick_dataclass import dataclass

OPERATIONS = {
    1: "EQUALS",
    2: "NOT_EQUALS",
    3: "GREATER_THAN",
    5: "GREATER_THAN_EQUALS",
    6: "LESS_THAN",
    7: "LESS_THAN_EQUALS",
    8: "IN",
    9: "IS_SUBSTRING",
}
MAX_FILTER_BYTES = 64 << 10
MAX_PREDICATES = 50
MAX_VALUES = 1_000
_NAMES = frozenset(OPERATIONS.values())
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")

Value = int | str | list[int] | list[str]


@dataclass(frozen=True, slots=True)
class Predicate:
    """One condition. A timestamp's value is its whole seconds since the epoch; a list is IN's only."""

    operation: str
    key: str
    value: Value
    type: str
    """How upstream calls the value's type in messages: "string", "[]int32"."""


def parse_filter(text: str) -> tuple[Predicate, ...]:
    """Return the predicates, all of which must hold; raise Invalid with upstream's words."""
    if not text:
        return ()
    if len(text) > MAX_FILTER_BYTES:
        raise Invalid(f"the filter is too long: {len(text)} of {MAX_FILTER_BYTES} characters")
    try:
        document = json.loads(text if text.lstrip().startswith("{") else unquote_plus(text))
        predicates = _read_filter(document)
    except (ValueError, TypeError, RecursionError) as error:
        raise Invalid(f"failed to parse valid filter from {json.dumps(text)}: {error}") from None
    for predicate in predicates:
        _check(predicate)
    return predicates


def encode_predicates(predicates: tuple[Predicate, ...]) -> list[list[Any]]:
    """Return them as JSON, for a page token."""
    return [[one.operation, one.key, one.value, one.type] for one in predicates]


def decode_predicates(document: Any) -> tuple[Predicate, ...]:
    """Return what a page token has; raise ValueError for what `encode_predicates` cannot have made."""
    found = []
    if len(document) > MAX_PREDICATES:
        raise ValueError("too many predicates")
    for operation, key, value, type in document:
        is_list = isinstance(value, list)
        if is_list and len(value) > MAX_VALUES:
            raise ValueError("too many values")
        if operation not in _NAMES or not isinstance(key, str) or not isinstance(type, str):
            raise ValueError("no predicate")
        if any(not isinstance(one, str | int) for one in (value if is_list else [value])):
            raise ValueError("no value")
        if is_list != (operation == "IN"):
            raise ValueError("no operand")
        found.append(Predicate(operation, key, value, type))
    return tuple(found)


def _read_filter(document: Any) -> tuple[Predicate, ...]:
    if not isinstance(document, dict):
        raise ValueError("it is no object")
    unknown = set(document) - {"predicates"}
    if unknown:
        raise ValueError(f'unknown field "{min(unknown)}"')
    predicates = document.get("predicates") or []
    if not isinstance(predicates, list) or len(predicates) > MAX_PREDICATES:
        raise ValueError(f"predicates is no list of up to {MAX_PREDICATES}")
    return tuple([_read_predicate(one) for one in predicates])


def _read_predicate(document: Any) -> Predicate:
    if not isinstance(document, dict):
        raise ValueError("a predicate is no object")
    fields = {_CAMEL.sub(r"_\1", name).lower(): value for name, value in document.items()}
    operation = _read_operation(fields.pop("operation", fields.pop("op", 0)))
    key = fields.pop("key", "")
    if not isinstance(key, str):
        raise ValueError("invalid value for string field key")
    values = [(name, value) for name, value in fields.items() if value is not None]
    unknown = [name for name, _ in values if name not in _VALUES]
    if unknown:
        raise ValueError(f'unknown field "{unknown[0]}"')
    if len(values) != 1:
        raise ValueError(f"a predicate has one value, and this has {len(values)} (key {json.dumps(key)})")
    type, read = _VALUES[values[0][0]]
    value = read(values[0][1])
    if not key:
        raise Invalid(f"Predicate key cannot be empty for operation {operation} and value {value}")
    return Predicate(operation, key, value, type)


def _read_operation(value: Any) -> str:
    name = OPERATIONS.get(value) if isinstance(value, int) else value
    if name not in _NAMES:
        raise Invalid(f"invalid predicate operation: {value}")
    return str(name)


def _read_int(value: Any, bits: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        raise ValueError(f"invalid value for int{bits} field: {json.dumps(value)}")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"invalid value for int{bits} field: {value}")
    number = int(value)
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise ValueError(f"invalid value for int{bits} field: {value}")
    return number


def _read_string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"invalid value for string field: {json.dumps(value)}")
    if "\0" in value:
        raise ValueError("invalid value for string field: it has a NUL")
    return value.encode(errors="replace").decode()


def _read_timestamp(value: Any) -> int:
    if isinstance(value, dict) and set(value) <= {"seconds", "nanos"}:
        return _read_int(value.get("seconds", 0), 64)
    text = _read_string(value)
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", text):
        raise ValueError(f"invalid google.protobuf.Timestamp value {json.dumps(text)}")
    whole = re.sub(r"\.\d+", "", text)
    return int(datetime.fromisoformat(whole).astimezone(UTC).timestamp() // 1)


def _make_list(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_list(value: Any) -> Any:
        if not isinstance(value, dict) or set(value) - {"values"}:
            raise ValueError(
                f'a list of values is written {{"values": [...]}}, and not {json.dumps(value)[:200]}'
            )
        values = value.get("values") or []
        if not isinstance(values, list) or len(values) > MAX_VALUES:
            raise ValueError(f"values is no list of up to {MAX_VALUES}")
        return [read(one) for one in values]

    return read_list


_VALUES: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "int_value": ("int32", lambda value: _read_int(value, 32)),
    "long_value": ("int64", lambda value: _read_int(value, 64)),
    "string_value": ("string", _read_string),
    "timestamp_value": ("int64", _read_timestamp),
    "int_values": ("[]int32", _make_list(lambda value: _read_int(value, 32))),
    "long_values": ("[]int64", _make_list(lambda value: _read_int(value, 64))),
    "string_values": ("[]string", _make_list(_read_string)),
}


def _check(predicate: Predicate) -> None:
    is_list = isinstance(predicate.value, list)
    if predicate.operation == "IN":
        if not is_list:
            raise Invalid(f"cannot use IN operator with scalar type {predicate.type}")
    elif predicate.operation == "IS_SUBSTRING":
        if not isinstance(predicate.value, str):
            raise Invalid(f"cannot use non string value type {predicate.type} with operator IS_SUBSTRING")
    elif is_list:
        raise Invalid(f"cannot use scalar operator {predicate.operation} on array type {predicate.type}")
