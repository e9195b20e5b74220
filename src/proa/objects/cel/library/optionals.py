"""Values that may be absent (cel-go cel/library.go OptionalTypes)."""

from __future__ import annotations

from typing import Any

from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.functions import Functions, overload
from proa.objects.cel.values import NONE, Duration, Optional, Struct


def _of(value: Any) -> Optional:
    return Optional(value, True)


def _of_non_zero(value: Any) -> Optional:
    if type(value) is Struct:
        return Optional(value, True) if value.fields else NONE
    if type(value) is Duration:
        return Optional(value, True) if value.nanoseconds else NONE
    return Optional(value, True) if value else NONE


def _none() -> Optional:
    return NONE


def _value(optional: Optional) -> Any:
    if optional.present:
        return optional.value
    raise CelRuntimeError("optional.none() dereference")


def _has_value(optional: Optional) -> bool:
    return optional.present


def _or(one: Optional, other: Optional) -> Optional:
    return one if one.present else other


def _or_value(one: Optional, other: Any) -> Any:
    return one.value if one.present else other


def _unwrap(items: list[Any], budget: Budget) -> list[Any]:
    budget.charge(len(items))
    return [item.value for item in items if type(item) is Optional and item.present]


FUNCTIONS: Functions = {
    "optional.of": (overload("(A) -> optional(A)", _of),),
    "optional.ofNonZeroValue": (overload("(A) -> optional(A)", _of_non_zero),),
    "optional.none": (overload("() -> optional(A)", _none),),
    "value": (overload("optional(A).() -> A", _value),),
    "hasValue": (overload("optional(A).() -> bool", _has_value),),
    "or": (overload("optional(A).(optional(A)) -> optional(A)", _or),),
    "orValue": (overload("optional(A).(A) -> A", _or_value),),
    "optional.unwrap": (overload("(list(optional(A))) -> list(A)", _unwrap, charges=True),),
    "unwrapOpt": (overload("list(optional(A)).() -> list(A)", _unwrap, charges=True),),
}
