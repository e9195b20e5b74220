"""Find something in an object by a GJSON path: the part of it in which conditions are written.

A path is parts joined by `|`; each part is applied to what the one before it found. A part is steps joined by `.`:

    conditions  a*b  0           a field (`*` and `?` stand for any text), an item of a list by its number
    #                            how many items; `#.x`: the x of each item that has one
    #(x=="y")                    the first item of which that holds; `#(x=="y")#`: all such items
    @this @keys @values ...      a modifier
    [a,b]  {"x":a,b}             a list, or an object, of what several paths find

Comparisons are == (=), !=, <, <=, >, >=, % (like), !% (unlike); without one: the item has x. gjson_parser.py makes
paths of texts.
Source: SYNTAX.md and gjson.go of tidwall/gjson.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from proa.objects.quick_dataclass import dataclass


class _Missing:
    """Nothing is found."""


MISSING = _Missing()


@dataclass(frozen=True, slots=True)
class Field:
    """A field by its name, or an item by its number. `pattern` is there where the name has wildcards."""

    name: str
    pattern: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class Items:
    """`#`."""


@dataclass(frozen=True, slots=True)
class Query:
    """`#(path operator value)`, and whether all items are meant. `path` () is the item itself."""

    path: Path
    operator: str
    value: str
    is_all: bool


@dataclass(frozen=True, slots=True)
class Modifier:
    """`@name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Several:
    """`[a,b]`, or with names `{"x":a}`."""

    paths: tuple[Path, ...]
    names: tuple[str, ...] | None


Step = Field | Items | Query | Modifier | Several
Path = tuple[tuple[Step, ...], ...]
"""Parts of steps."""


def _reverse(value: Any) -> Any:
    if isinstance(value, list):
        return value[::-1]
    return dict(reversed(value.items())) if isinstance(value, dict) else value


def _flatten(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [item for part in value for item in (part if isinstance(part, list) else [part])]


MODIFIERS: Mapping[str, Callable[[Any], Any]] = {
    "this": lambda value: value,
    "valid": lambda value: value,
    "pretty": lambda value: value,
    "ugly": lambda value: value,
    "reverse": _reverse,
    "flatten": _flatten,
    "keys": lambda value: list(value) if isinstance(value, dict) else [],
    "values": lambda value: list(value.values()) if isinstance(value, dict) else [value],
}


def find(path: Path, value: Any) -> Any:
    """Return what a path finds, or MISSING."""
    for steps in path:
        value = _walk(steps, value)
    return value


def _walk(steps: Sequence[Step], value: Any) -> Any:
    for index, step in enumerate(steps):
        rest = steps[index + 1 :]
        if isinstance(step, Items):
            return _each(value, rest)
        if isinstance(step, Query):
            if not isinstance(value, list):
                return MISSING
            found = [item for item in value if _holds(step, item)]
            if step.is_all:
                return _each(found, rest) if rest else found
            value = found[0] if found else MISSING
        else:
            value = _one(step, value)
        if value is MISSING:
            return MISSING
    return value


def _each(value: Any, rest: Sequence[Step]) -> Any:
    """Return how many items there are, or what the rest of the part finds in each."""
    if not isinstance(value, list):
        return MISSING
    if not rest:
        return len(value)
    return [found for item in value if (found := _walk(rest, item)) is not MISSING]


def _one(step: Field | Modifier | Several, value: Any) -> Any:
    if isinstance(step, Modifier):
        return MODIFIERS[step.name](value)
    if isinstance(step, Several):
        found = [find(path, value) for path in step.paths]
        if step.names is None:
            return [item for item in found if item is not MISSING]
        return {name: item for name, item in zip(step.names, found, strict=True) if item is not MISSING}
    if isinstance(value, list):
        index = int(step.name) if step.name.isdecimal() and len(step.name) < 10 else len(value)
        return value[index] if index < len(value) else MISSING
    if not isinstance(value, dict):
        return MISSING
    if step.pattern is None:
        return value.get(step.name, MISSING)
    return next((item for name, item in value.items() if step.pattern.fullmatch(name)), MISSING)


def _holds(query: Query, item: Any) -> bool:
    value = find(query.path, item)
    if value is MISSING:
        return False
    if not query.operator:
        return True
    if isinstance(value, bool):
        return _compare(query.operator, float(value), {"true": 1.0, "false": 0.0}.get(query.value))
    if isinstance(value, str):
        if query.operator in ("%", "!%"):
            return bool(like(query.value).fullmatch(value)) == (query.operator == "%")
        return _compare(query.operator, value, query.value)
    if isinstance(value, (int, float)):
        try:
            return _compare(query.operator, value, float(query.value))
        except ValueError:
            return False
    return False


def _compare(operator: str, value: Any, other: Any) -> bool:
    if other is None:
        return operator == "!="
    match operator:
        case "=" | "==":
            return bool(value == other)
        case "!=":
            return bool(value != other)
        case "<":
            return bool(value < other)
        case "<=":
            return bool(value <= other)
        case ">":
            return bool(value > other)
        case ">=":
            return bool(value >= other)
    return False


@lru_cache(maxsize=64)
def like(pattern: str) -> re.Pattern[str]:
    """Return the expression of a text in which `*` and `?` stand for any; its cost is linear in the text's length."""
    parts = re.findall(r"\\.|[^\\]", pattern, re.S)
    return re.compile(fnmatch.translate("".join(_like_part(part) for part in parts)))


def _like_part(part: str) -> str:
    char = part[-1]
    is_plain = len(part) > 1 or char == "["
    return f"[{char}]" if is_plain and char in "*?[" else char
