"""Refuse defaults that are not valid themselves, or that pruning would change.

Follows apiextensions-apiserver/pkg/apiserver/schema/defaulting/validation.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proa.objects.errors import Cause
from proa.objects.structural.defaulting import copied
from proa.objects.structural.embedded import (
    Malformed,
    MetadataRules,
    coerce_embedded,
    coerce_metadata,
    validate_embedded,
    validate_object,
)
from proa.objects.structural.node import ABSENT, DEFAULTS, META_FIELDS, Json, Node
from proa.objects.structural.pruning import prune
from proa.objects.structural.value_rules import validate_value
from proa.objects.structural.value_tests import ValueTests
from proa.objects.validation import invalid

Rules = Callable[[Node, Any, str], list[Cause]]
"""Returns what x-kubernetes-validations say of a default at a path."""
Surround = Callable[[Any], Any]
"""Makes the object around a value."""


def validate_defaults(
    raw: Json, path: str, metadata_rules: MetadataRules, rules: Rules, *, pruned: bool = True
) -> list[Cause]:
    """Return what is wrong with the defaults of a structural schema. Unknown fields are wrong where `pruned`."""
    checker = _Checker(metadata_rules, rules, pruned)
    root = Node(raw, is_root=True)
    return checker.walk(root, path, _identity, False) if root.holds & DEFAULTS else []


class _Checker:
    def __init__(self, metadata_rules: MetadataRules, rules: Rules, pruned: bool) -> None:
        self._metadata_rules = metadata_rules
        self._rules = rules
        self._pruned = pruned
        self._tests = ValueTests()

    def walk(self, node: Node, path: str, around: Surround, inside_metadata: bool) -> list[Cause]:
        if node.is_embedded:
            inside_metadata, around = False, _identity
        causes: list[Cause] = []
        if node.default is not ABSENT:
            here = f"{path}.default"
            check = self._inside_metadata if inside_metadata else self._plain
            causes += check(node, here, around)
        if (items := node.items) is not None:
            causes += self.walk(items, f"{path}.items", lambda value: around([value]), inside_metadata)
        for key, child in node.children:
            inside = inside_metadata or (node.is_embedded and key in META_FIELDS)
            causes += self.walk(child, f"{path}.properties[{key}]", _inside(around, key), inside)
        return causes

    def _plain(self, node: Node, path: str, around: Surround) -> list[Cause]:
        value = copied(node.default)
        causes: list[Cause] = []
        if self._pruned:
            prune(value, node)
            if value != node.default:
                causes.append(invalid(path, node.default, "must not have unknown fields"))
            value = copied(node.default)
        try:
            coerce_embedded(value, node, path)
            if node.is_embedded and isinstance(value, dict):
                coerce_metadata(value, path)
        except Malformed as error:
            return [*causes, invalid(path, node.default, str(error))]
        found = validate_embedded(value, node, self._metadata_rules, path)
        if node.is_embedded and isinstance(value, dict):
            found += validate_object(value, path, self._metadata_rules)
        found = found or validate_value(value, node.raw, self._tests, path=path)
        return causes + (found or self._rules(node, value, path))

    def _inside_metadata(self, node: Node, path: str, around: Surround) -> list[Cause]:
        obj = around(copied(node.default))
        obj.setdefault("kind", "Validation")
        obj.setdefault("apiVersion", "validation/v1")
        try:
            coerce_metadata(obj)
        except Malformed as error:
            return [invalid(path, node.default, f"must result in valid metadata: metadata: {error}")]
        if found := validate_object(obj, "", self._metadata_rules):
            said = ", ".join(f"{cause.field}: {cause.message}" for cause in found)
            said = f"[{said}]" if len(found) > 1 else said
            return [invalid(path, node.default, f"must result in valid metadata: {said}")]
        found = validate_value(node.default, node.raw, self._tests, path=path)
        return found or self._rules(node, node.default, path)


def _identity(value: Any) -> Any:
    return value


def _inside(around: Surround, key: str) -> Surround:
    return lambda value: around({key: value})
