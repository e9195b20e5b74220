"""Resource quantities, as `100m` and `1.5Gi` (apiserver/pkg/cel/library/quantity.go)."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import ClassVar

from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.functions import Functions, overload
from proa.objects.cel.values import INT_MAX, INT_MIN
from proa.objects.quantity import QuantityError, parse_quantity
from proa.objects.quick_dataclass import dataclass

_EXACT = Context(prec=200)
_MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact amount."""

    TYPE_NAME: ClassVar[str] = "kubernetes.Quantity"
    amount: Decimal


def read_quantity(text: str) -> Quantity:
    """Return `quantity(text)`; raise CelRuntimeError."""
    try:
        if len(text) > _MAX_TEXT:
            raise QuantityError("unable to parse quantity's suffix")
        return Quantity(parse_quantity(text))
    except QuantityError as error:
        raise CelRuntimeError(str(error)) from None


def _is_quantity(text: str) -> bool:
    try:
        read_quantity(text)
    except CelRuntimeError:
        return False
    return True


def _compare(one: Quantity, other: Quantity) -> int:
    return (one.amount > other.amount) - (one.amount < other.amount)


def _is_integer(quantity: Quantity) -> bool:
    amount = quantity.amount
    return amount == amount.to_integral_value() and INT_MIN <= amount <= INT_MAX


def _as_integer(quantity: Quantity) -> int:
    if not _is_integer(quantity):
        raise CelRuntimeError("cannot convert value to integer")
    return int(quantity.amount)


def _add(one: Quantity, other: Quantity) -> Quantity:
    return Quantity(_EXACT.add(one.amount, other.amount))


def _subtract(one: Quantity, other: Quantity) -> Quantity:
    return Quantity(_EXACT.subtract(one.amount, other.amount))


FUNCTIONS: Functions = {
    "quantity": (overload("(string) -> kubernetes.Quantity", read_quantity),),
    "isQuantity": (overload("(string) -> bool", _is_quantity),),
    "sign": (
        overload(
            "(kubernetes.Quantity) -> int",
            lambda quantity: (quantity.amount > 0) - (quantity.amount < 0),
        ),
    ),
    "isGreaterThan": (
        overload(
            "kubernetes.Quantity.(kubernetes.Quantity) -> bool", lambda one, other: _compare(one, other) > 0
        ),
    ),
    "isLessThan": (
        overload(
            "kubernetes.Quantity.(kubernetes.Quantity) -> bool", lambda one, other: _compare(one, other) < 0
        ),
    ),
    "compareTo": (overload("kubernetes.Quantity.(kubernetes.Quantity) -> int", _compare),),
    "asApproximateFloat": (
        overload("kubernetes.Quantity.() -> double", lambda quantity: float(quantity.amount)),
    ),
    "asInteger": (overload("kubernetes.Quantity.() -> int", _as_integer),),
    "isInteger": (overload("kubernetes.Quantity.() -> bool", _is_integer),),
    "add": (
        overload("kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity", _add),
        overload(
            "kubernetes.Quantity.(int) -> kubernetes.Quantity",
            lambda one, other: _add(one, Quantity(Decimal(other))),
        ),
    ),
    "sub": (
        overload("kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity", _subtract),
        overload(
            "kubernetes.Quantity.(int) -> kubernetes.Quantity",
            lambda one, other: _subtract(one, Quantity(Decimal(other))),
        ),
    ),
}
