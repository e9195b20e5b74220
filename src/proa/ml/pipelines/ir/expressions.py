"""Conditions of tasks and selectors of values: both are CEL, with `parseJson` added, over names that the IR gives.

A condition sees a task's inputs (`inputs.parameter_values['x']`, `inputs.artifacts['m'].artifacts[0].metadata['k']`);
a selector sees one value (`string_value`, which is its JSON whatever it is, `struct_value`, ...).
Source: backend/src/v2/expression/expression.go.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from proa.objects.cel.environment import Environment
    from proa.objects.cel.syntax import Node

MAX_LENGTH = 16 * 1024
_INPUT_FIELDS = frozenset({"parameter_values", "parameters", "artifacts"})


class ExpressionError(ValueError):
    """An expression cannot be read, or comes to no value of the kind that it must."""


def check_condition(text: str) -> frozenset[str]:
    """Return the names of the input parameters that a condition looks at; raise ExpressionError."""
    from proa.objects.cel.parser import parse

    _compile(text, _condition_environment(), "bool")
    names = set()
    for node in _walk(parse(text)):
        field = _input_field(node)
        if field is not None and field not in _INPUT_FIELDS:
            raise ExpressionError(f"inputs has no field {field}; it has {', '.join(sorted(_INPUT_FIELDS))}")
        name = _indexed_name(node, "parameter_values")
        if name is not None:
            names.add(name)
    return frozenset(names)


def check_selector(text: str) -> None:
    """Raise ExpressionError for what selects nothing from a value."""
    _compile(text, _selector_environment())


def evaluate_condition(
    text: str,
    parameters: Mapping[str, Any],
    artifacts: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> bool:
    """Say whether a condition holds; `artifacts` are RuntimeArtifacts by input (name, uri, type, metadata)."""
    values = {name: _as_number(value) for name, value in parameters.items()}
    lists = {name: {"artifacts": [dict(a) for a in found]} for name, found in (artifacts or {}).items()}
    inputs = {"parameter_values": values, "parameters": values, "artifacts": lists}
    result = _evaluate(text, _condition_environment(), {"inputs": inputs, "outputs": {}})
    if not isinstance(result, bool):
        raise ExpressionError(f"the condition {text} is no bool")
    return result


def select(text: str, value: Any) -> Any:
    """Return what a selector picks from a value."""
    return _evaluate(text, _selector_environment(), _fields_of(value))


def _fields_of(value: Any) -> dict[str, Any]:
    kinds = ((bool, "bool_value"), (int, "number_value"), (float, "number_value"), (dict, "struct_value"))
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    kind = next((name for cls, name in kinds if isinstance(value, cls)), "list_value")
    return {"string_value": text} if isinstance(value, str) else {"string_value": text, kind: value}


def _as_number(value: Any) -> Any:
    """Return integers as the doubles that protobuf's values hold, so that they divide as upstream's."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return float(value)
    if isinstance(value, list | tuple):
        return [_as_number(item) for item in value]
    return {key: _as_number(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _compile(text: str, environment: Environment, returns: str = "") -> Any:
    from proa.objects.cel.errors import CelError
    from proa.objects.cel.program import compile_expression
    from proa.objects.cel.types import BOOL

    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters")
    try:
        return compile_expression(text, environment, returns=BOOL if returns else None)
    except CelError as error:
        raise ExpressionError(str(error)) from None


def _evaluate(text: str, environment: Environment, variables: Mapping[str, Any]) -> Any:
    from proa.objects.cel.errors import CelError

    try:
        return _compile(text, environment).evaluate(variables)
    except CelError as error:
        raise ExpressionError(f"{text}: {error}") from None


@functools.cache
def _condition_environment() -> Environment:
    from proa.objects.cel import types as t
    from proa.objects.cel.environment import Environment

    part = t.map_of(t.STRING, t.map_of(t.STRING, t.DYN))
    return Environment({"inputs": part, "outputs": part}, _functions())


@functools.cache
def _selector_environment() -> Environment:
    from proa.objects.cel import types as t
    from proa.objects.cel.environment import Environment

    values = {"string_value": t.STRING, "number_value": t.DOUBLE, "bool_value": t.BOOL, "null_value": t.DYN}
    return Environment(
        {**values, "struct_value": t.map_of(t.STRING, t.DYN), "list_value": t.list_of(t.DYN)}, _functions()
    )


@functools.cache
def _functions() -> Any:
    from proa.objects.cel.functions import overload
    from proa.objects.cel.library import standard, times

    return {**standard.FUNCTIONS, **times.FUNCTIONS, "parseJson": (overload("(string) -> dyn", _parse_json),)}


def _parse_json(text: str) -> Any:
    from proa.objects.cel.errors import CelRuntimeError

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CelRuntimeError(f"failed to unmarshal JSON: {error}") from None


def _walk(node: Node) -> Iterator[Node]:
    waiting: list[Any] = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list | tuple):
            waiting += one
        elif is_dataclass(one) and hasattr(one, "position"):
            yield one  # type: ignore[misc]
            waiting += [getattr(one, field.name) for field in fields(one)]


def _input_field(node: Node) -> str | None:
    """Return F of `inputs.F`."""
    from proa.objects.cel.syntax import Name, Select

    if isinstance(node, Select) and isinstance(node.operand, Name) and node.operand.name == "inputs":
        return node.field
    return None


def _indexed_name(node: Node, field: str) -> str | None:
    """Return N of `inputs.field['N']`."""
    from proa.objects.cel.syntax import Call, Literal

    if not isinstance(node, Call) or node.function != "_[_]" or len(node.arguments) != 2:
        return None
    container, key = node.arguments
    if _input_field(container) != field or not isinstance(key, Literal) or not isinstance(key.value, str):
        return None
    return key.value
