"""Say whether values are of their declared types, and whether an output may become an input.

Source: resolveInputs of backend/src/v2/driver/resolve.go: numbers are one kind, and a STRING takes anything as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.ml.pipelines.ir.components import ParameterType

_NUMBERS = frozenset({ParameterType.NUMBER_DOUBLE, ParameterType.NUMBER_INTEGER})
_STRUCTS = frozenset({ParameterType.STRUCT, ParameterType.TASK_FINAL_STATUS, ParameterType.TASK_CONFIG})


def is_of(value: Any, kind: ParameterType) -> bool:
    """Say whether a value is of a type; 1.0 is a NUMBER_INTEGER, as protobuf knows doubles only."""
    if kind in _NUMBERS:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and (kind is ParameterType.NUMBER_DOUBLE or float(value).is_integer())
    if kind is ParameterType.STRING:
        return isinstance(value, str)
    if kind is ParameterType.BOOLEAN:
        return isinstance(value, bool)
    if kind is ParameterType.LIST:
        return isinstance(value, list | tuple)
    return isinstance(value, Mapping)


def can_become(produced: ParameterType, consumed: ParameterType) -> bool:
    """Say whether a value of one type may be given where another is declared."""
    if produced == consumed or consumed is ParameterType.STRING:
        return True
    return any(produced in group and consumed in group for group in (_NUMBERS, _STRUCTS))


def same_number_or_value(value: Any, literal: Any) -> bool:
    """Compare as protobuf values do: numbers by number, and never a bool with a number."""
    if isinstance(value, bool) or isinstance(literal, bool):
        return value is literal
    return bool(value == literal)


def word_of(value: Any) -> str:
    """Return the type that a value has, for a message."""
    if value is None:
        return "null"
    if isinstance(value, float) and not value.is_integer():
        return "NUMBER_DOUBLE"
    order = (ParameterType.BOOLEAN, ParameterType.NUMBER_INTEGER, ParameterType.STRING, ParameterType.LIST)
    return next((kind.value for kind in order if is_of(value, kind)), "STRUCT")
