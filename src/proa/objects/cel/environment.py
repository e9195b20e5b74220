"""What an expression may name: variables, functions, types, and messages that it may make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from proa.objects.cel import types as t
from proa.objects.cel.functions import Functions
from proa.objects.cel.types import Type
from proa.objects.cel.values import TypeValue

TYPE_NAMES: Mapping[str, tuple[Type, TypeValue]] = {
    name: (t.type_of(kind), TypeValue(name))
    for name, kind in {
        "bool": t.BOOL, "int": t.INT, "uint": t.UINT, "double": t.DOUBLE, "string": t.STRING, "bytes": t.BYTES,
        "null_type": t.NULL, "list": t.list_of(t.DYN), "map": t.map_of(t.DYN, t.DYN), "type": t.TYPE,
        "google.protobuf.Timestamp": t.TIMESTAMP, "google.protobuf.Duration": t.DURATION,
        "optional_type": t.optional_of(t.DYN), "kubernetes.URL": t.URL, "kubernetes.Quantity": t.QUANTITY,
        "kubernetes.Semver": t.SEMVER, "net.IP": t.IP, "net.CIDR": t.CIDR, "kubernetes.NamedFormat": t.FORMAT,
    }.items()
}  # fmt: skip


@cache
def kubernetes_functions() -> Functions:
    """Return what every expression in Kubernetes 1.36 may call (apiserver/pkg/cel/environment/base.go)."""
    from proa.objects.cel.library import LIBRARIES

    merged: dict[str, tuple[object, ...]] = {}
    for functions in LIBRARIES:
        for name, overloads in functions.items():
            merged[name] = merged.get(name, ()) + overloads
    return merged  # type: ignore[return-value]


def no_structs(name: str) -> Type | None:
    """Offer no messages."""
    return None


@dataclass(frozen=True)
class Environment:
    """The names in an expression's reach."""

    variables: Mapping[str, Type]
    functions: Functions = field(default_factory=kubernetes_functions)
    structs: Callable[[str], Type | None] = no_structs
    has_bindings: bool = False
    """Whether there is `cel.bind`."""
