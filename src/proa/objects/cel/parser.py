"""Parse an expression to a tree, macros included, within bounds of length and depth.

Follows the grammar of the CEL specification (cel-go parser/gen/CEL.g4) and its macros (parser/macro.go,
ext/comprehensions.go); syntax errors are worded as ANTLR words them.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.objects.cel import macros
from proa.objects.cel.errors import CelCompileError, Issue
from proa.objects.cel.escaping import RESERVED
from proa.objects.cel.syntax import (
    Call,
    ListLiteral,
    Literal,
    Logic,
    MapLiteral,
    Name,
    Node,
    Select,
    StructLiteral,
)
from proa.objects.cel.tokens import INT_MAX, Malformed, Token, tokens_of

MAX_CHARACTERS = 8_000
"""Compiling as many takes some 50 ms."""
MAX_DEPTH = 120
_RELATIONS = {"<": "_<_", "<=": "_<=_", ">": "_>_", ">=": "_>=_", "==": "_==_", "!=": "_!=_", "in": "@in"}
_SUMS = {"+": "_+_", "-": "_-_"}
_PRODUCTS = {"*": "_*_", "/": "_/_", "%": "_%_"}
_LEVELS = (_RELATIONS, _SUMS, _PRODUCTS)
_STARTS = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', "
    "NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
_STARTS_OR_END = _STARTS.replace("'(', ", "'(', ')', ")


def parse(source: str, *, has_bindings: bool = False) -> Node:
    """Return the tree of an expression, in which `cel.bind` may be a macro; raise CelCompileError."""
    if len(source) > MAX_CHARACTERS:
        message = f"expression code point size exceeds limit: size: {len(source)}, limit {MAX_CHARACTERS}"
        raise CelCompileError("", [Issue(0, message)])
    try:
        return _Parser(tokens_of(source), has_bindings).parse()
    except Malformed as malformed:
        raise CelCompileError(source, [malformed.issue]) from None


class _Parser:
    def __init__(self, tokens: Sequence[Token], has_bindings: bool) -> None:
        self._tokens = tokens
        self._has_bindings = has_bindings
        self._at = 0
        self._nesting = 0

    def parse(self) -> Node:
        node = self._expression()
        if self._peek().kind != "end":
            self._refuse("<EOF>", extraneous=True)
        return node

    # --- tokens

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _take(self, kind: str) -> Token | None:
        if self._tokens[self._at].kind == kind:
            self._at += 1
            return self._tokens[self._at - 1]
        return None

    def _expect(self, kind: str, expected: str = "") -> Token:
        token = self._take(kind)
        if token is None:
            self._refuse(expected or f"'{kind}'")
        assert token is not None
        return token

    def _refuse(self, expected: str, extraneous: bool = False) -> None:
        token = self._peek()
        word = "extraneous" if extraneous else "mismatched"
        message = f"Syntax error: {word} input '{token.text}' expecting {expected}"
        raise Malformed(Issue(token.position, message))

    # --- expressions, loosest first

    def _expression(self) -> Node:
        self._nesting += 1
        if self._nesting > MAX_DEPTH // 2:
            raise Malformed(
                Issue(self._peek().position, f"expression recursion limit exceeded: {MAX_DEPTH // 2}")
            )
        condition = self._logic("||", "_||_")
        mark = self._take("?")
        if mark is not None:
            first = self._logic("||", "_||_")
            self._expect(":")
            second = self._expression()
            condition = _call("_?_:_", mark.position, None, [condition, first, second])
        self._nesting -= 1
        return condition

    def _logic(self, mark: str, function: str) -> Node:
        first = self._operand_of_logic(mark)
        if self._peek().kind != mark:
            return first
        operands, positions = [first], []
        while token := self._take(mark):
            positions.append(token.position)
            operands.append(self._operand_of_logic(mark))
        return _bounded(Logic(function, operands, positions, position=positions[0], depth=_depth(operands)))

    def _operand_of_logic(self, mark: str) -> Node:
        return self._logic("&&", "_&&_") if mark == "||" else self._binary(0)

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        functions = _LEVELS[level]
        while (token := self._peek()).kind in functions:
            self._at += 1
            right = self._binary(level + 1)
            left = _call(functions[token.kind], token.position, None, [left, right])
        return left

    def _unary(self) -> Node:
        token = self._peek()
        if token.kind == "-":
            following = self._tokens[self._at + 1]
            if following.kind == "int" or (
                following.kind == "literal" and isinstance(following.value, float)
            ):
                self._at += 2
                return self._member(_number(following, negative=token.position))
        if token.kind not in ("!", "-"):
            return self._member(self._primary())
        count = 0
        while self._take(token.kind):
            count += 1
        operand = self._member(self._primary())
        if count % 2 == 0:
            return operand
        return _call("!_" if token.kind == "!" else "-_", token.position, None, [operand])

    def _member(self, node: Node) -> Node:
        while True:
            token = self._peek()
            if token.kind == ".":
                node = self._field(node, self._next())
            elif token.kind == "[":
                self._at += 1
                optional = self._take("?") is not None
                index = self._expression()
                self._expect("]")
                node = _call("_[?_]" if optional else "_[_]", token.position, None, [node, index])
            elif token.kind == "{" and (name := _qualified(node)):
                node = self._struct(name, self._next())
            else:
                return node

    def _field(self, node: Node, dot: Token) -> Node:
        optional = self._take("?") is not None
        token = self._take("quoted")
        if token is not None:
            return _select(node, str(token.value), dot.position, optional)
        token = self._identifier(selecting=True)
        opening = None if optional else self._take("(")
        if opening is None:
            return _select(node, token.text, dot.position, optional)
        arguments = self._arguments()
        expanded = macros.expand_member(node, token.text, arguments, opening.position)
        if self._has_bindings and expanded is None:
            expanded = macros.expand_binding(node, token.text, arguments, opening.position)
        return _bounded(expanded or _call(token.text, opening.position, node, arguments))

    def _identifier(self, selecting: bool = False) -> Token:
        token = self._peek()
        if token.kind not in ("name", "in") or (token.kind == "in" and selecting):
            self._refuse("IDENTIFIER" if selecting else _STARTS)
        if not selecting and token.text in RESERVED and token.text not in ("true", "false", "null"):
            raise Malformed(Issue(token.position, f"reserved identifier: {token.text}"))
        self._at += 1
        return token

    def _primary(self) -> Node:
        token = self._peek()
        kind = token.kind
        if kind == "int":
            self._at += 1
            return _number(token)
        if kind == "literal":
            self._at += 1
            return Literal(token.value, position=token.position)
        if kind == "(":
            self._at += 1
            node = self._expression()
            self._expect(")")
            return node
        if kind == "[":
            return self._list(self._next())
        if kind == "{":
            return self._map(self._next())
        if kind == ".":
            self._at += 1
        if kind not in ("name", "."):
            self._refuse(_STARTS)
        return self._named(self._identifier(selecting=kind == "."))

    def _named(self, token: Token) -> Node:
        if token.text in _CONSTANTS:
            return Literal(_CONSTANTS[token.text], position=token.position)
        opening = self._take("(")
        if opening is None:
            return Name(token.text, position=token.position)
        arguments = self._arguments()
        expanded = macros.expand_global(token.text, arguments, opening.position)
        return _bounded(expanded or _call(token.text, opening.position, None, arguments))

    def _arguments(self) -> list[Node]:
        found: list[Node] = []
        if self._take(")"):
            return found
        if self._peek().kind == "end":
            self._refuse(_STARTS_OR_END)
        while True:
            found.append(self._expression())
            if self._take(")"):
                return found
            self._expect(",", "{',', ')'}" if self._peek().kind != "end" else "')'")

    def _list(self, opening: Token) -> Node:
        items: list[Node] = []
        optional: set[int] = set()
        while not self._take("]"):
            if self._take("?"):
                optional.add(len(items))
            items.append(self._expression())
            if not self._take(","):
                self._expect("]")
                break
        return _bounded(
            ListLiteral(items, frozenset(optional), position=opening.position, depth=_depth(items))
        )

    def _map(self, opening: Token) -> Node:
        keys: list[Node] = []
        values: list[Node] = []
        optional: set[int] = set()
        while not self._take("}"):
            if self._take("?"):
                optional.add(len(keys))
            keys.append(self._expression())
            self._expect(":")
            values.append(self._expression())
            if not self._take(","):
                self._expect("}")
                break
        depth = _depth(keys + values)
        return _bounded(MapLiteral(keys, values, frozenset(optional), position=opening.position, depth=depth))

    def _struct(self, name: str, opening: Token) -> Node:
        names: list[str] = []
        values: list[Node] = []
        positions: list[int] = []
        optional: set[int] = set()
        while not self._take("}"):
            if self._take("?"):
                optional.add(len(names))
            field = self._take("quoted") or self._identifier(selecting=True)
            names.append(str(field.value) if field.kind == "quoted" else field.text)
            positions.append(self._expect(":").position)
            values.append(self._expression())
            if not self._take(","):
                self._expect("}")
                break
        return _bounded(
            StructLiteral(
                name,
                names,
                values,
                positions,
                frozenset(optional),
                position=opening.position,
                depth=_depth(values),
            )
        )


_CONSTANTS = {"true": True, "false": False, "null": None}


def _number(token: Token, negative: int | None = None) -> Node:
    value = token.value if negative is None else -token.value
    if token.kind == "int" and not -INT_MAX - 1 <= value <= INT_MAX:
        raise Malformed(Issue(token.position if negative is None else negative, "invalid int literal"))
    return Literal(value, position=token.position if negative is None else negative)


def _call(function: str, position: int, target: Node | None, arguments: list[Node]) -> Node:
    depth = _depth([target, *arguments] if target else arguments)
    return _bounded(Call(function, target, arguments, position=position, depth=depth))


def _select(node: Node, field: str, position: int, optional: bool) -> Node:
    return _bounded(Select(node, field, optional, position=position, depth=node.depth + 1))


def _qualified(node: Node) -> str:
    """Return `a.b.c` of a chain of plain selections, "" of anything else."""
    parts: list[str] = []
    while isinstance(node, Select) and not node.optional and not node.test:
        parts.append(node.field)
        node = node.operand
    return ".".join([node.name, *reversed(parts)]) if isinstance(node, Name) else ""


def _depth(nodes: Sequence[Node]) -> int:
    return 1 + max((node.depth for node in nodes), default=0)


def _bounded(node: Node) -> Node:
    if node.depth > MAX_DEPTH:
        raise Malformed(Issue(node.position, f"expression recursion limit exceeded: {MAX_DEPTH}"))
    return node
