"""Fill in what a schema defaults: fields that are absent, and nulls where none may be.

Follows apiextensions-apiserver/pkg/apiserver/schema/defaulting/algorithm.go. Objects are changed in place.
"""

from __future__ import annotations

from typing import Any

import orjson

from proa.objects.errors import RequestEntityTooLarge
from proa.objects.structural.node import ABSENT, DEFAULTS, Node

MAX_ADDED_BYTES = 1536 * 1024
"""So much JSON at most is filled in: no object of more could be stored (etcd's limit), and a default in the items of a
list makes a few bytes of a client's stand for thousands."""


class _Room:
    """How much may still be filled in."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_ADDED_BYTES

    def copied(self, key: str, default: Any) -> Any:
        """Return a default of one's own for `key`; raise RequestEntityTooLarge where there is no room for it."""
        self.left -= len(key)
        if isinstance(default, (dict, list)):
            data = orjson.dumps(default)
            self.left -= len(data)
            default = orjson.loads(data)
        else:
            self.left -= len(default) if isinstance(default, str) else 4
        if self.left < 0:
            raise RequestEntityTooLarge(
                f"Request entity too large: its defaults are over {MAX_ADDED_BYTES} bytes"
            )
        return default


def set_defaults(value: Any, node: Node) -> None:
    """Default `value` and all that is in it; raise RequestEntityTooLarge."""
    if node.holds & DEFAULTS:
        _set_defaults(value, node, _Room())


def _set_defaults(value: Any, node: Node, room: _Room) -> None:
    if not node.holds & DEFAULTS:
        return
    if type(value) is dict:
        _default_fields(value, node, room)
    elif type(value) is list and (items := node.items) is not None:
        for index, item in enumerate(value):
            if item is None and not items.is_nullable:
                item = value[index] = None if items.default is ABSENT else room.copied("", items.default)
            _set_defaults(item, items, room)


def _default_fields(value: dict[str, Any], node: Node, room: _Room) -> None:
    for key, default in node.defaulted_children:
        if value.get(key) is None:
            child = node.child(key)
            if key not in value or (child is not None and not child.is_nullable):
                value[key] = room.copied(key, default)
    others = node.others
    for key, item in value.items():
        child = node.child(key)
        if child is None and others is not None:
            child = others
            if item is None and not others.is_nullable:
                item = value[key] = None if others.default is ABSENT else room.copied(key, others.default)
        if child is not None and (type(item) is dict or type(item) is list):
            _set_defaults(item, child, room)


def copied(value: Any) -> Any:
    """Return a JSON value of one's own."""
    return orjson.loads(orjson.dumps(value)) if isinstance(value, (dict, list)) else value
