"""Make a value one of the type that an input is declared to have, or say that it is not.

Source: handleParamTypeValidationAndConversion of backend/src/v2/driver/resolve.go, PbValueToText of
metadata/converter.go, ValidateLiteralParameter of backend/src/common/util.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from proa.ml.pipelines.ir.components import ParameterType, parameter_type

_NUMBERS = frozenset({ParameterType.NUMBER_DOUBLE, ParameterType.NUMBER_INTEGER})
_STRUCTS = frozenset({ParameterType.STRUCT, ParameterType.TASK_FINAL_STATUS, ParameterType.TASK_CONFIG})


class InputError(ValueError):
    """A task cannot begin: an input has no value, or none of its type. The message names the input."""


def convert(name: str, value: Any, definition: Mapping[str, Any]) -> Any:
    """Return a value as its input's type has it; raise InputError. All types can be had as a STRING."""
    kind = parameter_type(definition)
    if kind is None:
        return value
    if kind is ParameterType.STRING:
        value = to_text(value)
    elif not _is_of(value, kind):
        raise InputError(f'input parameter "{name}" type mismatch: expect {kind}, got {_word(value)}')
    elif kind is ParameterType.NUMBER_INTEGER and isinstance(value, float) and value.is_integer():
        value = int(value)
    literals = definition.get("literals")
    if literals and not any(_is_same(value, literal) for literal in literals):
        raise InputError(
            f'input parameter "{name}" value {_short(value)} does not match any of the allowed literal values:'
            f" {orjson.dumps(literals).decode()}"
        )
    return value


def to_text(value: Any) -> str:
    """Return a value as a string: itself, or its JSON."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _is_of(value: Any, kind: ParameterType) -> bool:
    if isinstance(value, bool):
        return kind is ParameterType.BOOLEAN
    if isinstance(value, int | float):
        return kind in _NUMBERS
    if isinstance(value, list | tuple):
        return kind is ParameterType.LIST
    return isinstance(value, Mapping) and kind in _STRUCTS


def _is_same(value: Any, literal: Any) -> bool:
    return isinstance(value, bool) == isinstance(literal, bool) and bool(value == literal)


def _word(value: Any) -> str:
    kinds = (
        (bool, "bool"),
        (int | float, "number"),
        (str, "string"),
        (list | tuple, "list"),
        (Mapping, "struct"),
    )
    return next((word for kind, word in kinds if isinstance(value, kind)), "null")


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 80 else f"{text[:80]}..."
