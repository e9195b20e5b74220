"""Keep lists that are sets or maps free of the same item twice.

Follows apiextensions-apiserver/pkg/apiserver/schema/listtype/validation.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from proa.objects.errors import Cause
from proa.objects.structural.node import LISTS, Node
from proa.objects.validation import duplicate, invalid


def validate_lists(value: Any, node: Node, path: str = "") -> list[Cause]:
    """Return the items that are in a set, or whose keys are in a map, a second time."""
    if not node.holds & LISTS:
        return []
    causes: list[Cause] = []
    if type(value) is dict:
        for key, item in value.items():
            child = node.child(key)
            if child is not None:
                causes += validate_lists(item, child, f"{path}.{key}" if path else key)
            elif (others := node.others) is not None:
                causes += validate_lists(item, others, f"{path}[{key}]")
    elif type(value) is list:
        causes += _validate_items(value, node, path)
        if (items := node.items) is not None:
            for index, item in enumerate(value):
                causes += validate_lists(item, items, f"{path}[{index}]")
    return causes


def _validate_items(items: list[Any], node: Node, path: str) -> list[Cause]:
    kind = node.raw.get("x-kubernetes-list-type")
    if kind == "set":
        return [duplicate(f"{path}[{index}]", items[index]) for index in _second_ones(items)]
    if kind != "map":
        return []
    for index, item in enumerate(items):
        if item is not None and type(item) is not dict:
            return [invalid(f"{path}[{index}]", item, "must be an object for an array of list-type map")]
    keys = [map_key(item, node) for item in items]
    return [duplicate(f"{path}[{index}]", keys[index]) for index in _second_ones(keys)]


def map_key(item: Any, node: Node) -> dict[str, Any]:
    """Return the key fields of an item of a list-map."""
    names = node.raw.get("x-kubernetes-list-map-keys") or ()
    return {name: item[name] for name in names if name in item} if type(item) is dict else {}


def identity(value: Any) -> Any:
    """Return what two JSON values have in common just when they are the same."""
    if isinstance(value, (dict, list)):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return (type(value), value)


def _second_ones(values: Sequence[Any]) -> list[int]:
    """Return where a value stands for the second time; the third and later times go unsaid."""
    counts: dict[Any, int] = {}
    found = []
    for index, value in enumerate(values):
        key = identity(value)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] == 2:
            found.append(index)
    return found
