"""The values that are no plain JSON, and what equality, order and arithmetic mean for all of them.

int, float, bool, str, bytes, None, list and dict are themselves; times have nanoseconds, which Python's have not.
Follows cel-go common/types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError
from proa.objects.durations import parse_duration as read_go_duration
from proa.objects.quick_dataclass import dataclass

SECOND = 1_000_000_000
INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1
MIN_TIMESTAMP, MAX_TIMESTAMP = -62135596800 * SECOND, 253402300800 * SECOND - 1


class Uint(int):
    """An unsigned integer: equal to the int of the same value, of another type."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Timestamp:
    """Nanoseconds since 1970, UTC."""

    nanoseconds: int


@dataclass(frozen=True, slots=True)
class Duration:
    """Nanoseconds."""

    nanoseconds: int


@dataclass(frozen=True, slots=True)
class Optional:
    """A value that may be absent."""

    value: Any = None
    present: bool = False


NONE = Optional()


@dataclass(frozen=True, slots=True)
class TypeValue:
    """A type as a value: what `type(x)` gives."""

    name: str


@dataclass(frozen=True, slots=True)
class Struct:
    """A message that an expression made, e.g. `Object.spec{replicas: 1}` or `JSONPatch{op: "add"}`."""

    name: str
    fields: Mapping[str, Any]


class OpenMap(dict[str, Any]):
    """A map in which every key that is looked up is found: with an empty map, where there is nothing else."""


class LazyFields:
    """An object whose fields are worked out when they are first looked at (`variables`)."""

    def get_field(self, name: str) -> Any:
        """Return the field's value; raise KeyError, CelRuntimeError."""
        raise NotImplementedError

    def has_field(self, name: str) -> bool:
        """Tell whether there is such a field."""
        raise NotImplementedError


def no_overload() -> CelRuntimeError:
    """The values are of types that the function is not for."""
    return CelRuntimeError("no such overload")


_NUMBERS = (int, float, Uint)


def equal(one: Any, other: Any, budget: Budget) -> bool:
    """CEL's equality: numbers by value across their types, anything else of different types is not equal."""
    kind, other_kind = type(one), type(other)
    if kind is other_kind:
        if kind is list:
            if len(one) != len(other):
                return False
            budget.charge(len(one))
            return all(equal(a, b, budget) for a, b in zip(one, other, strict=True))
        if kind is dict:
            return _equal_maps(one, other, budget)
        if kind is Struct:
            return bool(one.name == other.name) and _equal_maps(one.fields, other.fields, budget)
        if kind is str or kind is bytes:
            budget.charge(len(one) // 10)
        if kind is Optional:
            return one.present == other.present and equal(one.value, other.value, budget)
        return bool(one == other)
    if kind in _NUMBERS and other_kind in _NUMBERS:
        return bool(one == other)
    return False


def _equal_maps(one: Mapping[Any, Any], other: Mapping[Any, Any], budget: Budget) -> bool:
    if len(one) != len(other):
        return False
    budget.charge(len(one))
    for key, value in one.items():
        found = find_key(other, key, budget)
        if found is MISSING or not equal(value, found, budget):
            return False
    return True


MISSING: Any = object()


def find_key(mapping: Mapping[Any, Any], key: Any, budget: Budget) -> Any:
    """Return the value of a key, MISSING where there is none; numbers are the same key whatever their type."""
    if type(key) is str:
        return mapping.get(key, MISSING)
    if type(key) not in (int, Uint, bool, float):
        raise CelRuntimeError(f"unsupported key type: {type_name(key)}")
    budget.charge(len(mapping))
    for candidate, value in mapping.items():
        if candidate == key and (type(candidate) is bool) == (type(key) is bool):
            return value
    return MISSING


def compare(one: Any, other: Any) -> int:
    """Return -1, 0 or 1; raise CelRuntimeError where the two have no order."""
    kind, other_kind = type(one), type(other)
    if kind is not other_kind and not (kind in _NUMBERS and other_kind in _NUMBERS):
        raise no_overload()
    if kind in (Timestamp, Duration):
        one, other = one.nanoseconds, other.nanoseconds
    elif kind not in (int, float, Uint, str, bytes, bool):
        order = getattr(one, "compare_to", None)
        if order is None:
            raise no_overload()
        return int(order(other))
    if one != one or other != other:
        raise CelRuntimeError("NaN values cannot be ordered")
    return int(one > other) - int(one < other)


def type_name(value: Any) -> str:
    """Return what CEL calls the type of a value."""
    if isinstance(value, Struct):
        return value.name
    found = _TYPE_NAMES.get(type(value)) or getattr(value, "TYPE_NAME", type(value).__name__)
    return str(found)


_TYPE_NAMES: dict[type, str] = {
    bool: "bool", int: "int", Uint: "uint", float: "double", str: "string", bytes: "bytes",
    type(None): "null_type", list: "list", dict: "map", Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration", Optional: "optional_type", TypeValue: "type",
}  # fmt: skip


def checked_int(value: int) -> int:
    """Return an int that fits in 64 bits; raise CelRuntimeError."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise CelRuntimeError("integer overflow")


def checked_uint(value: int) -> Uint:
    """Return a uint that fits in 64 bits; raise CelRuntimeError."""
    if 0 <= value <= UINT_MAX:
        return Uint(value)
    raise CelRuntimeError("unsigned integer overflow")


def checked_duration(nanoseconds: int) -> Duration:
    """Return a duration that fits in 64 bits of nanoseconds; raise CelRuntimeError."""
    return Duration(checked_int(nanoseconds))


def checked_timestamp(nanoseconds: int) -> Timestamp:
    """Return a timestamp of the years 1 to 9999; raise CelRuntimeError."""
    if MIN_TIMESTAMP <= nanoseconds <= MAX_TIMESTAMP:
        return Timestamp(nanoseconds)
    raise CelRuntimeError("timestamp overflow")


def parse_duration(text: str) -> Duration:
    """Read Go's notation (`1h30m`, `-1.5s`, `0`); raise ValueError."""
    return Duration(read_go_duration(text))
