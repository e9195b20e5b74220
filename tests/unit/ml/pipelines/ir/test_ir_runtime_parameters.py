"""A run's parameters are those that its pipeline declares, of their types."""

# ruff: noqa: E501 one case a line

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.pipelines.ir.document import Package
from proa.ml.pipelines.ir.problems import InvalidParameters
from proa.ml.pipelines.ir.runtime_parameters import check_runtime_parameters, with_defaults

KINDS = {
    "i": "NUMBER_INTEGER",
    "d": "NUMBER_DOUBLE",
    "s": "STRING",
    "b": "BOOLEAN",
    "l": "LIST",
    "t": "STRUCT",
}
OPTIONAL = {name: {"parameterType": kind, "isOptional": True} for name, kind in KINDS.items()}


def pipeline(parameters: dict[str, Any]) -> Package:
    return Package({"root": {"inputDefinitions": {"parameters": parameters}, "dag": {"tasks": {}}}})


def test_values_of_every_type_are_accepted_and_integers_are_ints() -> None:
    values = {"i": 3.0, "d": 1, "s": "x", "b": False, "l": [1], "t": {"a": None}}
    checked = check_runtime_parameters(pipeline(OPTIONAL), values)
    assert checked == values
    assert type(checked["i"]) is int
    assert check_runtime_parameters(pipeline(OPTIONAL), {"s": None}) == {"s": None}


@pytest.mark.parametrize(
    ("declared", "values", "message"),
    [
        (OPTIONAL, {"z": 1}, "parameter(s) provided are not required by pipeline: z"),
        ({"a": {"parameterType": "STRING"}}, {}, "parameter a is not optional, yet has neither default value nor user"),
        (OPTIONAL, {"i": "1"}, "input parameter i requires type double or integer, but the parameter value is not of number"),
        (OPTIONAL, {"i": 1.5}, "input parameter i requires type integer, but its value is 1.5"),
        (OPTIONAL, {"d": True}, "input parameter d requires type double or integer"),
        (OPTIONAL, {"s": 1}, "input parameter s requires type string"),
        (OPTIONAL, {"b": 1}, "input parameter b requires type bool"),
        (OPTIONAL, {"l": "[]"}, "input parameter l requires type list"),
        (OPTIONAL, {"t": []}, "input parameter t requires type struct"),
        ({"a": {"parameterType": "STRING"}}, {"a": None}, "input parameter a requires type string"),
        ({"a": {"parameterType": "TASK_FINAL_STATUS", "isOptional": True}}, {"a": {}}, "invalid for root component"),
        ({"a": {"parameterType": "STRING", "literals": ["x", "y"]}}, {"a": "z"}, "does not match any of the allowed literal"),
        ({"a": {"parameterType": "NUMBER_INTEGER", "literals": [1]}}, {"a": 2}, "does not match any of the allowed literal"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(declared: dict[str, Any], values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameters) as caught:
        check_runtime_parameters(pipeline(declared), values)
    assert message in str(caught.value)


def test_artifacts_cannot_be_given_to_a_run() -> None:
    root = {"inputDefinitions": {"artifacts": {"data": {}}}}
    with pytest.raises(InvalidParameters, match="artifact data is an input of the pipeline"):
        check_runtime_parameters(Package({"root": root}), {})


def test_defaults_fill_what_a_run_leaves_out() -> None:
    declared = {"a": {"parameterType": "STRING", "defaultValue": "x"}, "b": OPTIONAL["i"], "c": OPTIONAL["s"]}
    assert with_defaults(pipeline(declared), {"c": "given"}) == {"a": "x", "b": None, "c": "given"}
