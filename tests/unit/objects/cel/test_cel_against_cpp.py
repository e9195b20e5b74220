"""Ours and Google's CEL (cel-cpp) agree, on generated expressions, about types and values."""

# ruff: noqa: E501  tables of expressions

from __future__ import annotations

import datetime
import random
import re
from typing import Any

import pytest

from proa.objects.cel import types as t
from proa.objects.cel.environment import Environment
from proa.objects.cel.errors import CelCompileError, CelRuntimeError
from proa.objects.cel.program import compile_expression
from proa.objects.cel.values import Duration, Optional, Timestamp

cel = pytest.importorskip(
    "cel_expr_python.cel", reason="not on this machine: cel-expr-python is not installed"
)

VARIABLES = {
    "n": 3,
    "s": "ab",
    "l": [1, 2, 3],
    "m": {"a": 1},
    "d": {"x": [1, "y", None], "z": {"k": 1.5}},
}
OURS = Environment(
    {"n": t.INT, "s": t.STRING, "l": t.list_of(t.INT), "m": t.map_of(t.STRING, t.INT), "d": t.DYN}
)


def theirs() -> Any:
    from cel_expr_python.ext import ext_optional, ext_strings

    kinds = cel.Type
    return cel.NewEnv(
        variables={
            "n": kinds.INT,
            "s": kinds.STRING,
            "l": kinds.List(kinds.INT),
            "m": kinds.Map(kinds.STRING, kinds.INT),
            "d": kinds.DYN,
        },
        extensions=[ext_optional.ExtOptional(), ext_strings.ExtStrings()],
    )


THEIRS = theirs()

GRAMMAR: dict[str, tuple[str, ...]] = {
    "INT": (
        "n", "0", "1", "-2", "7", "size(l)", "s.size()", "m.a", "m['b']", "l[0]", "l[9]", "int('4')",
        "(INT + INT)", "(INT - INT)", "(INT * INT)", "(INT / INT)", "(INT % INT)", "(BOOL ? INT : INT)",
        "TEXT.indexOf(TEXT)", "size(LIST)",
    ),
    "TEXT": (
        "s", "''", "'a'", "'Ab c'", "d.x[1]", "d.nope", "string(n)", "(TEXT + TEXT)", "TEXT.replace(TEXT, 'z')",
        "TEXT.lowerAscii()", "TEXT.substring(INT)", "TEXT.split(TEXT).join('-')", "TEXT.trim()",
    ),
    "LIST": (
        "l", "[]", "[1]", "[n, 2]", "(LIST + LIST)", "LIST.map(x, x * INT)", "LIST.filter(x, x > INT)",
        "m.map(k, m[k] + INT)",
    ),
    "BOOL": (
        "true", "false", "has(d.z)", "has(d.q)", "'a' in m", "d.z.k > 1.0", "d.?z.?k.hasValue()", "(INT == INT)",
        "(INT < INT)", "(INT >= INT)", "(TEXT == TEXT)", "(TEXT != TEXT)", "(TEXT < TEXT)", "(LIST == LIST)",
        "(INT in LIST)", "(BOOL && BOOL)", "(BOOL || BOOL)", "!BOOL", "LIST.all(x, x < INT)", "LIST.exists(x, x == INT)",
        "LIST.exists_one(x, x > INT)", "TEXT.startsWith(TEXT)", "(INT == TEXT)",
    ),
}  # fmt: skip
_PART = re.compile("INT|TEXT|LIST|BOOL")


def expression_of(kind: str, chance: random.Random, depth: int) -> str:
    """Return some expression; from `depth` 0 on one of no parts."""
    forms = [form for form in GRAMMAR[kind] if depth or not _PART.search(form)]
    return _PART.sub(lambda part: expression_of(part[0], chance, depth - 1), chance.choice(forms))


def plain(value: Any) -> Any:
    if isinstance(value, Timestamp | Duration):
        return value.nanoseconds
    if isinstance(value, datetime.timedelta):
        return value // datetime.timedelta(microseconds=1) * 1000
    if isinstance(value, Optional):
        return value.value
    return value


def outcome_of_ours(expression: str) -> Any:
    try:
        return plain(compile_expression(expression, OURS).evaluate(VARIABLES))
    except CelCompileError:
        return "does not compile"
    except CelRuntimeError:
        return "fails"


def outcome_of_theirs(expression: str) -> Any:
    try:
        compiled = THEIRS.compile(expression)
    except RuntimeError:
        return "does not compile"
    try:
        value = compiled.eval(data=VARIABLES)
        if value.type() == cel.Type.ERROR:
            return "fails"
        return plain(value.plain_value())
    except (RuntimeError, ValueError):
        return "fails"


def test_both_give_the_same() -> None:
    chance = random.Random(11)
    for _ in range(1_500):
        expression = expression_of(chance.choice(list(GRAMMAR)), chance, depth=3)
        ours, others = outcome_of_ours(expression), outcome_of_theirs(expression)
        assert (ours, type(ours)) == (others, type(others)), expression
