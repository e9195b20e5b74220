"""Read the paths by which definitions name fields: `.spec.replicas`, and in rules `.spec['my-key']` too.

Follows ValidFieldPath in apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go.
"""

from __future__ import annotations

import re

from proa.objects.structural.node import Node

_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|[.\[\]]|[^.\[\]]+")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


class BadPath(ValueError):
    """The path cannot be read, or leads nowhere."""


def find_field(path: str, node: Node, *, allow_keys: bool = True) -> tuple[str, Node | None]:
    """Return the path as a field path (spec.replicas, spec.labels[app]) and what it leads to; raise BadPath."""
    tokens = _TOKEN.findall(path)
    found: Node | None = node
    shown = ""
    position = 0

    def take(wanted: str = "") -> str:
        nonlocal position
        if position >= len(tokens):
            raise BadPath("unexpected end of JSON path")
        position += 1
        token: str = tokens[position - 1]
        if wanted and token != wanted:
            raise BadPath(f"expected {wanted} but got {token}")
        return token

    while position < len(tokens):
        step = take()
        if step == "[":
            if not allow_keys:
                raise BadPath("array notation is not allowed")
            key = _unquoted(take())
            take("]")
        elif step == ".":
            key = take()
        else:
            raise BadPath(f"expected [ or . but got: {step}")
        found, shown_step = _step(found, key)
        shown += shown_step
    return shown.removeprefix("."), found


def _step(node: Node | None, key: str) -> tuple[Node | None, str]:
    if node is not None and node.raw.get("properties"):
        child = node.child(key)
        if child is None:
            raise BadPath("does not refer to a valid field")
        return child, f".{key}"
    if node is not None and node.raw.get("additionalProperties") is not None:
        return node.others, f"[{key}]"
    raise BadPath("does not refer to a valid field")


def _unquoted(token: str) -> str:
    if len(token) < 2 or token[0] != "'" or token[-1] != "'":
        raise BadPath(f"expected single quoted string but got {token}")
    wrong = re.search(r"\\[^abfnrtv'\\]", token[1:-1])
    if wrong:
        raise BadPath(f"invalid string literal: invalid escape char {wrong[0]}")
    return re.sub(r"\\(.)", lambda found: _ESCAPES[found[1]], token[1:-1])
