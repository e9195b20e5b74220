"""Spell the steps of a field's path as FieldsV1 does: `f:name`, `k:{"name":"c"}`, `v:"x"`; order and print them.

Follows structured-merge-diff/fieldpath/serialize-pe.go, element.go and value/fields.go. Two steps are the same when
their texts are, so texts are always made here.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import orjson

SELF = "."
"""Marks, among the children of a step, that the step itself is in the set."""
CACHED = 8192
SHORT = 256
"""Characters up to which a step is worth a place in a cache."""
_ORDER = {SELF: -1, "f": 0, "k": 1, "v": 2, "i": 3}
_GO_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_ESCAPED = str.maketrans(_GO_ESCAPES)


def go_json(value: object) -> str:
    """Return a value in JSON as Go's encoder writes it, which escapes HTML."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode().translate(_ESCAPED)


@lru_cache(maxsize=CACHED, typed=True)
def key_element(names: tuple[str, ...], *values: object) -> str:
    """Return the step to an item of a list that is keyed by fields: `names` sorted, None for one that it lacks."""
    fields = (f"{go_json(n)}:{go_json(v)}" for n, v in zip(names, values, strict=True) if v is not None)
    return f"k:{{{','.join(fields)}}}"


@lru_cache(maxsize=CACHED, typed=True)
def value_element(value: object) -> str:
    """Return the step to an item of a list that is a set of scalars."""
    return "v:" + go_json(value)


def canonical(element: str) -> str:
    """Return the one text of a step that a client has sent; raise ValueError for none."""
    kind, rest = element[:2], element[2:]
    if kind == "f:":
        return element
    if kind == "k:":
        fields = orjson.loads(rest)
        if not isinstance(fields, dict):
            raise ValueError(f"not an object: {rest}")
        return f"k:{go_json(fields)}"
    if kind == "v:":
        return "v:" + go_json(orjson.loads(rest))
    if kind == "i:":
        return f"i:{int(rest)}"
    if len(element) < 2:
        raise ValueError("key must be 2 characters long:")
    raise ValueError(f"missing colon: {element}" if element[1] != ":" else "unknown path element type")


def in_order(elements: Iterable[str]) -> list[str]:
    """Return steps as upstream orders them: names, keys, values; numbers by what they are."""
    found = sorted(elements)
    if len(found) > 1 and found[-1][0] != "f":
        is_short = all(len(element) <= SHORT for element in found)
        found.sort(key=_rank if is_short else _rank.__wrapped__)
    return found


@lru_cache(maxsize=CACHED)
def _rank(element: str) -> tuple[Any, ...]:
    kind = element[0]
    order = _ORDER[kind]
    if kind == "k":
        return (order, tuple((name, _value_rank(v)) for name, v in orjson.loads(element[2:]).items()))
    if kind == "v":
        return (order, _value_rank(orjson.loads(element[2:])))
    return (order, int(element[2:])) if kind == "i" else (order, element)


def _value_rank(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, (int, float)):
        return (0, value)
    return (1, value) if isinstance(value, str) else (3, go_json(value))


def printed(path: Iterable[str]) -> str:
    """Return a path as messages show it: .spec.containers[name="c"].image."""
    return "".join(map(_printed_step, path))


def _printed_step(element: str) -> str:
    kind, rest = element[0], element[2:]
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        fields = ",".join(f"{name}={_printed_value(v)}" for name, v in orjson.loads(rest).items())
        return f"[{fields}]"
    return f"[={_printed_value(orjson.loads(rest))}]" if kind == "v" else f"[{rest}]"


def _printed_value(value: object) -> str:
    return orjson.dumps(value).decode()
