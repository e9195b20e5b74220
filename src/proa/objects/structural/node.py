"""A custom resource's structural schema as a tree of nodes, each made of the JSON schema when first looked at.

A large definition has thousands of nodes and an object touches few of them: nothing is made before it is needed, and
what a subtree holds at all (defaults, sets, embedded objects, rules) is told by one scan of the JSON. Follows
apiextensions-apiserver/pkg/apiserver/schema/structural.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

DEFAULTS, EMBEDDED, LISTS, RULES = 1, 2, 4, 8
META_FIELDS = frozenset(("apiVersion", "kind", "metadata"))
ABSENT = object()
Json = Mapping[str, Any]


class Node:
    """What one JSON schema says of structure. `allows_others` is whether additionalProperties is given at all."""

    __slots__ = (
        "_children",
        "_holds",
        "_items",
        "_others",
        "_raw_children",
        "allows_others",
        "default",
        "is_embedded",
        "is_nullable",
        "keeps_unknown",
        "raw",
    )

    def __init__(self, raw: Json, *, is_root: bool = False) -> None:
        self.raw = raw
        self.is_nullable = bool(raw.get("nullable"))
        self.keeps_unknown = bool(raw.get("x-kubernetes-preserve-unknown-fields"))
        self.is_embedded = is_root or bool(raw.get("x-kubernetes-embedded-resource"))
        default = raw.get("default")
        self.default = ABSENT if default is None else default
        others = raw.get("additionalProperties")
        self.allows_others = bool(others) or isinstance(others, dict)
        self._raw_children: Mapping[str, Json] = raw.get("properties") or {}
        self._children: dict[str, Node] = {}
        self._others: Node | None = None
        self._items: Node | None = None
        self._holds = -1

    def child(self, key: str) -> Node | None:
        """Return the node of a field that the schema names."""
        found = self._children.get(key)
        if found is None:
            raw = self._raw_children.get(key)
            if raw is None:
                return None
            found = self._children[key] = Node(raw)
        return found

    @property
    def children(self) -> Iterator[tuple[str, Node]]:
        """Yield the fields that the schema names."""
        for key in self._raw_children:
            node = self.child(key)
            assert node is not None
            yield key, node

    @property
    def others(self) -> Node | None:
        """Return the node of all other fields: additionalProperties, where it is a schema."""
        if self._others is None and isinstance(raw := self.raw.get("additionalProperties"), dict):
            self._others = Node(raw)
        return self._others

    @property
    def items(self) -> Node | None:
        """Return the node of a list's items."""
        if self._items is None and isinstance(raw := self.raw.get("items"), dict):
            self._items = Node(raw)
        return self._items

    def of(self, key: str) -> Node | None:
        """Return the node of a field, named or not."""
        return self.child(key) or self.others

    @property
    def holds(self) -> int:
        """Tell what is in the subtree: DEFAULTS, EMBEDDED, LISTS (sets and maps), RULES."""
        if self._holds < 0:
            self._holds = _scan(self.raw)
        return self._holds

    @property
    def defaulted_children(self) -> Iterator[tuple[str, Any]]:
        """Yield the named fields that have a default, and the default, which nobody may change."""
        for key, raw in self._raw_children.items():
            default = raw.get("default")
            if default is not None:
                yield key, default


def _scan(raw: Json) -> int:
    """Return what a schema holds, itself and below; rules in allOf count, nothing else of nested schemas does."""
    found = 0
    todo: list[Any] = [raw]
    while todo:
        schema = todo.pop()
        if schema.get("default") is not None:
            found |= DEFAULTS
        if schema.get("x-kubernetes-embedded-resource"):
            found |= EMBEDDED
        if schema.get("x-kubernetes-list-type") in ("set", "map"):
            found |= LISTS
        if schema.get("x-kubernetes-validations"):
            found |= RULES
        todo += (schema.get("properties") or {}).values()
        todo += [s for s in (schema.get("items"), schema.get("additionalProperties")) if isinstance(s, dict)]
    return found
