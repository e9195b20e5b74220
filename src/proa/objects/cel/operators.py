"""Run the operators: each looks at what its operands are, as both may be dynamic.

Follows cel-go common/stdlib/standard.go and common/types; lists that a schema calls sets or maps are added and
compared as apiserver/pkg/cel/common/equality.go and valuesunstructured.go do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.values import (
    MISSING,
    NONE,
    Duration,
    OpenMap,
    Optional,
    Struct,
    Timestamp,
    Uint,
    checked_duration,
    checked_int,
    checked_timestamp,
    checked_uint,
    compare,
    equal,
    find_key,
    no_overload,
)


def add(one: Any, other: Any, budget: Budget) -> Any:
    """Return `one + other`."""
    kind = type(one)
    if kind is type(other):
        if kind is int:
            return checked_int(one + other)
        if kind is str or kind is bytes:
            budget.charge((len(one) + len(other)) // 10)
            return one + other
        if kind is list:
            budget.charge(len(one) + len(other))
            return one + other
        if kind is float:
            return one + other
        if kind is Uint:
            return checked_uint(int(one) + int(other))
        if kind is Duration:
            return checked_duration(one.nanoseconds + other.nanoseconds)
    elif {kind, type(other)} == {Timestamp, Duration}:
        return checked_timestamp(one.nanoseconds + other.nanoseconds)
    raise no_overload()


def subtract(one: Any, other: Any) -> Any:
    """Return `one - other`."""
    kind = type(one)
    if kind is type(other):
        if kind is int:
            return checked_int(one - other)
        if kind is float:
            return one - other
        if kind is Uint:
            return checked_uint(int(one) - int(other))
        if kind in (Duration, Timestamp):
            return checked_duration(one.nanoseconds - other.nanoseconds)
    elif kind is Timestamp and type(other) is Duration:
        return checked_timestamp(one.nanoseconds - other.nanoseconds)
    raise no_overload()


def multiply(one: Any, other: Any) -> Any:
    """Return `one * other`."""
    kind = type(one)
    if kind is type(other):
        if kind is int:
            return checked_int(one * other)
        if kind is Uint:
            return checked_uint(int(one) * int(other))
        if kind is float:
            return one * other
    raise no_overload()


def divide(one: Any, other: Any) -> Any:
    """Return `one / other`: integers are cut towards zero."""
    kind = type(one)
    if kind is not type(other) or kind not in (int, Uint, float):
        raise no_overload()
    if kind is float:
        if other == 0:
            return float("nan") if one == 0 or one != one else one * float("inf")
        return one / other
    if other == 0:
        raise CelRuntimeError("division by zero")
    quotient = abs(int(one)) // abs(int(other))
    if kind is Uint:
        return Uint(quotient)
    return checked_int(quotient if (one < 0) == (other < 0) else -quotient)


def modulo(one: Any, other: Any) -> Any:
    """Return `one % other`, with the sign of `one`."""
    kind = type(one)
    if kind is not type(other) or kind not in (int, Uint):
        raise no_overload()
    if other == 0:
        raise CelRuntimeError("modulus by zero")
    rest = abs(int(one)) % abs(int(other))
    return Uint(rest) if kind is Uint else rest if one >= 0 else -rest


def negate(value: Any) -> Any:
    """Return `-value`."""
    if type(value) is int:
        return checked_int(-value)
    if type(value) is float:
        return -value
    raise no_overload()


def invert(value: Any) -> bool:
    """Return `!value`."""
    if type(value) is bool:
        return not value
    raise no_overload()


def ordered(one: Any, other: Any, budget: Budget) -> int:
    """Return how two values are ordered."""
    if type(one) is str:
        budget.charge(len(one) // 10)
    return compare(one, other)


def contains(element: Any, container: Any, budget: Budget) -> bool:
    """Return `element in container`."""
    kind = type(container)
    if kind is list:
        budget.charge(len(container))
        if type(element) is str:
            return element in container
        return any(equal(element, candidate, budget) for candidate in container)
    if kind is dict or kind is OpenMap:
        return find_key(container, element, budget) is not MISSING
    raise no_overload()


def index(container: Any, key: Any, budget: Budget) -> Any:
    """Return `container[key]`."""
    if type(container) is Optional:
        return optional_index(container, key, budget)
    if type(container) is Struct and type(key) is str:
        container = container.fields
    found = _find(container, key, budget)
    if found is not MISSING:
        return found
    if type(container) is list:
        raise CelRuntimeError(f"index out of bounds: {int(key)}")
    raise CelRuntimeError(f"no such key: {shown(key)}")


def optional_index(container: Any, key: Any, budget: Budget) -> Optional:
    """Return `container[?key]`."""
    if type(container) is Optional:
        if not container.present:
            return NONE
        container = container.value
    found = _find(container, key, budget)
    return NONE if found is MISSING else Optional(found, True)


def _find(container: Any, key: Any, budget: Budget) -> Any:
    if type(container) is dict:
        return find_key(container, key, budget)
    if type(container) is OpenMap:
        found = find_key(container, key, budget)
        return {} if found is MISSING else found
    if type(container) is not list:
        raise no_overload()
    if type(key) is float and key == int(key):
        key = int(key)
    if type(key) not in (int, Uint):
        raise CelRuntimeError(f"unsupported index type '{type(key).__name__}' in list")
    return container[key] if 0 <= key < len(container) else MISSING


def shown(key: Any) -> str:
    """Return a key as messages show it."""
    return ("true" if key else "false") if type(key) is bool else str(key)


def equal_as(list_type: str, keys: tuple[str, ...]) -> Callable[[Any, Any, Budget], bool]:
    """Return equality for lists whose order means nothing: sets, and maps by `keys`."""

    def test(one: Any, other: Any, budget: Budget) -> bool:
        if type(one) is not list or type(other) is not list:
            return equal(one, other, budget)
        if len(one) != len(other):
            return False
        if list_type == "map":
            found = {_key_of(item, keys): item for item in other}
            return all(
                _key_of(item, keys) in found and equal(item, found[_key_of(item, keys)], budget)
                for item in one
            )
        return all(contains(item, other, budget) for item in one)

    return test


def add_as(list_type: str, keys: tuple[str, ...]) -> Callable[[Any, Any, Budget], Any]:
    """Return addition for such lists: what is there already keeps its place, and takes the new value in a map."""

    def join(one: Any, other: Any, budget: Budget) -> Any:
        if type(one) is not list or type(other) is not list:
            return add(one, other, budget)
        budget.charge(len(one) + len(other))
        if list_type == "map":
            found = {_key_of(item, keys): item for item in one}
            found.update((_key_of(item, keys), item) for item in other)
            return list(found.values())
        made = list(one)
        for item in other:
            if not contains(item, made, budget):
                made.append(item)
        return made

    return join


def _key_of(item: Any, keys: tuple[str, ...]) -> tuple[str, ...]:
    if type(item) is not dict:
        raise no_overload()
    return tuple(repr(item.get(key)) for key in keys)
