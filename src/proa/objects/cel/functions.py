"""What a function of CEL is: overloads, each with the types that it takes and gives, and what runs.

Signatures are text, as messages write them: `string.(int) -> string` is a method, `(list(A)) -> A` a function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from proa.objects.cel import types as t
from proa.objects.cel.types import Type
from proa.objects.cel.values import Duration, Optional, Timestamp, Uint
from proa.objects.quick_dataclass import dataclass

_WORD = re.compile(r"[A-Za-z_.]+")
_NAMES: dict[str, Type] = {
    kind.name: kind
    for kind in (
        t.DYN, t.BOOL, t.INT, t.UINT, t.DOUBLE, t.STRING, t.BYTES, t.TIMESTAMP, t.DURATION, t.URL, t.QUANTITY,
        t.SEMVER, t.IP, t.CIDR, t.FORMAT, t.AUTHORIZER, t.PATH_CHECK, t.GROUP_CHECK, t.RESOURCE_CHECK, t.DECISION,
    )
}  # fmt: skip
_CLASSES: dict[str, type] = {
    "bool": bool, "int": int, "uint": Uint, "double": float, "string": str, "bytes": bytes, "list": list,
    "map": dict, "timestamp": Timestamp, "duration": Duration, "optional_type": Optional,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Overload:
    """One way to call a function. `implementation` gets the budget as its last argument where it `charges`.

    `takes` are the classes of the arguments, None for any; opaque types are told by their TYPE_NAME.
    """

    member: bool
    parameters: tuple[Type, ...]
    result: Type
    implementation: Callable[..., Any]
    charges: bool
    takes: tuple[type | str | None, ...]

    def fits(self, values: Iterable[Any]) -> bool:
        """Tell whether the values are of the classes that it takes."""
        for value, wanted in zip(values, self.takes, strict=True):
            if wanted is None or type(value) is wanted:
                continue
            if type(wanted) is not str or getattr(value, "TYPE_NAME", "") != wanted:
                return False
        return True


Functions = Mapping[str, tuple[Overload, ...]]


def overload(signature: str, implementation: Callable[..., Any], *, charges: bool = False) -> Overload:
    """Return the overload of a signature."""
    head, _, result = signature.partition(" -> ")
    target, member, rest = head.partition(".(")
    listed = rest[:-1] if member else head[1:-1]
    names = ([target] if member else []) + _split(listed)
    parameters = tuple(read_type(name) for name in names)
    return Overload(
        bool(member),
        parameters,
        read_type(result),
        implementation,
        charges,
        tuple(map(_class_of, parameters)),
    )


def read_type(text: str) -> Type:
    """Return the type that a signature writes so."""
    match = _WORD.match(text)
    assert match is not None, text
    name = match[0]
    inner = [read_type(part) for part in _split(text[match.end() + 1 : -1])]
    if name == "list":
        return t.list_of(inner[0])
    if name == "map":
        return t.map_of(inner[0], inner[1])
    if name == "optional":
        return t.optional_of(inner[0])
    if name == "type":
        return t.type_of(inner[0])
    return t.parameter(name) if len(name) == 1 else _NAMES[name]


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()] if text else []


def _class_of(kind: Type) -> type | str | None:
    if kind.kind in ("dyn", "param"):
        return None
    return _CLASSES.get(kind.name, kind.name)
