"""Handle decoded JSON values: copy, compare and name them as the patch types need.

The words for types are Go's, because upstream's errors show them.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import orjson


def private_copy(value: Any) -> Any:
    """Return a copy of a JSON value that shares no dict or list with it."""
    try:
        return orjson.loads(orjson.dumps(value)) if isinstance(value, dict | list) else value
    except (orjson.JSONEncodeError, orjson.JSONDecodeError):  # too deep, or a number too large
        return _copied(value)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def is_same(left: Any, right: Any) -> bool:
    """Tell whether two JSON values are equal; unlike in Python, true is not 1."""
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(is_same(item, right[key]) for key, item in left.items())
        )
    if isinstance(left, list):
        return (
            isinstance(right, list)
            and len(left) == len(right)
            and all(is_same(a, b) for a, b in zip(left, right, strict=True))
        )
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def token(value: Any) -> Hashable:
    """Return what is equal for two JSON values exactly when they are the same, and can be looked up."""
    if isinstance(value, dict | list):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return isinstance(value, bool), value


def type_name(value: Any) -> str:
    """Return Go's name for the type that this value decodes to."""
    names = {
        dict: "map[string]interface {}",
        list: "[]interface {}",
        str: "string",
        bool: "bool",
        int: "int64",
    }
    return names.get(type(value), "float64" if isinstance(value, float) else "%!s(<nil>)")


def json_type_name(value: Any) -> str:
    """Return what Go's JSON decoder calls this value."""
    names = {dict: "object", list: "array", str: "string", bool: "bool"}
    return names.get(type(value), "number")


def go_text(value: Any) -> str:
    """Return a value as Go's %v prints it."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_text, value)) + "]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
