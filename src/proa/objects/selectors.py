"""Decide which objects a label or field selector picks, and print it back in upstream's form.

Label selectors follow apimachinery/pkg/labels/selector.go and LabelSelectorAsSelector in
apimachinery/pkg/apis/meta/v1/helpers.go; field selectors follow apimachinery/pkg/fields/selector.go.
A selector that cannot be read raises BadRequest with upstream's words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from proa.objects.errors import BadRequest
from proa.objects.quick_dataclass import dataclass
from proa.objects.validation import label_value, qualified_name

Operator = Literal["in", "notin", "=", "==", "!=", "exists", "!", "gt", "lt"]

_SYMBOLS: dict[str, Operator] = {"=": "=", "==": "==", "!=": "!=", ">": "gt", "<": "lt"}
_WORDS: dict[str, Operator] = {"in": "in", "notin": "notin"}
_TOKEN = re.compile(r"\s*(?:([=!<>(),]+)|([^\s=!<>(),]+))")
_SPECIAL = re.compile(r"==|!=|[=!<>(),]")
_SYMBOL_TOKENS = frozenset(("==", "!=", "=", "!", "<", ">", "(", ")", ","))
_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label; `values` are sorted."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels meet it. A missing label meets `!=`, `notin` and `!`."""
        value = labels.get(self.key)
        match self.operator:
            case "in" | "=" | "==":
                return value is not None and value in self.values
            case "notin" | "!=":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        if value is None or not _INTEGER.match(value):
            return False
        bound = int(self.values[0])
        return int(value) > bound if self.operator == "gt" else int(value) < bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
            case "gt":
                return f"{self.key}>{self.values[0]}"
            case "lt":
                return f"{self.key}<{self.values[0]}"
        return f"{self.key}{self.operator}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; none matches everything, unless `nothing` is set."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an object with these labels is picked."""
        for requirement in self.requirements:  # a loop: many objects are asked
            if not requirement.matches(labels):
                return False
        return not self.nothing

    @property
    def is_everything(self) -> bool:
        """Tell whether nothing is asked for."""
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


CACHED_LENGTH = 1024
"""A longer selector is read each time: nobody can fill the memory with them."""
NOTHING = LabelSelector(nothing=True)


def parse_label_selector(text: str) -> LabelSelector:
    """Read the query form (`app=web,tier in (a,b),!old`); raise BadRequest."""
    return _read_labels(text) if len(text) <= CACHED_LENGTH else _read_labels.__wrapped__(text)


@lru_cache(maxsize=1024)
def _read_labels(text: str) -> LabelSelector:
    requirements = _Parser(text).requirements()
    return LabelSelector(tuple(sorted(requirements, key=lambda requirement: requirement.key)))


def selector_from_dict(selector: Mapping[str, Any] | None) -> LabelSelector:
    """Read a metav1.LabelSelector: None picks nothing, an empty one everything; raise BadRequest."""
    if selector is None:
        return NOTHING
    found = [make_requirement(k, "=", (v,)) for k, v in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator = _EXPRESSION_OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise BadRequest(f'"{expression.get("operator", "")}" is not a valid label selector operator')
        found.append(
            make_requirement(expression.get("key", ""), operator, tuple(expression.get("values") or ()))
        )
    return LabelSelector(tuple(sorted(found, key=lambda requirement: requirement.key)))


_EXPRESSION_OPERATORS: dict[str, Operator] = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
}


def selector_from_labels(labels: Mapping[str, str] | None) -> LabelSelector:
    """Read a plain map, as Services have: every label must be equal; None or empty picks nothing."""
    if not labels:
        return NOTHING
    return LabelSelector(tuple(Requirement(key, "=", (labels[key],)) for key in sorted(labels)))


def make_requirement(key: str, operator: Operator, values: tuple[str, ...]) -> Requirement:
    """Build a requirement (`gt` and `lt` take one value); raise BadRequest where key or values are wrong."""
    if problems := qualified_name(key):
        raise BadRequest(f'key: Invalid value: "{key}": {"; ".join(problems)}')
    if operator in ("in", "notin") and not values:
        raise BadRequest("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty")
    if operator in ("exists", "!") and values:
        raise BadRequest("values: Invalid value: values set must be empty for exists and does not exist")
    if operator in ("gt", "lt") and not _INTEGER.match(values[0]):
        problem = "for 'Gt', 'Lt' operators, the value must be an integer"
        raise BadRequest(f'values[0]: Invalid value: "{values[0]}": {problem}')
    for index, value in enumerate(values):
        if problems := label_value(value):
            raise BadRequest(f'values[{index}][{key}]: Invalid value: "{value}": {"; ".join(problems)}')
    return Requirement(key, operator, tuple(sorted(set(values))))


class _Parser:
    """Recursive descent over lexemes; the end of the text reads as ""."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        while lexeme := self._peek():
            if lexeme != "!" and _is_symbol(lexeme):
                raise BadRequest(f"found '{lexeme}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except BadRequest as error:
                raise BadRequest(f"unable to parse requirement: {error.message}") from None
            lexeme = self._next()
            if lexeme == "":
                break
            if lexeme != ",":
                raise BadRequest(f"found '{lexeme}', expected: ',' or 'end of string'")
            following = self._peek()
            if following != "!" and (not following or _is_symbol(following)):
                raise BadRequest(f"found '{following}', expected: identifier after ','")
        return found

    def _requirement(self) -> Requirement:
        key = self._next()
        absent = key == "!"
        if absent:
            key = self._next()
        if not key or _is_symbol(key):
            raise BadRequest(f"found '{key}', expected: identifier")
        if problems := qualified_name(key):
            raise BadRequest(f'<nil>: Invalid value: "{key}": {"; ".join(problems)}')
        if absent or self._peek() in ("", ","):
            return Requirement(key, "!" if absent else "exists")
        lexeme = self._next()
        operator = _SYMBOLS.get(lexeme) or _WORDS.get(lexeme)
        if operator is None:
            raise BadRequest(f"found '{lexeme}', expected: {_OPERATORS}")
        values = self._values() if operator in ("in", "notin") else (self._exact_value(),)
        return make_requirement(key, operator, values)

    def _exact_value(self) -> str:
        if self._peek() in ("", ","):
            return ""
        lexeme = self._next()
        if _is_symbol(lexeme):
            raise BadRequest(f"found '{lexeme}', expected: identifier")
        return lexeme

    def _values(self) -> tuple[str, ...]:
        lexeme = self._next()
        if lexeme != "(":
            raise BadRequest(f"found '{lexeme}' expected: '('")
        if self._peek() == ")":
            self._next()
            return ()
        values = [self._listed_value()]
        while self._peek() == ",":
            self._next()
            values.append(self._listed_value())
        lexeme = self._next()
        if lexeme != ")":
            raise BadRequest(f"found '{lexeme}', expected: ')'")
        return tuple(values)

    def _listed_value(self) -> str:
        lexeme = self._peek()
        if lexeme in (",", ")"):
            return ""
        if not lexeme or _is_symbol(lexeme):
            raise BadRequest(f"found '{lexeme}', expected: ',', ')' or identifier")
        return self._next()

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        lexeme = self._peek()
        self._at += 1
        return lexeme


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    for symbols, word in _TOKEN.findall(text):
        found += _SPECIAL.findall(symbols) if symbols else [word]
    return found


def _is_symbol(token: str) -> bool:
    return token in _SYMBOL_TOKENS


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All of `requirements` (field path, "=" or "!=", value) must hold."""

    requirements: tuple[tuple[str, Literal["=", "!="], str], ...] = ()

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Tell whether the fields (path -> value) are picked; a missing field reads as ""."""
        return all((fields.get(k, "") == v) == (op == "=") for k, op, v in self.requirements)

    def required_value(self, field: str) -> str | None:
        """Return the value that `field` must equal, None where it need not."""
        return next((v for k, op, v in self.requirements if k == field and op == "="), None)

    def __str__(self) -> str:
        return ",".join(f"{k}{op}{_escape(v)}" for k, op, v in self.requirements)


_FIELD_OPERATOR = re.compile(r"((?:\\.|[^\\])*?)(!=|==|=)(.*)\Z", re.DOTALL)


def parse_field_selector(text: str) -> FieldSelector:
    r"""Read `spec.nodeName=proa-1,status.phase!=Failed`; `\`, `,` and `=` are escaped with `\`."""
    return _read_fields(text) if len(text) <= CACHED_LENGTH else _read_fields.__wrapped__(text)


@lru_cache(maxsize=1024)
def _read_fields(text: str) -> FieldSelector:
    found: list[tuple[str, Literal["=", "!="], str]] = []
    for term in _split_terms(text):
        if not term:
            continue
        match = _FIELD_OPERATOR.match(term)
        if match is None:
            raise BadRequest(f"invalid selector: '{text}'; can't understand '{term}'")
        field, operator, value = match.groups()
        found.append((field, "!=" if operator == "!=" else "=", _unescape(value)))
    return FieldSelector(tuple(sorted(found)))


def _split_terms(text: str) -> list[str]:
    terms, start, escaped = [], 0, False
    for index, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ",":
            terms.append(text[start:index])
            start = index + 1
    return [*terms, text[start:]]


def _unescape(value: str) -> str:
    result, escaped = [], False
    for character in value:
        if escaped:
            if character not in "\\,=":
                raise BadRequest(f"invalid field selector: invalid escape sequence: \\{character}")
            result.append(character)
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in ",=":
            raise BadRequest(f"invalid field selector: unescaped character in value: {character}")
        else:
            result.append(character)
    if escaped:
        raise BadRequest("invalid field selector: invalid escape sequence: \\")
    return "".join(result)


def _escape(value: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", value)
