"""Fill in what a schema defaults: fields that are absent, and nulls where none may be.

Follows apiextensions-apiserver/pkg/apiserver/schema/defaulting/algorithm.go. Objects are changed in place.
"""

from __future__ import annotations

from typing import Any

import orjson

from proa.objects.structural.node import ABSENT, DEFAULTS, Node


def set_defaults(value: Any, node: Node) -> None:
    """Default `value` and all that is in it."""
    if not node.holds & DEFAULTS:
        return
    if type(value) is dict:
        _default_fields(value, node)
    elif type(value) is list and (items := node.items) is not None:
        for index, item in enumerate(value):
            if item is None and not items.is_nullable:
                item = value[index] = None if items.default is ABSENT else copied(items.default)
            set_defaults(item, items)


def _default_fields(value: dict[str, Any], node: Node) -> None:
    for key, default in node.defaulted_children:
        if value.get(key) is None:
            child = node.child(key)
            if key not in value or (child is not None and not child.is_nullable):
                value[key] = copied(default)
    others = node.others
    for key, item in value.items():
        child = node.child(key)
        if child is None and others is not None:
            child = others
            if item is None and not others.is_nullable:
                item = value[key] = None if others.default is ABSENT else copied(others.default)
        if child is not None and (type(item) is dict or type(item) is list):
            set_defaults(item, child)


def copied(value: Any) -> Any:
    """Return a JSON value of one's own."""
    return orjson.loads(orjson.dumps(value)) if isinstance(value, (dict, list)) else value
