"""Sum, order, search and reshape lists (apiserver/pkg/cel/library/lists.go; cel-go ext/lists.go version 3)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from proa.objects.cel import operators
from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.functions import Functions, Overload, overload
from proa.objects.cel.loops import sort_by_key
from proa.objects.cel.values import NONE, Duration, Optional, Uint, compare, equal

_COMPARABLE = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_SUMMABLE: dict[str, Any] = {"int": 0, "uint": Uint(0), "double": 0.0, "duration": Duration(0)}


def _is_sorted(items: list[Any], budget: Budget) -> bool:
    budget.charge(len(items))
    return all(compare(a, b) <= 0 for a, b in pairwise(items))


def _sum(items: list[Any], budget: Budget) -> Any:
    budget.charge(len(items))
    if not items:
        return 0
    total = _ZEROS.get(type(items[0]), 0)
    for item in items:
        total = operators.add(total, item, budget)
    return total


_ZEROS: dict[type, Any] = {type(zero): zero for zero in _SUMMABLE.values()}


def _empty_sum(zero: Any) -> Callable[[list[Any], Budget], Any]:
    return lambda items, budget: _sum(items, budget) if items else zero


def _extreme(name: str, sign: int) -> Callable[[list[Any], Budget], Any]:
    def find(items: list[Any], budget: Budget) -> Any:
        if not items:
            raise CelRuntimeError(f"{name} called on empty list")
        budget.charge(len(items))
        best = items[0]
        for item in items[1:]:
            if compare(item, best) == sign:
                best = item
        return best

    return find


def _index_of(items: list[Any], wanted: Any, budget: Budget) -> int:
    budget.charge(len(items))
    return next((at for at, item in enumerate(items) if equal(item, wanted, budget)), -1)


def _last_index_of(items: list[Any], wanted: Any, budget: Budget) -> int:
    budget.charge(len(items))
    return next((at for at in range(len(items) - 1, -1, -1) if equal(items[at], wanted, budget)), -1)


def _slice(items: list[Any], start: int, end: int, budget: Budget) -> list[Any]:
    if start < 0 or end < 0:
        raise CelRuntimeError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        message = f"cannot slice({start}, {end}), start index must be less than or equal to end index"
        raise CelRuntimeError(message)
    if end > len(items):
        raise CelRuntimeError(f"cannot slice({start}, {end}), list is length {len(items)}")
    budget.charge(end - start)
    return items[start:end]


def _flatten(items: list[Any], budget: Budget) -> list[Any]:
    return _flatten_to(items, 1, budget)


def _flatten_to(items: list[Any], depth: int, budget: Budget) -> list[Any]:
    if depth < 0:
        raise CelRuntimeError("level must be non-negative")
    budget.charge(len(items))
    made: list[Any] = []
    for item in items:
        if type(item) is list and depth > 0:
            made += _flatten_to(item, depth - 1, budget)
        else:
            made.append(item)
    return made


def _sort(items: list[Any], budget: Budget) -> list[Any]:
    return [item for item, _ in sort_by_key([(item, None) for item in items], budget)]


def _range(count: int, budget: Budget) -> list[int]:
    budget.charge(max(count, 0))
    return list(range(count))


def _reverse(items: list[Any], budget: Budget) -> list[Any]:
    budget.charge(len(items))
    return items[::-1]


def _distinct(items: list[Any], budget: Budget) -> list[Any]:
    budget.charge(len(items))
    made: list[Any] = []
    for item in items:
        if not operators.contains(item, made, budget):
            made.append(item)
    return made


def _first(items: list[Any]) -> Optional:
    return Optional(items[0], True) if items else NONE


def _last(items: list[Any]) -> Optional:
    return Optional(items[-1], True) if items else NONE


def _for_each(kinds: tuple[str, ...], result: str, implementation: Any) -> tuple[Overload, ...]:
    return tuple(
        overload(f"list({kind}).() -> {result.format(kind)}", implementation, charges=True) for kind in kinds
    )


FUNCTIONS: Functions = {
    "isSorted": _for_each(_COMPARABLE, "bool", _is_sorted),
    "sum": tuple(
        overload(f"list({kind}).() -> {kind}", _empty_sum(zero), charges=True)
        for kind, zero in _SUMMABLE.items()
    ),
    "max": _for_each(_COMPARABLE, "{}", _extreme("max", 1)),
    "min": _for_each(_COMPARABLE, "{}", _extreme("min", -1)),
    "indexOf": (overload("list(A).(A) -> int", _index_of, charges=True),),
    "lastIndexOf": (overload("list(A).(A) -> int", _last_index_of, charges=True),),
    "slice": (overload("list(A).(int, int) -> list(A)", _slice, charges=True),),
    "flatten": (
        overload("list(list(A)).() -> list(A)", _flatten, charges=True),
        overload("list(dyn).(int) -> list(dyn)", _flatten_to, charges=True),
    ),
    "sort": _for_each(_COMPARABLE, "list({})", _sort),
    "lists.range": (overload("(int) -> list(int)", _range, charges=True),),
    "reverse": (overload("list(A).() -> list(A)", _reverse, charges=True),),
    "distinct": (overload("list(A).() -> list(A)", _distinct, charges=True),),
    "first": (overload("list(A).() -> optional(A)", _first),),
    "last": (overload("list(A).() -> optional(A)", _last),),
}
