"""No expression crashes, and none runs for long: whatever it is, and whatever it is given."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from proa.objects.cel import types as t
from proa.objects.cel.budget import Budget
from proa.objects.cel.environment import Environment, kubernetes_functions
from proa.objects.cel.errors import COST_EXCEEDED, CelCompileError, CelError, CelRuntimeError
from proa.objects.cel.program import compile_expression
from support.stalls import units_of

LIMIT = 600
"""In units of about a millisecond: the longest takes some 200."""

ENVIRONMENT = Environment({"object": t.DYN, "text": t.STRING, "items": t.list_of(t.DYN)})
MEMORY = {"text": "a" * 100_000, "items": list(range(5_000)), "object": {"a": {"b": [1, {"c": "d"}]}}}


@pytest.mark.parametrize(
    "expression",
    [
        "lists.range(1000).all(x, lists.range(1000).all(y, x + y >= 0))",
        "lists.range(1000000000).size() > 0",
        "items.map(x, items.map(y, [x, y])).size() > 0",
        "items.all(x, text.contains('b') || true)",
        "items.all(x, items == items)",
        "items.all(x, !(x in items) || true)",
        "items.map(x, text).join('-').size() > 0",
        "text.replace('', text).size() > 0",
        "items.all(x, (text + text).size() > 0)",
        "'%s%s%s'.format([text, text, text]).size() > 0 && items.all(x, '%s'.format([items]) != '')",
        "items.all(x, text.matches('(a*)*b') || true)",
        "items.all(x, text.findAll('a').size() > 0)",
        "text.split('').map(c, text.split('')).size() > 0",
        "items.sortBy(x, text + string(x)).size() > 0 && items.all(x, items.sortBy(y, -y).size() > 0)",
        "items.transformMap(i, v, items.transformMap(j, w, w)).size() > 0",
        "items.transformMapEntry(i, v, {v: i}).size() > 0",
        "items.map(x, x).distinct().size() > 0",
    ],
)
def test_what_would_take_long_is_cut_short(expression: str) -> None:
    program = compile_expression(expression, ENVIRONMENT)

    def evaluate() -> None:
        with pytest.raises(CelRuntimeError, match=COST_EXCEEDED):
            program.evaluate(MEMORY)

    assert units_of(evaluate, LIMIT) <= LIMIT


def test_expressions_may_share_a_budget() -> None:
    program = compile_expression("items.all(x, x >= 0)", ENVIRONMENT)
    budget = Budget(30_000)
    assert program.evaluate(MEMORY, budget)
    with pytest.raises(CelRuntimeError, match=COST_EXCEEDED):
        program.evaluate(MEMORY, budget)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("(" * 1000 + "1" + ")" * 1000, "expression recursion limit exceeded"),
        ("[" * 1000, "expression recursion limit exceeded"),
        ("1" + " + 1" * 1000, "expression recursion limit exceeded"),
        ("object" + ".a" * 1000, "expression recursion limit exceeded"),
        ("!" * 3000 + "(true)" + " ? true : false" * 300, "expression recursion limit exceeded|Syntax error"),
        ("'" + "a" * 30_000 + "'", "expression code point size exceeds limit"),
    ],
    ids=range(6),
)
def test_what_is_too_deep_or_too_long_is_refused(expression: str, message: str) -> None:
    with pytest.raises(CelCompileError, match=message):
        compile_expression(expression, ENVIRONMENT)


@pytest.mark.parametrize(
    "expression",
    [
        "[" + ",".join(["[]"] * 2_500) + "].size() > 0",
        "[" + ",".join(["1"] * 3_900) + "].size() > 0",
        "{" + ",".join(f"'{i}':1" for i in range(900)) + "}.size() > 0",
        " || ".join(["n==1"] * 900),
        "[" + ",".join(["{}"] * 2_500) + "].size() > 0",
        " || ".join(["[]==[]"] * 700),
    ],
    ids=range(6),
)
def test_compiling_takes_time_in_proportion_to_the_text(expression: str) -> None:
    environment = Environment({"n": t.INT})
    assert compile_expression(expression, environment).type == t.BOOL
    assert units_of(lambda: compile_expression(expression, environment), LIMIT) <= LIMIT


def test_a_long_chain_of_alternatives_is_not_deep() -> None:
    expression = " || ".join(["object.a == 1"] * 400) + " || true"
    assert compile_expression(expression, ENVIRONMENT).evaluate({"object": {"a": 2}}) is True


_WORDS = [
    "object", "text", "items", "x", "y", ".", ".", ".?", "(", ")", "(", ")", "[", "]", "[?", "{", "}", ",", ":", "?",
    "+", "-", "*", "/", "%", "==", "!=", "<", ">=", "in", "&&", "||", "!", "1", "2u", "0", "1.5", "''", "'a'", "b'a'",
    "true", "null", "a", "has(object.a)", "items.all(x, ", "items.map(x, ", "optional.of(", "dyn(", "object.a.b",
    "type(", "'%s'.format(", *sorted(kubernetes_functions())[20:],
]  # fmt: skip
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "a", "10.0.0.1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def attempt(expression: str, **variables: Any) -> None:
    try:
        compile_expression(expression, ENVIRONMENT).evaluate({**MEMORY, **variables})
    except CelError as error:
        assert str(error)  # noqa: PT017  that every failure is one of ours is what is tested


@seed(3)
@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(st.sampled_from(_WORDS), min_size=1, max_size=14), _JSON)
def test_no_sequence_of_words_crashes(words: list[str], value: Any) -> None:
    attempt(" ".join(words), object=value)


@seed(3)
@settings(max_examples=300, deadline=None, database=None)
@given(st.text(max_size=40))
def test_no_text_crashes(text: str) -> None:
    attempt(text)


_OPERATORS = ("+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||")
_TEXTS = [
    "'a'",
    "'10.0.0.1'",
    "'10.0.0.0/8'",
    "'1Gi'",
    "'v1.2.3'",
    "'https://a.b/c?d=e'",
    "'1h'",
    "'%5.3f'",
    "'('",
]
_ARGUMENTS = st.sampled_from([
    "object", "object.a", "items", "text", "1", "-1", "0", "9223372036854775807", "1.5", "2u", "true", "null", "[]",
    "[1, 2]", "['a']", "{'a': 1}", "dyn(1)", "duration('1h')", "timestamp('2024-01-01T00:00:00Z')", "quantity('1')",
    "ip('::1')", "cidr('::/0')", "semver('1.0.0')", "url('https://a/')", "optional.of(1)", "optional.none()",
    "format.uuid()", "[dyn(1), 'a']", "double('NaN')", "bytes('a')", *_TEXTS,
])  # fmt: skip


@seed(3)
@settings(max_examples=700, deadline=None, database=None)
@given(
    st.sampled_from(sorted(f for f in kubernetes_functions() if f[0].isalpha())),
    st.lists(_ARGUMENTS, min_size=0, max_size=4),
    st.booleans(),
    _JSON,
)
def test_no_call_crashes(function: str, arguments: list[str], dynamic: bool, value: Any) -> None:
    given_ = [f"dyn({a})" for a in arguments] if dynamic else arguments
    attempt(f"{function}({', '.join(given_)})", object=value)
    if given_:
        attempt(f"({given_[0]}).{function}({', '.join(given_[1:])})", object=value)


@seed(3)
@settings(max_examples=300, deadline=None, database=None)
@given(_ARGUMENTS, st.sampled_from(_OPERATORS), _ARGUMENTS, _JSON)
def test_no_operator_crashes(one: str, operator: str, other: str, value: Any) -> None:
    attempt(f"{one} {operator} {other}", object=value)
    attempt(f"dyn({one}) {operator} dyn({other})", object=value)
    attempt(f"dyn({one})[dyn({other})]", object=value)
