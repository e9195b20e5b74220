"""Conditions and selectors are CEL over a task's inputs, with upstream's names and numbers."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.pipelines.ir.expressions import (
    ExpressionError,
    check_condition,
    check_selector,
    evaluate_condition,
    select,
)

VALUES = {
    "type": "foo",
    "num": 1,
    "pipelinechannel--x": 7,
    "flag": True,
    "ratio": 0.5,
    "list": [1, 2],
    "s": "it's",
}
MODEL = {"model": [{"name": "m", "uri": "s3://b/m", "metadata": {"accuracy": 0.93}}]}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("inputs.parameter_values['type'] == 'foo'", True),
        ("inputs.parameter_values['type']=='foo2'", False),
        ("inputs.parameter_values['num'] == 1", True),
        ("int(inputs.parameter_values['num']) == 1 && inputs.parameter_values['num'] == 1.0", True),
        ("int(inputs.parameter_values['pipelinechannel--x']) >= 8", False),
        ("!(inputs.parameter_values['flag'] == true) || inputs.parameter_values['ratio'] < 0.6", True),
        ("double(inputs.parameter_values['num']) / 2.0 == inputs.parameter_values['ratio']", True),
        ("inputs.parameter_values['num'] / 2.0 == 0.5", True),
        ("inputs.parameter_values['s'] == 'it\\'s'", True),
        ("size(inputs.parameter_values['list']) == 2", True),
        ("inputs.artifacts['model'].artifacts[0].metadata['accuracy']*100.0 > 90.0", True),
        ("parseJson('{\"a\": 1}')['a'] == 1", True),
    ],
)
def test_conditions_hold_as_upstreams(condition: str, holds: bool) -> None:
    check_condition(condition)
    assert evaluate_condition(condition, VALUES, MODEL) is holds


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("", "Syntax error"),
        ("1 +", "Syntax error"),
        ("1", "must evaluate to bool"),
        ("unknown == 1", "undeclared reference"),
        ("parseJson(1) == 2", "no matching overload"),
        ("inputs.other['a'] == 1", "inputs has no field other"),
        ("true && " * 5000 + "true", "longer than"),
    ],
)
def test_conditions_that_say_nothing_are_refused(condition: str, why: str) -> None:
    with pytest.raises(ExpressionError, match=why):
        check_condition(condition)


def test_conditions_tell_which_inputs_they_look_at() -> None:
    text = "inputs.parameter_values['a'] == 1 && (inputs.parameter_values['b'] == 'x' || true)"
    assert check_condition(text) == {"a", "b"}


@pytest.mark.parametrize(
    "condition", ["inputs.parameter_values['none'] == 1", "inputs.parameter_values['type']"]
)
def test_conditions_without_a_value_raise(condition: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate_condition(condition, VALUES)


@pytest.mark.parametrize(
    ("selector", "value", "selected"),
    [
        ('parseJson(string_value)["a"]', {"a": [1, {"b": 2}]}, [1, {"b": 2}]),
        ('parseJson(string_value)["a"]', '{"a": "text"}', "text"),
        ("parseJson(string_value)[0]", ["x", "y"], "x"),
        ("parseJson(string_value)", "[1, 2]", [1, 2]),
        ("string_value", "text", "text"),
        ("string_value", [1, "a"], '[1,"a"]'),
        ("struct_value.a", {"a": 1.5}, 1.5),
        ("struct_value.nested.b", {"nested": {"b": None}}, None),
        ("list_value[1]", [1, 2], 2),
        ("number_value", 3, 3),
        ("bool_value", True, True),
    ],
)
def test_selectors_pick_from_a_value(selector: str, value: Any, selected: Any) -> None:
    check_selector(selector)
    assert select(selector, value) == selected


@pytest.mark.parametrize(
    "selector", ['parseJson(string_value)["none"]', "struct_value.a", "parseJson(string_value)[0]"]
)
def test_selectors_that_find_nothing_say_so(selector: str) -> None:
    with pytest.raises(ExpressionError):
        select(selector, "not JSON")
    with pytest.raises(ExpressionError, match="compilation failed"):
        check_selector("nothing")
