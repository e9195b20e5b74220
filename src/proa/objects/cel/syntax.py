"""The tree that an expression is parsed to; the checker notes on each node the type that it found.

Macros (`has`, `all`, `map`...) are nodes of their own rather than loops in disguise, so that they are checked,
charged and run as what they are. `position` is the character that cel-go points at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proa.objects.cel.functions import Overload
    from proa.objects.cel.types import Type


@dataclass(slots=True, kw_only=True)
class Node:
    """What all nodes have. `depth` is that of the tree below; `type` is the checker's."""

    position: int
    depth: int = 1
    type: Type | None = None


@dataclass(slots=True)
class Literal(Node):
    """A constant: its value is of the type that its class tells."""

    value: Any


@dataclass(slots=True)
class Name(Node):
    """A variable, or the first part of a qualified name; a leading dot is dropped."""

    name: str


@dataclass(slots=True)
class Select(Node):
    """`operand.field`, `operand.?field`, or `has(operand.field)`. `variable`: the whole is a variable's name."""

    operand: Node
    field: str
    optional: bool = False
    test: bool = False
    variable: str = ""


@dataclass(slots=True)
class Call(Node):
    """A function or operator, by cel-go's name for it; `overloads` are those that the checker left."""

    function: str
    target: Node | None
    arguments: list[Node]
    overloads: tuple[Overload, ...] = ()


@dataclass(slots=True)
class Logic(Node):
    """`a && b && ...` or `a || b || ...`, flat, so that long chains are not deep."""

    function: str
    operands: list[Node]
    positions: list[int]


@dataclass(slots=True)
class ListLiteral(Node):
    """`[a, ?b]`."""

    items: list[Node]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True)
class MapLiteral(Node):
    """`{a: b, ?c: d}`."""

    keys: list[Node]
    values: list[Node]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True)
class StructLiteral(Node):
    """`Object.spec{replicas: 1}`."""

    name: str
    names: list[str]
    values: list[Node]
    positions: list[int]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True)
class Comprehension(Node):
    """A macro over a list or a map: its variables, an optional condition (or the key), and what it makes."""

    macro: str
    operand: Node
    variables: tuple[str, ...]
    condition: Node | None
    body: Node
    slots: list[int] = field(default_factory=list)


@dataclass(slots=True)
class OptionalMap(Node):
    """`operand.optMap(x, body)` or `optFlatMap`."""

    operand: Node
    variable: str
    body: Node
    flat: bool


@dataclass(slots=True)
class Binding(Node):
    """`cel.bind(x, value, body)`."""

    variable: str
    value: Node
    body: Node
