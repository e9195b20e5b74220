"""Runs have succeeded or failed by the GJSON paths of their templates."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.ml.tuning.spec.experiments import COMPLETE, FAILED

from proa.ml.tuning.spec.run_conditions import check_condition, evaluate, find_reason


def condition(type: str, status: str = "True", **more: Any) -> Any:
    return {"type": type, "status": status, **more}


RUN = {
    "status": {
        "phase": "Succeeded",
        "succeeded": 1,
        "share": 0.5,
        "done": True,
        "nothing": None,
        "a.b": "dotted",
        "conditions": [
            condition("Failed", "False"),
            condition("Complete", reason="AllDone", message="well done"),
        ],
        "steps": [{"pods": [{"n": 1}, {"n": 2}]}, {"pods": [{"n": 3}]}, {}],
        "names": ["b", "a"],
    }
}
FIRST, LAST = RUN["status"]["conditions"]


@pytest.mark.parametrize(
    ("path", "holds"),
    [
        (COMPLETE, True),
        (FAILED, False),
        ("status", True),
        ("status.conditions", True),
        ("status.phase", False),
        ("status.succeeded", False),
        ("status.done", False),
        ("status.nothing", False),
    ],
)
def test_a_condition_holds_where_an_object_or_a_list_of_some_is_found(path, holds):
    assert evaluate(path, RUN) is holds


def test_what_is_found_says_why():
    assert find_reason(COMPLETE, RUN) == LAST
    assert find_reason("status.names", RUN) == {}
    assert find_reason(FAILED, RUN) is None
    assert find_reason(COMPLETE, {}) is None


BAD = {
    'status.phase=="Succeeded"': "a comparison stands in #(...)",
    "status.conditions[0].type": "an item of a list is written .0, not [0]; unexpected '[' at character 18",
    "": "a name is missing at character 1",
    "status..phase": "a name is missing at character 8",
    "status.": "a name is missing",
    "status.phase ": "unexpected ' '",
    '{.status.conditions[?(@.type=="Complete")]}': "a name is missing",
    'status.conditions.#(type=="Complete"': "')' or a comparison is missing",
    'status.conditions.#(type=="Complete)#': "'\"' has no end at character 27",
    'status.conditions.#(type=="Complete")x': "'.' or '|' is missing",
    "status.conditions.#(type==~true)": "comparisons with ~ are not known",
    "status.conditions.#x": "unexpected 'x'",
    "status.@tostr": "modifiers are @this, ",
    "status.@flatten:{}": "without arguments",
    "[status.phase": "']' is missing",
    "status.]": "unexpected ']'",
    "a" * 5000: "longer than 4096 characters",
    "a.#(" * 30: "deeper than 20 levels",
}


@pytest.mark.parametrize(("path", "words"), BAD.items(), ids=[path[:30] for path in BAD])
def test_what_would_never_be_found_is_refused_with_words_that_say_where(path, words):
    (problem,) = check_condition(path, "spec.trialTemplate.failureCondition")
    assert problem.field == "spec.trialTemplate.failureCondition"
    assert words in problem.message
