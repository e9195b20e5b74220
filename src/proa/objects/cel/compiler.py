"""Turn a checked tree into nested Python functions that run it.

Each function takes the frame, a list: the budget, the variables, then the values of macro variables by slot.
What a straight line costs is added up here and charged once, before it runs; a loop charges its body each turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proa.objects.cel import loops, operators
from proa.objects.cel.checker import Checker
from proa.objects.cel.conversion import converter
from proa.objects.cel.environment import TYPE_NAMES, Environment
from proa.objects.cel.errors import CelRuntimeError, CostExceeded
from proa.objects.cel.functions import Overload
from proa.objects.cel.selection import has_field, optional_field, select_field
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
from proa.objects.cel.types import ERROR, Type
from proa.objects.cel.values import MISSING, NONE, Optional, Struct, find_key, no_overload

Frame = list[Any]
Run = Callable[[Frame], Any]
FIRST_SLOT = 2
_LIST_COST, _MAP_COST, _STRUCT_COST = 10, 30, 40


class Compiler:
    """Compiles one expression; `slots` is then the length of its frames."""

    def __init__(self, environment: Environment, checker: Checker) -> None:
        self._environment = environment
        self._resolve = checker.resolve
        self._scopes: list[dict[str, int]] = []
        self._cost = 0
        self.slots = FIRST_SLOT
        self._visits: dict[type, Callable[[Any], Run]] = {
            Literal: self._literal, Name: self._name, Select: self._select, Call: self._call, Logic: self._logic,
            ListLiteral: self._list, MapLiteral: self._map, StructLiteral: self._struct,
            Comprehension: self._comprehension, OptionalMap: self._optional_map, Binding: self._binding,
        }  # fmt: skip

    def compile(self, node: Node) -> Run:
        """Return what runs the whole expression, and charges for its straight line."""
        run, cost = self._measured(node)

        def whole(frame: Frame) -> Any:
            frame[0].charge(cost)
            return run(frame)

        return whole

    def _measured(self, node: Node) -> tuple[Run, int]:
        before, self._cost = self._cost, 0
        run = self._visit(node)
        cost, self._cost = self._cost, before
        return run, max(cost, 1)

    def _visit(self, node: Node) -> Run:
        return self._visits[type(node)](node)

    # --- names

    def _literal(self, node: Literal) -> Run:
        value = node.value
        return lambda frame: value

    def _name(self, node: Name) -> Run:
        self._cost += 1
        name = node.name
        for scope in reversed(self._scopes):
            if name in scope:
                slot = scope[name]
                return lambda frame: frame[slot]
        return self._variable(name)

    def _variable(self, name: str) -> Run:
        if name not in self._environment.variables:
            constant = TYPE_NAMES[name][1]
            return lambda frame: constant
        convert = converter(self._environment.variables[name])

        def variable(frame: Frame) -> Any:
            value = frame[1].get(name, MISSING)
            if value is MISSING:
                raise CelRuntimeError(f"no such attribute(s): {name}")
            return value if convert is None else convert(value, frame[0])

        return variable

    def _select(self, node: Select) -> Run:
        self._cost += 1
        if node.variable:
            return self._variable(node.variable)
        operand = self._visit(node.operand)
        kind = self._resolve(node.operand)
        field = node.field
        key = kind.fields.source_name(field) if kind.fields is not None else field
        if node.test:
            return lambda frame: has_field(operand(frame), key, frame[0])
        convert = converter(_field_type(kind, field))
        if node.optional:
            return lambda frame: optional_field(operand(frame), key, convert, frame[0])

        def select(frame: Frame) -> Any:
            value = operand(frame)
            if type(value) is dict:
                found = value.get(key, MISSING)
                if found is not MISSING:
                    return found if convert is None else convert(found, frame[0])
            return select_field(value, key, field, convert, frame[0])

        return select

    # --- calls

    def _logic(self, node: Logic) -> Run:
        self._cost += len(node.positions)
        return _logic([self._visit(operand) for operand in node.operands], node.function == "_||_")

    def _call(self, node: Call) -> Run:
        self._cost += 1
        arguments = [self._visit(a) for a in ([node.target] if node.target else [])]
        arguments += [self._visit(a) for a in node.arguments]
        if node.function == "_?_:_":
            return _conditional(*arguments)
        if node.function == "_[_]":
            kind = self._resolve(node.arguments[0])
            return _indexed(arguments[0], arguments[1], kind)
        if node.function in ("_==_", "_!=_", "_+_"):
            kind = self._resolve(node.arguments[0])
            if kind.list_type in ("set", "map"):
                return _on_unordered(node.function, kind, arguments[0], arguments[1])
        if node.function in ("or", "orValue") and node.target is not None:
            return _alternative(arguments[0], arguments[1], node.function == "orValue")
        if len(node.overloads) == 1 and not any(node.overloads[0].takes):
            return _direct(node.overloads[0], arguments)
        member = node.target is not None
        overloads = tuple(
            o
            for o in self._environment.functions[node.function]
            if o.member is member and len(o.parameters) == len(arguments)
        )
        return _dispatched(overloads, arguments)

    # --- literals

    def _list(self, node: ListLiteral) -> Run:
        self._cost += _LIST_COST + len(node.items)
        items = [self._visit(item) for item in node.items]
        if not node.optional:
            return lambda frame: [item(frame) for item in items]
        optional = node.optional

        def make(frame: Frame) -> Any:
            made = []
            for at, item in enumerate(items):
                value = item(frame)
                if at not in optional:
                    made.append(value)
                elif _optional(value).present:
                    made.append(value.value)
            return made

        return make

    def _map(self, node: MapLiteral) -> Run:
        self._cost += _MAP_COST + len(node.keys)
        keys = [self._visit(key) for key in node.keys]
        values = [self._visit(value) for value in node.values]
        optional = node.optional

        def make(frame: Frame) -> Any:
            made: dict[Any, Any] = {}
            for at, key in enumerate(keys):
                name, value = key(frame), values[at](frame)
                if at in optional:
                    if not _optional(value).present:
                        continue
                    value = value.value
                if find_key(made, name, frame[0]) is not MISSING:
                    raise CelRuntimeError(f"insert failed: key {operators.shown(name)} already exists")
                made[name] = value
            return made

        return make

    def _struct(self, node: StructLiteral) -> Run:
        self._cost += _STRUCT_COST + len(node.names)
        kind = self._environment.structs(node.name)
        assert kind is not None
        name, optional = kind.name, node.optional
        fields = [
            (at, kind.fields.source_name(field) if kind.fields else field, self._visit(value))
            for at, (field, value) in enumerate(zip(node.names, node.values, strict=True))
        ]

        def make(frame: Frame) -> Any:
            made = {}
            for at, field, run in fields:
                value = run(frame)
                if at in optional:
                    if not _optional(value).present:
                        continue
                    value = value.value
                made[field] = value
            return Struct(name, made)

        return make

    # --- macros

    def _comprehension(self, node: Comprehension) -> Run:
        operand = self._visit(node.operand)
        self._cost += 1
        scope = {}
        for variable in node.variables:
            scope[variable] = self.slots
            self.slots += 1
        self._scopes.append(scope)
        condition = None
        body, cost = self._measured(node.body)
        if node.condition is not None:
            condition, extra = self._measured(node.condition)
            cost += extra
        self._scopes.pop()
        return loops.make(node.macro, operand, tuple(scope.values()), condition, body, cost + 1)

    def _binding(self, node: Binding) -> Run:
        value = self._visit(node.value)
        slot, self.slots = self.slots, self.slots + 1
        self._scopes.append({node.variable: slot})
        body = self._visit(node.body)
        self._scopes.pop()

        def run(frame: Frame) -> Any:
            frame[slot] = value(frame)
            return body(frame)

        return run

    def _optional_map(self, node: OptionalMap) -> Run:
        operand = self._visit(node.operand)
        slot, self.slots = self.slots, self.slots + 1
        self._scopes.append({node.variable: slot})
        body = self._visit(node.body)
        self._scopes.pop()
        flat = node.flat

        def run(frame: Frame) -> Any:
            value = _optional(operand(frame))
            if not value.present:
                return NONE
            frame[slot] = value.value
            made = body(frame)
            return _optional(made) if flat else Optional(made, True)

        return run


def _field_type(kind: Type, field: str) -> Type:
    if kind.name == "optional_type" and kind.parameters:
        kind = kind.parameters[0]
    if kind.kind == "map":
        return kind.parameters[1]
    if kind.kind == "object" and kind.fields is not None:
        return kind.fields.find(field) or ERROR
    return ERROR


def _optional(value: Any) -> Optional:
    if type(value) is Optional:
        return value
    raise no_overload()


def _logic(operands: Sequence[Run], decided_by: bool) -> Run:
    """Where one operand decides, errors of the others do not matter, whatever the order."""

    def run(frame: Frame) -> Any:
        error: CelRuntimeError | None = None
        for operand in operands:
            try:
                value = operand(frame)
            except CostExceeded:
                raise
            except CelRuntimeError as raised:
                error = error or raised
                continue
            if value is decided_by:
                return decided_by
            if type(value) is not bool:
                error = error or no_overload()
        if error is not None:
            raise error
        return not decided_by

    return run


def _conditional(condition: Run, first: Run, second: Run) -> Run:
    def run(frame: Frame) -> Any:
        value = condition(frame)
        if value is True:
            return first(frame)
        if value is False:
            return second(frame)
        raise no_overload()

    return run


def _indexed(container: Run, key: Run, kind: Type) -> Run:
    convert = None
    if kind.kind in ("list", "map"):
        convert = converter(kind.parameters[-1])
    if convert is None:
        return lambda frame: operators.index(container(frame), key(frame), frame[0])
    found = convert
    return lambda frame: found(operators.index(container(frame), key(frame), frame[0]), frame[0])


def _on_unordered(function: str, kind: Type, one: Run, other: Run) -> Run:
    if function == "_+_":
        join = operators.add_as(kind.list_type, kind.list_map_keys)
        return lambda frame: join(one(frame), other(frame), frame[0])
    test = operators.equal_as(kind.list_type, kind.list_map_keys)
    wanted = function == "_==_"
    return lambda frame: test(one(frame), other(frame), frame[0]) is wanted


def _alternative(one: Run, other: Run, value: bool) -> Run:
    """Run the alternative only where it is needed."""

    def run(frame: Frame) -> Any:
        found = _optional(one(frame))
        if found.present:
            return found.value if value else found
        return other(frame) if value else _optional(other(frame))

    return run


def _direct(overload: Overload, arguments: Sequence[Run]) -> Run:
    """Call a function that looks at its arguments itself."""
    implementation, charges = overload.implementation, overload.charges
    if len(arguments) == 2:
        one, other = arguments
        if charges:
            return lambda frame: implementation(one(frame), other(frame), frame[0])
        return lambda frame: implementation(one(frame), other(frame))
    if charges:
        return lambda frame: implementation(*[a(frame) for a in arguments], frame[0])
    return lambda frame: implementation(*[a(frame) for a in arguments])


def _dispatched(overloads: Sequence[Overload], arguments: Sequence[Run]) -> Run:
    """Call the first overload that fits what the arguments turn out to be."""

    def run(frame: Frame) -> Any:
        values = [argument(frame) for argument in arguments]
        for overload in overloads:
            if overload.fits(values):
                if overload.charges:
                    return overload.implementation(*values, frame[0])
                return overload.implementation(*values)
        raise no_overload()

    return run
