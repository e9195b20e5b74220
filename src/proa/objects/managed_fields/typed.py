"""Walk objects as their schema says lists and maps merge, and tell what of them is owned, changed, merged, removed.

A schema node becomes, once, a `Node`: a leaf (scalars, and whatever is atomic), a struct or a map with children, a
list that is a set, or a list that is keyed by fields of its items. Walks of what clients write often (`diff`,
`added`) pay one dict look-up a field and skip what is equal; those of server-side apply are written for clarity.

Follows structured-merge-diff/typed/compare.go, tofieldset.go, merge.go, remove.go and validate.go. Where both sides
of a comparison come from Go structs there, fields that are always present are filled in here (zero_values.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from proa.objects.managed_fields.elements import (
    SELF,
    SHORT,
    in_order,
    key_element,
    printed,
    value_element,
)
from proa.objects.managed_fields.sets import EMPTY, LEAF, FieldSet, is_member
from proa.objects.managed_fields.zero_values import always_present, key_defaults, times_present
from proa.objects.schemas.schema import Schema

Difference = tuple[FieldSet | None, FieldSet | None]
"""What was added or modified, and what was removed; None for nothing."""
_ABSENT = object()
_SCALAR_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int, float),
    "number": (int, float),
}
_WANTED = {"string": "string", "boolean": "boolean", "integer": "numeric (int or float)"}
_WANTED["number"] = _WANTED["integer"]


def node_of(schema: Schema) -> Node:
    """Return the schema's node, made at the first call."""
    made: Node | None = schema.typed
    if made is None:
        made = schema.typed = _make(schema)
    return made


def _make(schema: Schema) -> Node:
    if schema.type == "any":
        return Deduced()
    if schema.type == "object":
        is_raw = schema.preserve_unknown and bool(schema.name)  # a built-in kind's RawExtension
        if schema.map_type == "atomic" or is_raw:
            return Leaf(schema)
        return _make_parent(schema)
    if schema.type == "array" and schema.items is not None:
        if schema.list_type == "set":
            return ValueSet(schema)
        if schema.list_type == "map":
            return KeyedList(schema, schema.items)
    return Leaf(schema)


def _make_parent(schema: Schema) -> _Parent:
    is_struct = schema.values is None and (not schema.preserve_unknown or schema.properties)
    return Struct(schema) if is_struct else Map(schema)


class Node:
    """What is owned as a whole; the other kinds of node refine it."""

    __slots__ = ()

    def added(self, value: Any) -> FieldSet:
        """Return what lies below a field that one side has and the other has not: every field of it."""
        return LEAF

    def diff(self, old: Any, new: Any) -> Difference:
        """Return what is different; `old` and `new` are both there, and not equal."""
        return LEAF, None

    def owned(self, value: Any) -> FieldSet | None:
        """Return the set of an applied value; None where the value itself is to be a member without children."""
        return None

    def merged(self, live: Any, config: Any) -> Any:
        """Return `live` with everything that `config` says."""
        return config

    def without(self, value: Any, fields: FieldSet) -> Any:
        """Return `value` less the fields in the set; None where nothing is left."""
        return None if isinstance(value, (dict, list)) and value else value

    def named(self, fields: FieldSet) -> FieldSet:
        """Return the set with each struct field that has something below it as a member too."""
        return fields

    def faults(self, value: Any, path: tuple[str, ...]) -> Iterable[str]:
        """Yield what does not fit the schema in an applied value."""
        return ()


class Leaf(Node):
    """A scalar, or an atomic list or map."""

    __slots__ = ("_schema",)

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def faults(self, value: Any, path: tuple[str, ...]) -> Iterable[str]:
        """See `Node`. What is inside an atomic value is checked like the rest."""
        schema = self._schema
        if value is None:
            return
        if schema.type == "array":
            if not isinstance(value, list):
                yield f"{printed(path)}: expected list, got {_shown(value)}"
            elif schema.items is not None:
                for index, item in enumerate(value):
                    yield from node_of(schema.items).faults(item, (*path, f"i:{index}"))
        elif schema.type == "object":
            yield from _make_parent(schema).faults(value, path)
        elif not isinstance(value, _SCALAR_TYPES.get(schema.type, (str, int, float))) or (
            isinstance(value, bool) and schema.type != "boolean"
        ):
            wanted = _WANTED.get(schema.type)
            said = f"expected {wanted}, got" if wanted else "expected any scalar, got"
            yield f"{printed(path)}: {said} {_shown(value)}"


class _Parent(Node):
    """A struct or a map: children by name."""

    __slots__ = ()

    def child(self, key: str) -> Node:
        """Return the node of a key."""
        raise NotImplementedError

    def is_named(self, key: str) -> bool:
        """Tell whether the key is a struct's field, which is there by nature and not owned for itself."""
        return False

    def owned(self, value: Any) -> FieldSet | None:
        """See `Node`."""
        out: FieldSet = {}
        for key in sorted(value or ()):
            item = value[key]
            node = self.child(key)
            below = node.owned(item)
            if below is None or item is None or item == {}:
                out[f"f:{key}"] = LEAF
            elif below:
                out[f"f:{key}"] = below if self.is_named(key) else {SELF: LEAF, **below}
            elif not self.is_named(key):
                out[f"f:{key}"] = LEAF
        return out

    def merged(self, live: Any, config: Any) -> Any:
        """See `Node`."""
        if not live:
            return config
        out = dict(live)
        for key, value in (config or {}).items():
            out[key] = self.child(key).merged(live[key], value) if key in live else value
        return out

    def without(self, value: Any, fields: FieldSet) -> Any:
        """See `Node`."""
        if not isinstance(value, dict) or not value:
            return None
        out = {}
        for key, item in value.items():
            below = fields.get(f"f:{key}")
            if below is None:
                out[key] = item
            elif not is_member(below):
                out[key] = self.child(key).without(item, below)
        return out or None

    def named(self, fields: FieldSet) -> FieldSet:
        """See `Node`."""
        out = {}
        for step, below in fields.items():
            if not below or step[0] != "f":
                out[step] = below
                continue
            key = step[2:]
            children = self.child(key).named(below)
            out[step] = {SELF: LEAF, **children} if self.is_named(key) else children
        return out

    def faults(self, value: Any, path: tuple[str, ...]) -> Iterable[str]:
        """See `Node`."""
        if value is None:
            return
        if not isinstance(value, dict):
            yield f"{printed(path)}: expected map, got {_shown(value)}"
            return
        for key, item in value.items():
            yield from self.child(key).faults(item, (*path, f"f:{key}"))


class Struct(_Parent):
    """Fields that the schema names."""

    __slots__ = ("_known", "_schema", "_times", "_zeros")

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._known: dict[str, tuple[str, Node | None]] = {}
        self._times = times_present(schema)
        self._zeros: Mapping[str, Any] | None = None

    def _find(self, key: str) -> tuple[str, Node | None]:
        schema = self._schema.properties.get(key)
        if schema is None:
            return f"f:{key}", Deduced() if self._schema.preserve_unknown else None
        node = node_of(schema)
        found = self._known[key] = (f"f:{key}", None if isinstance(node, Leaf) else node)
        return found

    def added(self, value: Any) -> FieldSet:
        """See `Node`."""
        if not value:
            return LEAF
        known = self._known
        if self._times:
            value = {**dict.fromkeys(self._times), **value}
        out: FieldSet = {SELF: LEAF}
        for key in sorted(value):
            step, node = known.get(key) or self._find(key)
            out[step] = LEAF if node is None else node.added(value[key])
        return out

    def diff(self, old: Any, new: Any) -> Difference:
        """See `Node`."""
        old, new = old or EMPTY, new or EMPTY
        if not old and not new:
            return LEAF, None
        zeros = self._zeros
        if zeros is None:
            zeros = self._zeros = always_present(self._schema)
        known = self._known
        changed: FieldSet = {}
        removed: FieldSet = {}
        for key in sorted(new):
            value = new[key]
            had = old.get(key, _ABSENT)
            if had == value or (value is None and had is _ABSENT):
                continue
            step, node = known.get(key) or self._find(key)
            if had is _ABSENT:
                had = zeros.get(key, _ABSENT)
                if had is _ABSENT:
                    changed[step] = LEAF if node is None else node.added(value)
                    continue
                if had == value:
                    continue
            if node is None:
                changed[step] = LEAF
            else:
                _put(step, node.diff(had, value), changed, removed)
        if not old.keys() <= new.keys():
            self._lost(old, new, zeros, changed, removed)
        return changed or None, removed or None

    def _lost(
        self, old: Any, new: Any, zeros: Mapping[str, Any], changed: FieldSet, removed: FieldSet
    ) -> None:
        for key in old.keys() - new.keys():
            step, node = self._known.get(key) or self._find(key)
            if key not in zeros:
                if old[key] is not None:
                    removed[step] = LEAF if node is None else node.added(old[key])
            elif old[key] != zeros[key]:
                _put(step, (node or _LEAF).diff(old[key], zeros[key]), changed, removed)

    def child(self, key: str) -> Node:
        """See `_Parent`."""
        return (self._known.get(key) or self._find(key))[1] or _LEAF

    def is_named(self, key: str) -> bool:
        """See `_Parent`."""
        return key in self._schema.properties

    def faults(self, value: Any, path: tuple[str, ...]) -> Iterable[str]:
        """See `Node`."""
        if not isinstance(value, dict):
            yield from super().faults(value, path)
            return
        for key, item in value.items():
            here = (*path, f"f:{key}")
            schema = self._schema.properties.get(key)
            if schema is None and self._schema.preserve_unknown:
                continue
            if schema is None:
                yield f"{printed(here)}: field not declared in schema"
            else:
                yield from node_of(schema).faults(item, here)


class Map(_Parent):
    """Any keys, all with values of one kind; of an object without a schema, the values are atomic."""

    __slots__ = ("_schema", "_values")

    def __init__(self, schema: Schema) -> None:
        self._schema = schema.values
        self._values: Node | None = None

    def child(self, key: str) -> Node:
        """See `_Parent`."""
        if self._values is None:
            self._values = _LEAF if self._schema is None else node_of(self._schema)
        return self._values

    def added(self, value: Any) -> FieldSet:
        """See `Node`."""
        if not value:
            return LEAF
        node = self.child("")
        out: FieldSet = {SELF: LEAF}
        for key in sorted(value):
            out[f"f:{key}"] = node.added(value[key])
        return out

    def diff(self, old: Any, new: Any) -> Difference:
        """See `Node`."""
        old, new = old or EMPTY, new or EMPTY
        if not old and not new:
            return LEAF, None
        changed: FieldSet = {}
        removed: FieldSet = {}
        for key in sorted(new):
            value = new[key]
            had = old.get(key, _ABSENT)
            if had is _ABSENT:
                changed[f"f:{key}"] = self.child(key).added(value)
            elif had != value:
                _put(f"f:{key}", self.child(key).diff(had, value), changed, removed)
        for key in old.keys() - new.keys():
            removed[f"f:{key}"] = self.child(key).added(old[key])
        return changed or None, removed or None


class Deduced(Map):
    """What has no schema: maps are granular, lists atomic, as the value shows."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(Schema("object"))

    def child(self, key: str) -> Node:
        """See `_Parent`."""
        return self

    def added(self, value: Any) -> FieldSet:
        """See `Node`."""
        return super().added(value) if isinstance(value, dict) else LEAF

    def diff(self, old: Any, new: Any) -> Difference:
        """See `Node`."""
        return super().diff(old, new) if isinstance(old, dict) and isinstance(new, dict) else (LEAF, None)

    def owned(self, value: Any) -> FieldSet | None:
        """See `Node`."""
        return super().owned(value) if isinstance(value, dict) else None

    def merged(self, live: Any, config: Any) -> Any:
        """See `Node`."""
        return super().merged(live, config) if isinstance(live, dict) and isinstance(config, dict) else config

    def without(self, value: Any, fields: FieldSet) -> Any:
        """See `Node`."""
        return (
            super().without(value, fields) if isinstance(value, dict) else Node.without(self, value, fields)
        )

    def faults(self, value: Any, path: tuple[str, ...]) -> Iterable[str]:
        """See `Node`."""
        return ()


class _Associative(Node):
    """A list whose items are known by a step, not by their place."""

    __slots__ = ()

    def step_of(self, item: Any) -> str:
        """Return the item's step."""
        raise NotImplementedError

    def items(self) -> Node:
        """Return the node of an item."""
        raise NotImplementedError

    def added(self, value: Any) -> FieldSet:
        """See `Node`."""
        if not value:
            return LEAF
        items, node = self._index(value), self.items()
        out: FieldSet = {SELF: LEAF}
        for step in in_order(items):
            found = items[step]
            out[step] = node.added(found[0]) if len(found) == 1 else LEAF
        return out

    def diff(self, old: Any, new: Any) -> Difference:
        """See `Node`. Items that share a step are owned together, as if they were atomic."""
        if not old and not new:
            return LEAF, None
        before, after, node = self._index(old or ()), self._index(new or ()), self.items()
        changed: FieldSet = {}
        removed: FieldSet = {}
        for step in in_order(after):
            found, had = after[step], before.get(step)
            if had == found:
                continue
            if len(found) > 1:
                if had is not None and len(had) == 1:
                    removed[step] = node.added(had[0])
                changed[step] = LEAF
            elif had is None or len(had) > 1:
                changed[step] = node.added(found[0])
            else:
                _put(step, node.diff(had[0], found[0]), changed, removed)
        for step in before.keys() - after.keys():
            removed[step] = node.added(before[step][0]) if len(before[step]) == 1 else LEAF
        return changed or None, removed or None

    def _index(self, value: Iterable[Any]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for item in value:
            step = self.step_of(item)
            had = found.get(step)
            if had is None:
                found[step] = [item]
            else:
                had.append(item)
        return found

    def owned(self, value: Any) -> FieldSet | None:
        """See `Node`."""
        items, node = self._index(value or ()), self.items()
        out: FieldSet = {}
        for step in in_order(items):
            below = node.owned(items[step][0]) if len(items[step]) == 1 else None
            out[step] = {SELF: LEAF, **below} if below else LEAF
        return out

    def merged(self, live: Any, config: Any) -> Any:
        """See `Node`. Items keep the order of `config`; those that it lacks stay near where they were."""
        if not live or not config:
            return live or config
        said = {self.step_of(item): item for item in config}
        counts = {step: len(items) for step, items in self._index(live).items()}
        had = {self.step_of(item): item for item in live}
        node = self.items()

        def both(step: str) -> Any:
            lone = counts.get(step) == 1
            return node.merged(had[step], said[step]) if lone else said[step]

        mine = [(self.step_of(item), item) for item in live]
        wanted = list(said)
        shared = iter([step for step in wanted if step in had])
        next_shared = next(shared, None)
        out: list[Any] = []
        done: set[str] = set()
        left, right = 0, 0
        while left < len(mine) or right < len(wanted):
            if left < len(mine):
                step, item = mine[left]
                if step not in said:
                    out.append(item)
                    left += 1
                    continue
                if right < len(wanted) and step != wanted[right] and next_shared not in (None, step):
                    left += 1  # its turn has come, or comes, elsewhere
                    continue
                if step in done or (right < len(wanted) and step == wanted[right]):
                    left += 1
            if right < len(wanted):
                step = wanted[right]
                out.append(both(step) if step in had else said[step])
                done.add(step)
                right += 1
                if step == next_shared:
                    next_shared = next(shared, None)
        return out

    def without(self, value: Any, fields: FieldSet) -> Any:
        """See `Node`."""
        if not isinstance(value, list) or not value:
            return None
        out = []
        for item in value:
            below = fields.get(self.step_of(item))
            if below is None:
                out.append(item)
            elif not is_member(below):
                out.append(self.items().without(item, below))
        return out or None

    def named(self, fields: FieldSet) -> FieldSet:
        """See `Node`."""
        node = self.items()
        return {step: node.named(below) if step != SELF else below for step, below in fields.items()}

    def faults(self, value: Any, path: tuple[str, ...]) -> Iterable[str]:
        """See `Node`."""
        if value is None:
            return
        if not isinstance(value, list):
            yield f"{printed(path)}: expected list, got {_shown(value)}"
            return
        seen: set[str] = set()
        for index, item in enumerate(value):
            problem = self._problem(item)
            if problem:
                yield f"{printed(path)}: element {index}: {problem}"
                return
            step = self.step_of(item)
            if step in seen:
                yield f"{printed(path)}: duplicate entries for key {printed((step,))}"
            seen.add(step)
            yield from self.items().faults(item, (*path, step))

    def _problem(self, item: Any) -> str:
        raise NotImplementedError


class ValueSet(_Associative):
    """A list of scalars, none twice."""

    __slots__ = ("_items",)

    def __init__(self, schema: Schema) -> None:
        self._items = Leaf(schema.items or Schema("any"))

    def step_of(self, item: Any) -> str:
        """See `_Associative`."""
        if isinstance(item, (dict, list)):
            return "v:null"
        make = value_element.__wrapped__ if type(item) is str and len(item) > SHORT else value_element
        return make(item)

    def items(self) -> Node:
        """See `_Associative`."""
        return self._items

    def _problem(self, item: Any) -> str:
        if isinstance(item, dict):
            return "associative list without keys has an element that's a map type"
        if isinstance(item, list):
            return "not supported: associative list with lists as elements"
        return "associative list without keys has an element that's an explicit null" if item is None else ""


class KeyedList(_Associative):
    """A list of structs, known by some of their fields."""

    __slots__ = ("_defaults", "_keys", "_names", "_node", "_schema")

    def __init__(self, schema: Schema, items: Schema) -> None:
        self._keys = schema.list_map_keys
        self._names = tuple(sorted(schema.list_map_keys))
        self._schema = items
        self._defaults = key_defaults(items, self._names)
        self._node: Node | None = None

    def step_of(self, item: Any) -> str:
        """See `_Associative`."""
        names = self._names
        if len(names) == 1:
            value = item.get(names[0], self._defaults[0])
            if type(value) is str and len(value) <= SHORT:
                return key_element(names, value)
            values = [value]
        else:
            values = [item.get(n, d) for n, d in zip(names, self._defaults, strict=True)]
        is_long = any(type(value) is str and len(value) > SHORT for value in values)
        return (key_element.__wrapped__ if is_long else key_element)(names, *values)

    def items(self) -> Node:
        """See `_Associative`."""
        if self._node is None:
            self._node = node_of(self._schema)
        return self._node

    def _problem(self, item: Any) -> str:
        if item is None:
            return "associative list with keys may not have a null element"
        if not isinstance(item, dict):
            return "associative list with keys may not have non-map elements"
        values = [item.get(n, d) for n, d in zip(self._names, self._defaults, strict=True)]
        if all(value is None for value in values):
            names = " ".join(f'"{key}"' for key in self._keys)
            return (
                f"associative list with keys has an element that omits all key fields [{names}] (and doesn't have "
                "default values for any key fields)"
            )
        return "" if not any(isinstance(v, (dict, list)) for v in values) else "a key field is not a scalar"


def _put(step: str, found: Difference, changed: FieldSet, removed: FieldSet) -> None:
    if found[0] is not None:
        changed[step] = found[0]
    if found[1] is not None:
        removed[step] = found[1]


def _shown(value: object) -> str:
    names: dict[type, str] = {dict: "map[string]interface {}", list: "[]interface {}"}
    text = names.get(type(value)) or orjson.dumps(value).decode()[:SHORT]
    return f"&value.valueUnstructured{{Value:{text}}}"


_LEAF = Node()
