"""Take out of an object what its schema does not know, and nulls that stand for nothing.

Follows apiextensions-apiserver/pkg/apiserver/schema/pruning/algorithm.go and defaulting/prunenulls.go. Objects are
changed in place. Recursion goes only as deep as the schema, whose depth the store's encoder bounds.
"""

from __future__ import annotations

from typing import Any

from proa.objects.structural.node import ABSENT, META_FIELDS, Node


def prune(obj: Any, node: Node) -> list[str]:
    """Prune `obj`; return the paths of the unknown fields, sorted, such as spec.items[0].colour."""
    unknown: list[str] = []
    _prune(obj, node, None, unknown)
    unknown.sort()
    return unknown


Path = tuple[Any, str] | None
"""The path to a value, innermost step last: (the path before it, ".field" or "[index]")."""


def _prune(value: Any, node: Node, path: Path, unknown: list[str]) -> None:
    if type(value) is dict:
        _prune_fields(value, node, path, unknown)
    elif type(value) is list:
        items = node.items
        for index, item in enumerate(value):
            if type(item) is not dict and type(item) is not list:
                continue
            here = (path, f"[{index}]")
            if items is not None:
                _prune(item, items, here, unknown)
            elif not node.keeps_unknown:
                _prune_all(item, here, unknown)


def _prune_fields(value: dict[str, Any], node: Node, path: Path, unknown: list[str]) -> None:
    doomed: list[str] = []
    others, keeps = node.others, node.keeps_unknown
    for key, item in value.items():
        if node.is_embedded and key in META_FIELDS:
            continue
        child = node.child(key) or others
        if child is not None:
            if item is None:
                if not child.is_nullable and child.default is ABSENT:
                    doomed.append(key)
            elif type(item) is dict or type(item) is list:
                _prune(item, child, (path, f".{key}"), unknown)
        elif node.allows_others:
            _prune_all(item, (path, f".{key}"), unknown)
        elif not keeps:
            doomed.append(key)
            if path is not None or key not in META_FIELDS:
                unknown.append(_shown((path, f".{key}")))
    for key in doomed:
        del value[key]


def _prune_all(value: Any, path: Path, unknown: list[str]) -> None:
    """Empty every object in a value of which the schema says nothing; scalars and lists of them stay."""
    if type(value) is dict:
        unknown += [_shown((path, f".{key}")) for key in value]
        value.clear()
    elif type(value) is list:
        for index, item in enumerate(value):
            _prune_all(item, (path, f"[{index}]"), unknown)


def _shown(path: Path) -> str:
    steps = []
    while path is not None:
        path, step = path
        steps.append(step)
    return "".join(reversed(steps)).removeprefix(".")
