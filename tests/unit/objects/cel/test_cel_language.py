"""The language: what expressions mean, and how those that mean nothing are refused."""

# ruff: noqa: E501  tables of expressions

from __future__ import annotations

from typing import Any

import pytest

from proa.objects.cel import types as t
from proa.objects.cel.environment import Environment
from proa.objects.cel.errors import CelCompileError, CelRuntimeError, CelTypeError
from proa.objects.cel.program import compile_expression
from proa.objects.cel.types import from_schema
from proa.objects.cel.values import Duration, Optional, Timestamp, Uint
from proa.objects.schemas.schema import Schema

ENVIRONMENT = Environment(
    {
        "object": t.DYN,
        "n": t.INT,
        "names": t.list_of(t.STRING),
        "authorizer.requestResource": t.RESOURCE_CHECK,
    }
)
OBJECT = {
    "spec": {"replicas": 3, "containers": [{"name": "a", "image": "x/a"}, {"name": "b", "image": "x/b"}]},
    "nothing": None,
}
VARIABLES = {"object": OBJECT, "n": 7, "names": ["a", "b"]}


def run(expression: str, environment: Environment = ENVIRONMENT, **variables: Any) -> Any:
    return compile_expression(expression, environment).evaluate({**VARIABLES, **variables})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3 - 8 / 2", 3),
        ("-7 / 2", -3),
        ("-7 % 3", -1),
        ("7u + 1u", Uint(8)),
        ("1.5 + 2.0", 3.5),
        ("'a' + \"b\" + '''c'''", "abc"),
        (r"r'\d' + '\x41\u00e9\n'", "\\dAé\n"),
        ("b'a\\xff'", b"a\xff"),
        ("0xff", 255),
        ("-9223372036854775808", -(2**63)),
        ("!(1 > 2) && 'b' >= 'a'", True),
        ("n > 5 ? 'many' : 'few'", "many"),
        ("1 < 1.5 && 2u > 1 && 1 <= 1u", True),
        ("dyn(1) == dyn(1.0) && dyn(1u) == dyn(1)", True),
        ("dyn(true) == dyn(1)", False),
        ("[1, 2] + [3] == [1, 2, 3]", True),
        ("{'a': [1], 'b': [2]} == {'b': [2], 'a': [1]}", True),
        ("2 in [1, 2] && 'a' in {'a': 1} && !('b' in {'a': 1})", True),
        ("[1, 2, 3][1] + {'k': 5}['k'] + {1: 6}[1]", 13),
        ("type(n) == int && type('') == string && type([]) == list", True),
        ("size(names) + names.size() + size('héé') + size(b'ab')", 9),
        ("object.spec.replicas == 3", True),
        ("has(object.spec.replicas) && !has(object.spec.paused) && !has(object.nothing.deeper)", True),
        ("object.spec.containers.all(c, c.image.startsWith('x/'))", True),
        ("object.spec.containers.exists(c, c.name == 'b')", True),
        ("object.spec.containers.exists_one(c, c.name == 'b')", True),
        ("object.spec.containers.map(c, c.name)", ["a", "b"]),
        ("object.spec.containers.map(c, c.name != 'a', c.image)", ["x/b"]),
        ("object.spec.containers.filter(c, c.name == 'a').size()", 1),
        ("[1, 2].all(x, [1, 2].exists(y, x == y))", True),
        ("{'a': 1, 'b': 2}.all(k, k != 'c')", True),
        ("['x', 'y'].all(i, v, i < 2 && v != '')", True),
        ("{'a': 1}.exists(k, v, k == 'a' && v == 1)", True),
        ("['x', 'y'].transformList(i, v, i > 0, v + 'z')", ["yz"]),
        ("{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v * 10)", {"b": 20}),
        ("['x', 'y'].transformMapEntry(i, v, {v: i})", {"x": 0, "y": 1}),
        ("true || object.missing == 1", True),
        ("object.missing == 1 || true", True),
        ("object.missing == 1 && false", False),
        ("[1, 0].exists(x, 10 / x > 5)", True),
        ("object.?spec.?paused.orValue(false)", False),
        ("object.?spec.?replicas.orValue(0)", 3),
        ("object[?'spec'].hasValue()", True),
        ("[1, 2][?5].or(optional.of(9)).value()", 9),
        ("optional.of(1).optMap(x, x + 1)", Optional(2, True)),
        ("optional.none().optMap(x, x).orValue(4)", 4),
        ("optional.of(1).optFlatMap(x, optional.of(x * 3)).value()", 3),
        ("[?optional.none(), ?optional.of(2), 3]", [2, 3]),
        ("{?'a': optional.none(), 'b': 1}", {"b": 1}),
        ("[optional.of(1), optional.none()].unwrapOpt()", [1]),
        ("optional.ofNonZeroValue('').hasValue()", False),
        ("timestamp('2024-02-29T23:00:00Z') + duration('90m')", Timestamp(1709253000 * 10**9)),
        ("timestamp('2024-03-01T00:00:00Z') - timestamp('2024-02-29T00:00:00Z') == duration('24h')", True),
        ("duration('1h1m1.5s')", Duration(3661_500_000_000)),
        ("string(duration('1.5s')) + string(timestamp('2024-01-01T00:00:00.5Z'))", "1.5s2024-01-01T00:00:00.5Z"),
        ("timestamp('2024-12-25T23:30:00Z').getDayOfWeek('+02:00')", 4),
        ("timestamp('2024-12-25T23:30:00Z').getMonth() + duration('3m').getSeconds()", 191),
        ("int('42') + int(3.9) + int(5u)", 50),
        ("string(1.0) + string(1.5e30) + string(true)", "11.5e+30true"),
        ("object.spec.`replicas`", 3),
        ("// a comment\n n", 7),
    ],
)  # fmt: skip
def test_an_expression_has_a_value(expression: str, value: Any) -> None:
    found = run(expression)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("n + 'a'", "<input>:1:3: found no matching overload for '_+_' applied to '(int, string)'"),
        ("n.size()", "<input>:1:7: found no matching overload for 'size' applied to 'int.()'"),
        ("nope", "<input>:1:1: undeclared reference to 'nope' (in container '')"),
        ("nope.a.b", "<input>:1:1: undeclared reference to 'nope' (in container '')"),
        ("n.nope()", "<input>:1:7: undeclared reference to 'nope' (in container '')"),
        ("n.field", "<input>:1:2: type 'int' does not support field selection"),
        ("n.all(x, true)", "<input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)"),
        ("[1, 'a']", "<input>:1:5: expected type 'int' but found 'string'"),
        ("n && true", "<input>:1:3: found no matching overload for '_&&_' applied to '(int, bool)'"),
        ("n ? 1 : 2", "<input>:1:3: found no matching overload for '_?_:_' applied to '(int, int, int)'"),
        ("1 +", "<input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"),
        ("n > 1 ? true", "<input>:1:13: Syntax error: mismatched input '<EOF>' expecting ':'"),
        ("'abc", "<input>:1:1: Syntax error: token recognition error at: ''abc'"),
        ("has(n)", "<input>:1:4: invalid argument to has() macro"),
        ("duration('1')", "<input>:1:10: invalid duration argument"),
        ("'a'.matches('(')", "<input>:1:13: invalid matches argument"),
        ("9223372036854775808", "<input>:1:1: invalid int literal"),
        ("math.greatest(1, 2)", "<input>:1:1: undeclared reference to 'math' (in container '')"),
    ],
)  # fmt: skip
def test_what_cannot_fit_is_refused_in_upstreams_words(expression: str, message: str) -> None:
    with pytest.raises(CelCompileError) as refused:
        compile_expression(expression, ENVIRONMENT)
    assert str(refused.value).startswith(f"compilation failed: ERROR: {message}\n | {expression}")


def test_a_refusal_points_at_each_place() -> None:
    with pytest.raises(CelCompileError) as refused:
        compile_expression("foo == 1 &&\n  bar == 2", ENVIRONMENT)
    assert str(refused.value) == (
        "compilation failed: ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n"
        " | foo == 1 &&\n | ^\n"
        "ERROR: <input>:2:3: undeclared reference to 'bar' (in container '')\n |   bar == 2\n | ..^"
    )


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("object.missing", "no such key: missing"),
        ("object.nothing.x", "no such key: x"),
        ("names[2]", "index out of bounds: 2"),
        ("{'a': 1}['b']", "no such key: b"),
        ("1 / (n - 7)", "division by zero"),
        ("1 % (n - 7)", "modulus by zero"),
        ("9223372036854775807 + n", "integer overflow"),
        ("1u - 2u", "unsigned integer overflow"),
        ("object.spec + 1", "no such overload"),
        ("object.spec.replicas.startsWith('a')", "no such overload"),
        ("object.spec.replicas ? 1 : 2", "no such overload"),
        ("object.missing == 1 || false", "no such key: missing"),
        ("optional.none().value()", "optional.none() dereference"),
        ("int('x')", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("['a', 'a'].transformMapEntry(i, v, {v: i})", "insert failed: key a already exists"),
    ],
)
def test_evaluation_fails_in_upstreams_words(expression: str, message: str) -> None:
    with pytest.raises(CelRuntimeError) as failed:
        run(expression)
    assert str(failed.value) == message


def test_a_variable_that_is_not_given_is_an_error() -> None:
    with pytest.raises(CelRuntimeError, match=r"no such attribute\(s\): n"):
        compile_expression("n", ENVIRONMENT).evaluate({})


def test_an_expression_must_give_the_type_that_is_asked_for() -> None:
    with pytest.raises(CelTypeError, match="must evaluate to bool"):
        compile_expression("n", ENVIRONMENT, returns=t.BOOL)
    assert compile_expression("object.spec", ENVIRONMENT, returns=t.BOOL).type == t.DYN


SCHEMA = Schema(
    "object",
    properties={
        "count": Schema("integer"),
        "ratio": Schema("number"),
        "when": Schema("string", format="date-time"),
        "for": Schema("string", format="duration"),
        "data": Schema("string", format="byte"),
        "a-b.c": Schema("string"),
        "port": Schema("int-or-string"),
        "labels": Schema("object", values=Schema("string")),
        "tags": Schema("array", items=Schema("string"), list_type="set"),
        "items": Schema(
            "array",
            items=Schema("object", properties={"key": Schema("string"), "value": Schema("number")}),
            list_type="map",
            list_map_keys=("key",),
        ),
        "numbers": Schema("array", items=Schema("number")),
        "free": Schema("any"),
    },
)
SELF = from_schema(SCHEMA)
assert SELF is not None
TYPED = Environment({"self": SELF, "oldSelf": SELF})
VALUE = {
    "count": 2, "ratio": 1, "when": "2024-01-01T00:00:00Z", "for": "1h", "data": "aGk=", "a-b.c": "x", "port": "http",
    "labels": {"a": "b"}, "tags": ["x", "y"], "items": [{"key": "k", "value": 1}, {"key": "l", "value": 2}],
    "numbers": [1, 2.5],
}  # fmt: skip


@pytest.mark.parametrize(
    "expression",
    [
        "self.count + 1 == 3",
        "self.ratio / 2.0 == 0.5",
        "self.when < timestamp('2025-01-01T00:00:00Z')",
        "self.__for__ == duration('60m')",
        "has(self.for) && self.for == duration('60m')",
        "self.data == b'hi'",
        "self.a__dash__b__dot__c == 'x'",
        "self.port == 'http' || self.port == 80",
        "self.labels.a == 'b' && self.labels['a'] == 'b' && 'a' in self.labels",
        "self.items.all(i, i.value >= 1.0)",
        "self.items[1].value == 2.0",
        "self.numbers.sum() == 3.5",
        "self.tags == ['y', 'x'] || self.tags == oldSelf.tags",
        "self.tags + ['x', 'z'] == ['z', 'y', 'x']",
        "self.items + [] == oldSelf.items",
    ],
)
def test_values_are_what_their_schema_says(expression: str) -> None:
    old = {**VALUE, "tags": ["y", "x"], "items": VALUE["items"][::-1]}  # type: ignore[index]
    assert (
        compile_expression(expression, TYPED, returns=t.BOOL).evaluate({"self": VALUE, "oldSelf": old})
        is True
    )


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("self.cuont == 1", "undefined field 'cuont'"),
        ("self.count == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("has(self.nope)", "undefined field 'nope'"),
        ("self.items.all(i, i.nope == 1)", "undefined field 'nope'"),
        ("self.free == 1", "undefined field 'free'"),
    ],
)
def test_a_schema_is_a_type(expression: str, message: str) -> None:
    with pytest.raises(
        CelCompileError, match=message.replace("(", r"\(").replace(")", r"\)").replace("+", r"\+")
    ):
        compile_expression(expression, TYPED)


def test_values_are_never_changed() -> None:
    value = {"tags": ["x"], "items": [], "numbers": [1]}
    run("self.tags + ['z'] == [] || self.numbers.sort() == []", TYPED, self=value, oldSelf=value)
    assert value == {"tags": ["x"], "items": [], "numbers": [1]}
