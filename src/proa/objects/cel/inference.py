"""Decide whether a type fits where another is wanted, and what type parameters stand for.

Follows cel-go checker/types.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proa.objects.cel import types as t
from proa.objects.cel.types import Type


class Inference:
    """What each type parameter of one expression was found to be."""

    def __init__(self) -> None:
        self._found: dict[str, Type] = {}
        self._count = 0

    def fresh(self) -> Type:
        """Return a type parameter that nothing else uses."""
        self._count += 1
        return t.parameter(f"_var{self._count}")

    def assign(self, parameter: Type, kind: Type) -> None:
        """Say what a type parameter stands for."""
        self._found[parameter.name] = kind

    def instantiate(self, kinds: Sequence[Type]) -> list[Type]:
        """Return the types of one call: the function's parameters replaced with fresh ones."""
        renamed: dict[str, Type] = {}

        def rename(kind: Type) -> Type:
            if kind.kind == "param":
                if kind.name not in renamed:
                    renamed[kind.name] = self.fresh()
                return renamed[kind.name]
            if not kind.parameters:
                return kind
            return replace(kind, parameters=tuple(rename(p) for p in kind.parameters))

        return [rename(kind) for kind in kinds]

    def substitute(self, kind: Type, free_is_dyn: bool = True) -> Type:
        """Return the type with what is known put in; what is not is dyn."""
        if kind.kind == "param":
            if kind.name in self._found:
                return self.substitute(self._found[kind.name], free_is_dyn)
            return t.DYN if free_is_dyn else kind
        if not kind.parameters:
            return kind
        parameters = tuple(self.substitute(p, free_is_dyn) for p in kind.parameters)
        return kind if parameters == kind.parameters else replace(kind, parameters=parameters)

    def are_assignable(self, given: Sequence[Type], wanted: Sequence[Type]) -> bool:
        """Tell whether all fit; what was learnt of parameters is kept only then."""
        kept = dict(self._found)
        if all(self._assignable(one, other) for one, other in zip(given, wanted, strict=True)):
            return True
        self._found = kept
        return False

    def is_assignable(self, given: Type, wanted: Type) -> bool:
        """Tell whether one type fits where the other is wanted."""
        return self.are_assignable((given,), (wanted,))

    def most_general(self, one: Type, other: Type) -> Type:
        """Return the one of two types that fit each other that takes more."""
        return one if self._more_general(one, other) else other

    def _assignable(self, given: Type, wanted: Type) -> bool:
        if wanted.kind == "param":
            valid, bound = self._bind(given, wanted)
            if not valid or bound:
                return valid
        if given.kind == "param":
            return self._bind(wanted, given)[0]
        if given.kind in ("dyn", "error") or wanted.kind in ("dyn", "error"):
            return True
        if given.kind == "null" or wanted.kind == "null":
            other = wanted if given.kind == "null" else given
            return other.kind in ("null", "object", "opaque") or other in (t.TIMESTAMP, t.DURATION)
        if given.kind == "type" and wanted.kind == "type":
            return True
        if given.kind != wanted.kind or given.name != wanted.name:
            return False
        return len(given.parameters) == len(wanted.parameters) and all(
            self._assignable(one, other)
            for one, other in zip(given.parameters, wanted.parameters, strict=True)
        )

    def _bind(self, kind: Type, parameter: Type) -> tuple[bool, bool]:
        """Return whether the parameter may stand for the type, and whether it now does."""
        parameter = self._root(parameter)
        if kind.kind == "param":
            kind = self._root(kind)
        if parameter.kind != "param":
            return self._assignable(kind, parameter), True
        if kind == parameter:
            return True, True
        known = self._found.get(parameter.name)
        if known is not None:
            if known == kind:
                return True, True
            if self._assignable(kind, known):
                if not self._mentions(known, parameter) and not self._mentions(kind, parameter):
                    self._found[parameter.name] = self.most_general(known, kind)
                return True, True
            return False, True
        if self._mentions(kind, parameter):
            return False, False
        self._found[parameter.name] = kind
        return True, True

    def _root(self, kind: Type) -> Type:
        """Follow parameters that stand for other parameters to the last, and remember it for all on the way."""
        passed = []
        while kind.kind == "param":
            known = self._found.get(kind.name)
            if known is None or known.kind != "param":
                break
            passed.append(kind.name)
            kind = known
        for name in passed:
            self._found[name] = kind
        return kind

    def _mentions(self, kind: Type, parameter: Type) -> bool:
        if kind.kind == "param":
            if kind.name == parameter.name:
                return True
            known = self._found.get(kind.name)
            return known is not None and self._mentions(known, parameter)
        return any(self._mentions(p, parameter) for p in kind.parameters)

    def _more_general(self, one: Type, other: Type) -> bool:
        if one.kind in ("dyn", "error", "param"):
            return True
        if other.kind in ("dyn", "error", "param"):
            return False
        if one.kind == "null" or other.kind == "null":
            return other.kind == "null"
        return one.name == other.name and all(
            self._more_general(a, b) for a, b in zip(one.parameters, other.parameters, strict=True)
        )
