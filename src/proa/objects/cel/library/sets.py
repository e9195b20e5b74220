"""Lists as sets (cel-go ext/sets.go)."""

from __future__ import annotations

from typing import Any

from proa.objects.cel.budget import Budget
from proa.objects.cel.functions import Functions, overload
from proa.objects.cel.operators import contains


def _contains(items: list[Any], wanted: list[Any], budget: Budget) -> bool:
    return all(contains(item, items, budget) for item in wanted)


def _equivalent(one: list[Any], other: list[Any], budget: Budget) -> bool:
    return _contains(one, other, budget) and _contains(other, one, budget)


def _intersects(one: list[Any], other: list[Any], budget: Budget) -> bool:
    return any(contains(item, one, budget) for item in other)


FUNCTIONS: Functions = {
    "sets.contains": (overload("(list(A), list(A)) -> bool", _contains, charges=True),),
    "sets.equivalent": (overload("(list(A), list(A)) -> bool", _equivalent, charges=True),),
    "sets.intersects": (overload("(list(A), list(A)) -> bool", _intersects, charges=True),),
}
