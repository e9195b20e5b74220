"""Find the type of every part of an expression, and refuse what cannot fit, in cel-go's words.

Follows cel-go checker/checker.go. Where a type is not known it is `dyn`, which fits everything; what it turns out
to be is looked at when the expression runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proa.objects.cel import types as t
from proa.objects.cel.environment import TYPE_NAMES, Environment
from proa.objects.cel.errors import CelCompileError, CelRuntimeError, Issue
from proa.objects.cel.functions import Overload
from proa.objects.cel.inference import Inference
from proa.objects.cel.syntax import (
    Binding,
    Call,
    Comprehension,
    ListLiteral,
    Literal,
    Logic,
    MapLiteral,
    Name,
    Node,
    OptionalMap,
    Select,
    StructLiteral,
)
from proa.objects.cel.types import Type
from proa.objects.cel.values import Uint

_LITERALS: dict[type, Type] = {
    bool: t.BOOL, int: t.INT, float: t.DOUBLE, str: t.STRING, bytes: t.BYTES, type(None): t.NULL, Uint: t.UINT,
}  # fmt: skip


class Checker:
    """Checks one expression; `resolve` then gives the type that a node was found to have."""

    def __init__(self, environment: Environment, source: str) -> None:
        self._environment = environment
        self._source = source
        self._inference = Inference()
        self._scopes: list[dict[str, Type]] = []
        self._issues: list[Issue] = []
        self._visits: dict[type, Callable[[Any], Type]] = {
            Literal: self._literal, Name: self._name, Select: self._select, Call: self._call, Logic: self._logic,
            ListLiteral: self._list, MapLiteral: self._map, StructLiteral: self._struct,
            Comprehension: self._comprehension, OptionalMap: self._optional_map, Binding: self._binding,
        }  # fmt: skip

    def check(self, node: Node) -> Type:
        """Return the expression's type; raise CelCompileError with everything that is wrong."""
        self._visit(node)
        if self._issues:
            raise CelCompileError(self._source, self._issues)
        return self.resolve(node)

    def resolve(self, node: Node) -> Type:
        """Return the type of a node, type parameters replaced with what they were found to be."""
        assert node.type is not None
        return self._inference.substitute(node.type)

    def _visit(self, node: Node) -> Type:
        node.type = self._visits[type(node)](node)
        return node.type

    def _report(self, position: int, message: str) -> Type:
        self._issues.append(Issue(position, message))
        return t.ERROR

    # --- names

    def _literal(self, node: Literal) -> Type:
        return _LITERALS[type(node.value)]

    def _name(self, node: Name) -> Type:
        return self._find_name(node.name) or self._report(
            node.position, f"undeclared reference to '{node.name}' (in container '')"
        )

    def _find_name(self, name: str) -> Type | None:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        if name in self._environment.variables:
            return self._environment.variables[name]
        return TYPE_NAMES[name][0] if name in TYPE_NAMES else None

    def _is_local(self, name: str) -> bool:
        return any(name in scope for scope in self._scopes)

    def _select(self, node: Select) -> Type:
        qualified = "" if node.test or node.optional else self._qualified(node)
        if qualified and not self._is_local(qualified.partition(".")[0]):
            found = self._find_name(qualified)
            if found is not None:
                node.variable = qualified
                return found
        operand = self._inference.substitute(self._visit(node.operand))
        found = self._field_of(operand, node)
        if node.test:
            return t.BOOL
        return found

    def _field_of(self, operand: Type, node: Select) -> Type:
        chained = t.is_optional(operand)
        if chained:
            operand = operand.parameters[0]
        found = self._plain_field(operand, node)
        if (chained or node.optional) and found is not t.ERROR and not t.is_optional(found):
            return t.optional_of(found)
        return found

    def _plain_field(self, operand: Type, node: Select) -> Type:
        if operand.kind == "map":
            return operand.parameters[1]
        if operand.kind == "object":
            assert operand.fields is not None
            found = operand.fields.find(node.field)
            return found or self._report(node.position, f"undefined field '{node.field}'")
        if operand.kind == "param":
            self._inference.assign(operand, t.DYN)
            return t.DYN
        if operand.kind in ("dyn", "error"):
            return t.DYN
        return self._report(node.position, f"type '{operand}' does not support field selection")

    def _qualified(self, node: Node) -> str:
        parts: list[str] = []
        while type(node) is Select and not node.optional and not node.test:
            parts.append(node.field)
            node = node.operand
        return ".".join([node.name, *reversed(parts)]) if type(node) is Name else ""

    # --- calls

    def _logic(self, node: Logic) -> Type:
        for at, operand in enumerate(node.operands):
            kind = self._visit(operand)
            if kind is not t.BOOL and not self._inference.is_assignable(kind, t.BOOL):
                kinds = (kind, t.BOOL) if at == 0 else (t.BOOL, kind)
                shown = f"({', '.join(str(self._inference.substitute(k)) for k in kinds)})"
                message = f"found no matching overload for '{node.function}' applied to '{shown}'"
                self._report(node.positions[max(at - 1, 0)], message)
        return t.BOOL

    def _call(self, node: Call) -> Type:
        target = node.target
        functions = self._environment.functions
        if target is not None:
            qualified = self._qualified(target)
            if qualified and f"{qualified}.{node.function}" in functions:
                node.function, node.target = f"{qualified}.{node.function}", None
        arguments = [self._visit(a) for a in ([node.target] if node.target else [])]
        arguments += [self._visit(a) for a in node.arguments]
        overloads = functions.get(node.function)
        if overloads is None:
            return self._report(node.position, f"undeclared reference to '{node.function}' (in container '')")
        result = self._resolve_overload(node, overloads, arguments, node.target is not None)
        self._check_literals(node)
        if node.function == "_+_" and arguments[0].list_type and result == arguments[0]:
            return arguments[0]  # a set and a list are a set
        return result

    def _resolve_overload(
        self, node: Call, overloads: Sequence[Overload], arguments: Sequence[Type], member: bool
    ) -> Type:
        result: Type | None = None
        chosen: list[Overload] = []
        for overload in overloads:
            if overload.member is not member or len(overload.parameters) != len(arguments):
                continue
            *parameters, gives = self._inference.instantiate((*overload.parameters, overload.result))
            if not self._inference.are_assignable(arguments, parameters):
                continue
            chosen.append(overload)
            gives = self._inference.substitute(gives, free_is_dyn=False)
            if result is None:
                result = gives
            elif result != gives:
                result = t.DYN
        if result is None:
            return self._report(node.position, self._no_overload(node, arguments, member))
        node.overloads = tuple(chosen)
        return result

    def _no_overload(self, node: Call, arguments: Sequence[Type], member: bool) -> str:
        shown = [str(self._inference.substitute(a)) for a in arguments]
        listed = ", ".join(shown[1:] if member else shown)
        signature = f"{shown[0]}.({listed})" if member else f"({listed})"
        return f"found no matching overload for '{node.function}' applied to '{signature}'"

    def _check_literals(self, node: Call) -> None:
        """Refuse durations, timestamps and patterns that are wrong whatever the values (cel/validator.go)."""
        if node.function not in ("duration", "timestamp", "matches") or not node.overloads:
            return
        literal = node.arguments[-1]
        if type(literal) is not Literal or type(literal.value) is not str:
            return
        from proa.objects.cel.library.literals import check_literal

        try:
            check_literal(node.function, literal.value)
        except CelRuntimeError:
            self._report(literal.position, f"invalid {node.function} argument")

    # --- literals

    def _list(self, node: ListLiteral) -> Type:
        element: Type | None = None
        for at, item in enumerate(node.items):
            kind = self._visit(item)
            if at in node.optional:
                kind = self._unwrap(kind, item)
            element = self._join(element, kind, item)
        return t.list_of(element if element is not None else self._inference.fresh())

    def _map(self, node: MapLiteral) -> Type:
        key: Type | None = None
        value: Type | None = None
        for at, (key_node, value_node) in enumerate(zip(node.keys, node.values, strict=True)):
            key = self._join(key, self._visit(key_node), key_node)
            kind = self._visit(value_node)
            if at in node.optional:
                kind = self._unwrap(kind, value_node)
            value = self._join(value, kind, value_node)
        if key is None or value is None:
            return t.map_of(self._inference.fresh(), self._inference.fresh())
        return t.map_of(key, value)

    def _unwrap(self, kind: Type, node: Node) -> Type:
        kind = self._inference.substitute(kind)
        if t.is_optional(kind):
            return kind.parameters[0]
        if kind.kind not in ("dyn", "error"):
            expected = t.optional_of(kind)
            self._report(node.position, f"expected type '{expected}' but found '{kind}'")
        return t.DYN

    def _join(self, before: Type | None, kind: Type, node: Node) -> Type:
        if before is None or before is kind:
            return kind
        if self._inference.is_assignable(kind, before):
            return self._inference.most_general(before, kind)
        one, other = self._inference.substitute(before), self._inference.substitute(kind)
        self._report(node.position, f"expected type '{one}' but found '{other}'")
        return t.DYN

    def _struct(self, node: StructLiteral) -> Type:
        kind = self._environment.structs(node.name)
        if kind is None or kind.fields is None:
            for value in node.values:
                self._visit(value)
            name = node.name
            return self._report(node.position, f"undeclared reference to '{name}' (in container '')")
        for at, (name, value) in enumerate(zip(node.names, node.values, strict=True)):
            found = self._visit(value)
            if at in node.optional:
                found = self._unwrap(found, value)
            wanted = kind.fields.find(name)
            if wanted is None:
                self._report(node.positions[at], f"undefined field '{name}'")
            elif not self._inference.is_assignable(found, wanted):
                self._report(
                    node.positions[at],
                    f"expected type of field '{name}' is '{wanted}' but provided type is "
                    f"'{self._inference.substitute(found)}'",
                )
        return kind

    # --- macros

    def _comprehension(self, node: Comprehension) -> Type:
        kinds = self._variables_of(node)
        self._scopes.append(dict(zip(node.variables, kinds, strict=True)))
        if node.condition is not None:
            self._require_bool(node.condition)
        body = self._visit(node.body)
        macro = node.macro
        if macro in ("all", "exists", "exists_one", "filter"):
            self._require_bool(node.body, body)
        self._scopes.pop()
        if macro in ("all", "exists", "exists_one"):
            return t.BOOL
        if macro in ("filter", "sortBy"):
            return t.list_of(kinds[0])
        if macro in ("map", "transformList"):
            return t.list_of(body)
        if macro == "transformMap":
            return t.map_of(kinds[0], body)
        body = self._inference.substitute(body)
        if body.kind in ("map", "dyn", "error"):
            return body
        return self._report(
            node.body.position, self._no_overload_text("cel.@mapInsert", (t.map_of(t.DYN, t.DYN), body))
        )

    def _no_overload_text(self, function: str, kinds: Sequence[Type]) -> str:
        return f"found no matching overload for '{function}' applied to '({', '.join(map(str, kinds))})'"

    def _variables_of(self, node: Comprehension) -> tuple[Type, ...]:
        kind = self._inference.substitute(self._visit(node.operand))
        two = len(node.variables) == 2
        if kind.kind == "list":
            return (t.INT, kind.parameters[0]) if two else (kind.parameters[0],)
        if kind.kind == "map":
            return kind.parameters if two else kind.parameters[:1]
        if kind.kind == "param":
            self._inference.assign(kind, t.DYN)
        elif kind.kind not in ("dyn", "error"):
            self._report(
                node.operand.position,
                f"expression of type '{kind}' cannot be range of a comprehension (must be list, map, or dynamic)",
            )
        return (t.DYN, t.DYN) if two else (t.DYN,)

    def _require_bool(self, node: Node, kind: Type | None = None) -> None:
        kind = kind or self._visit(node)
        if not self._inference.is_assignable(kind, t.BOOL):
            shown = self._inference.substitute(kind)
            self._report(node.position, f"expected type 'bool' but found '{shown}'")

    def _binding(self, node: Binding) -> Type:
        self._scopes.append({node.variable: self._inference.substitute(self._visit(node.value))})
        body = self._visit(node.body)
        self._scopes.pop()
        return body

    def _optional_map(self, node: OptionalMap) -> Type:
        kind = self._inference.substitute(self._visit(node.operand))
        inner = kind.parameters[0] if t.is_optional(kind) else t.DYN
        if not t.is_optional(kind) and kind.kind not in ("dyn", "error", "param"):
            self._report(node.position, f"found no matching overload for 'hasValue' applied to '{kind}.()'")
        self._scopes.append({node.variable: inner})
        body = self._inference.substitute(self._visit(node.body))
        self._scopes.pop()
        if not node.flat:
            return t.optional_of(body)
        if t.is_optional(body) or body.kind in ("dyn", "error"):
            return body
        return self._report(
            node.position,
            f"found no matching overload for '_?_:_' applied to '(bool, {body}, {t.optional_of(inner)})'",
        )
