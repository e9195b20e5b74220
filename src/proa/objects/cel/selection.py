"""Read a field of whatever an operand turns out to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.values import MISSING, NONE, LazyFields, OpenMap, Optional, Struct

Convert = Callable[[Any, Budget], Any]


def select_field(value: Any, key: str, shown: str, convert: Convert | None, budget: Budget) -> Any:
    """Return `value.key`; raise CelRuntimeError where there is none."""
    if type(value) is Optional:
        return optional_field(value, key, convert, budget)
    found = _find(value, key)
    if found is MISSING:
        raise CelRuntimeError(f"no such key: {shown}")
    return found if convert is None else convert(found, budget)


def optional_field(value: Any, key: str, convert: Convert | None, budget: Budget) -> Optional:
    """Return `value.?key`."""
    if type(value) is Optional:
        if not value.present:
            return NONE
        value = value.value
    found = _find(value, key)
    if found is MISSING:
        return NONE
    if type(found) is Optional:
        return found
    return Optional(found if convert is None else convert(found, budget), True)


def has_field(value: Any, key: str, budget: Budget) -> bool:
    """Return `has(value.key)`."""
    if type(value) is Optional:
        return value.present and has_field(value.value, key, budget)
    if isinstance(value, LazyFields):
        return value.has_field(key)
    return _find(value, key) is not MISSING


def _find(value: Any, key: str) -> Any:
    if type(value) is dict:
        return value.get(key, MISSING)
    if type(value) is OpenMap:
        return value.get(key, {})
    if type(value) is Struct:
        return value.fields.get(key, MISSING)
    if isinstance(value, LazyFields):
        return value.get_field(key) if value.has_field(key) else MISSING
    return MISSING
