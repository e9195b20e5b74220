"""Values of parameters as text and text as values, by their declared types.

Source: PbValueToText and TextToPbValue of backend/src/v2/metadata/converter.go.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_LONGEST_QUOTE = 80


def format_value(value: Any) -> str:
    """Return a value as a command line or a file has it: strings as they are, lists and structs as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _format_float(value)
    return str(value) if isinstance(value, int) else to_json(value)


def to_json(value: Any) -> str:
    """Return compact JSON with sorted keys, the same for the same value."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def parse_text(text: str, parameter_type: str) -> Any:
    """Return the value that a file's text stands for; raise ValueError with what it should have been."""
    if parameter_type == "STRING":
        return text
    if parameter_type == "BOOLEAN":
        return _parse_bool(text.strip())
    if parameter_type == "NUMBER_INTEGER":
        return _parse(int, text, "a whole number, such as 42")
    if parameter_type == "NUMBER_DOUBLE":
        return check_value(_parse(float, text, "a number, such as 0.5"), parameter_type)
    return check_value(_parse(json.loads, text, "JSON"), parameter_type)


def check_value(value: Any, parameter_type: str) -> Any:
    """Return a value of the executor output as one of its type; raise ValueError with what it should have been."""
    if parameter_type == "NUMBER_INTEGER":
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return _expect(value, isinstance(value, int) and not isinstance(value, bool), "a whole number")
    if parameter_type == "NUMBER_DOUBLE":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return _expect(value, is_number and math.isfinite(value), "a finite number")
    if parameter_type == "STRING":
        return _expect(value, isinstance(value, str), "a string")
    if parameter_type == "BOOLEAN":
        return _expect(value, isinstance(value, bool), "true or false")
    if parameter_type == "LIST":
        return _expect(value, isinstance(value, list), "a list, such as [1, 2]")
    return _expect(value, isinstance(value, dict), 'a struct, such as {"key": 1}')


def quote(value: Any) -> str:
    """Return a value as messages show it: short, and on one line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "..."


def _format_float(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _parse(read: Callable[[str], Any], text: str, wanted: str) -> Any:
    try:
        return read(text.strip())
    except (ValueError, RecursionError):
        raise ValueError(f"{quote(text)} is not {wanted}") from None


def _parse_bool(text: str) -> bool:
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError(f"{quote(text)} is not true or false")


def _expect(value: Any, holds: bool, wanted: str) -> Any:
    if not holds:
        raise ValueError(f"{quote(value)} is not {wanted}")
    return value
