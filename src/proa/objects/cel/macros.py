"""Know CEL's macros: the calls whose arguments are not values but names and expressions to repeat.

Follows cel-go parser/macro.go, ext/comprehensions.go (two variables), cel/library.go (optMap, optFlatMap),
ext/lists.go (sortBy) and ext/bindings.go (cel.bind, where an environment has it).
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.objects.cel.errors import Issue
from proa.objects.cel.syntax import Binding, Comprehension, Name, Node, OptionalMap, Select
from proa.objects.cel.tokens import Malformed

_ONE_VARIABLE = {"all": 2, "exists": 2, "exists_one": 2, "existsOne": 2, "filter": 2, "sortBy": 2}
_TWO_VARIABLES = {"all": 3, "exists": 3, "exists_one": 3, "existsOne": 3}
_TRANSFORMS = ("transformList", "transformMap", "transformMapEntry")


def expand_global(function: str, arguments: Sequence[Node], position: int) -> Node | None:
    """Return the node of `has(e.f)`, None where the call is no macro; raise Malformed."""
    if function != "has" or len(arguments) != 1:
        return None
    select = arguments[0]
    if not isinstance(select, Select) or select.test:
        raise Malformed(Issue(position, "invalid argument to has() macro"))
    return Select(
        select.operand, select.field, select.optional, test=True, position=select.position, depth=select.depth
    )


def expand_member(target: Node, function: str, arguments: Sequence[Node], position: int) -> Node | None:
    """Return the node of `target.macro(...)`, None where the call is no macro; raise Malformed."""
    count = len(arguments)
    if _ONE_VARIABLE.get(function) == count or (function == "map" and count in (2, 3)):
        condition = arguments[1] if count == 3 else None
        return _loop(function, target, arguments[:1], condition, arguments[-1], position)
    if _TWO_VARIABLES.get(function) == count:
        return _loop(function, target, arguments[:2], None, arguments[2], position)
    if function in _TRANSFORMS and count in (3, 4):
        condition = arguments[2] if count == 4 else None
        return _loop(function, target, arguments[:2], condition, arguments[-1], position)
    if function in ("optMap", "optFlatMap") and count == 2:
        variable = _variable(arguments[0], function)
        depth = 1 + max(target.depth, arguments[1].depth)
        flat = function == "optFlatMap"
        return OptionalMap(target, variable, arguments[1], flat, position=position, depth=depth)
    return None


def expand_binding(target: Node, function: str, arguments: Sequence[Node], position: int) -> Node | None:
    """Return the node of `cel.bind(x, value, body)`, None where the call is another; raise Malformed."""
    if not (isinstance(target, Name) and target.name == "cel" and function == "bind" and len(arguments) == 3):
        return None
    variable, value, body = arguments
    if not isinstance(variable, Name):
        message = "cel.bind() variable names must be simple identifiers"
        raise Malformed(Issue(variable.position, message))
    depth = 1 + max(value.depth, body.depth)
    return Binding(variable.name, value, body, position=position, depth=depth)


def _loop(
    macro: str, operand: Node, names: Sequence[Node], condition: Node | None, body: Node, position: int
) -> Node:
    variables = tuple(_variable(name, macro) for name in names)
    if len(set(variables)) != len(variables):
        raise Malformed(Issue(names[1].position, f"duplicate variable name: {variables[1]}"))
    depth = 1 + max(node.depth for node in (operand, body, condition) if node is not None)
    macro = "exists_one" if macro == "existsOne" else macro
    return Comprehension(macro, operand, variables, condition, body, position=position, depth=depth)


def _variable(node: Node, macro: str) -> str:
    if isinstance(node, Name):
        return node.name
    message = (
        f"{macro}() variable name must be a simple identifier"
        if macro.startswith("opt")
        else "argument must be a simple name"
    )
    raise Malformed(Issue(node.position, message))
