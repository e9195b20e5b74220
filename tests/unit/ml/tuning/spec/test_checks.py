"""What the operator says of an experiment before it makes anything."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.unit.ml.tuning.spec.experiments import (
    COMPLETE,
    FAILED,
    GONE,
    changed,
    make_experiment,
    make_job,
)
from tests.unit.ml.tuning.spec.test_definitions import BAD, GOOD

from proa.ml.tuning.spec.checks import check_experiment

FIELD = "spec.trialTemplate"
PARAMETERS = f"{FIELD}.trialParameters"
ELSEWHERE = {
    "trialTemplate__trialSpec": GONE,
    "trialTemplate__configMap": {"configMapName": "c", "configMapNamespace": "n", "templatePath": "p"},
    "trialTemplate__successCondition": COMPLETE,
    "trialTemplate__failureCondition": FAILED,
}


def problems_of(changes: dict[str, Any], text: str | None = None) -> list[str]:
    experiment = make_experiment(**changes)
    before = copy.deepcopy(experiment)
    found = check_experiment(experiment, text)
    assert experiment == before
    return [f"{problem.field}: {problem.message}" for problem in found]


@pytest.mark.parametrize("changes", [{}, *GOOD.values()], ids=["as it is", *GOOD])
def test_a_good_experiment_has_no_problems(changes):
    changes = dict(changes)
    if any("trialSpec." in p["reference"] for p in changes.get("trialTemplate__trialParameters", ())):
        changes["trialTemplate__trialSpec"] = make_job("${trialParameters.rate}", "${trialParameters.me}")
    if "nasConfig" in changes:
        changes["trialTemplate__trialSpec"] = make_job("${trialParameters.space}")
    assert problems_of(changes) == []


@pytest.mark.parametrize(("changes", "words"), BAD.values(), ids=BAD)
def test_what_the_api_server_refuses_is_told_where_its_definition_is_another(changes, words):
    assert words in "; ".join(problems_of(changes))


TOLD: dict[str, tuple[dict[str, Any], str]] = {
    "a condition that finds nothing": (
        {"trialTemplate__successCondition": "status.succeeded==1"},
        f"{FIELD}.successCondition: is no GJSON path that can be followed: a comparison stands in #(...)",
    ),
    "a placeholder without a value": (
        {"trialTemplate__trialSpec": make_job("${trialParameters.rate}", "${trialParameters.depth}")},
        f"{FIELD}: parameters: depth in spec.trialTemplate not found in spec.trialParameters",
    ),
    "a value without a placeholder": (
        {"trialTemplate__trialSpec": make_job("train")},
        f"{PARAMETERS}[0].name: parameter name: rate in spec.trialParameters not found in spec.trialTemplate: write "
        "${trialParameters.rate} in it",
    ),
    "a label that is not there": (
        {
            "trialTemplate__trialSpec": make_job("${trialParameters.rate}", "${trialParameters.x}"),
            "trialTemplate__trialParameters": [
                {"name": "rate", "reference": "lr"},
                {"name": "x", "reference": "${trialSpec.Labels[x]}"},
            ],
        },
        f"{PARAMETERS}[1].reference: illegal reference of trial metadata: ${{trialSpec.Labels[x]}}",
    ),
    "a filter that cannot be read": (
        {"metricsCollectorSpec": {"source": {"filter": {"metricsFormat": ["(a)(b"]}}}},
        "spec.metricsCollectorSpec.source.filter.metricsFormat",
    ),
    "groups that are no groups": (
        {"metricsCollectorSpec": {"source": {"filter": {"metricsFormat": [r"\(a\)(?:b)(c)"]}}}},
        "spec.metricsCollectorSpec.source.filter.metricsFormat[0]: two top subexpressions are required",
    ),
    "a strategy for another metric": (
        {"objective__metricStrategies": [{"name": "los", "value": "min"}]},
        "spec.objective.metricStrategies[0].name: los is no metric of spec.objective: accuracy",
    ),
    "a network of nothing": (
        {"parameters": GONE, "nasConfig": {"graphConfig": {"numLayers": 1}}},
        "spec.nasConfig.operations: must have an operation at least",
    ),
}


@pytest.mark.parametrize(("changes", "words"), TOLD.values(), ids=TOLD)
def test_what_no_rule_can_tell_is_told(changes, words):
    assert words in "; ".join(problems_of(changes))


GOOD_TEXT = "apiVersion: batch/v1\nkind: Job\nspec: {lr: ${trialParameters.rate}}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ""),
        (GOOD_TEXT, ""),
        (
            "spec: {lr: ${trialParameters.rate}}",
            "APIVersion and Kind in spec.trialTemplate must be specified",
        ),
        (
            GOOD_TEXT + "metadata: {name: x}\n",
            "metadata.name and metadata.namespace in spec.trialTemplate must be",
        ),
        (GOOD_TEXT + "metadata: x\n", "metadata in spec.trialTemplate must be an object"),
        ("just words", "must be an object with apiVersion and kind, not a text"),
        (GOOD_TEXT.replace("rate", "tare"), "parameter name: rate in spec.trialParameters not found"),
    ],
)
def test_a_template_of_a_config_map_is_looked_at_when_it_is_known(text, words):
    found = problems_of(ELSEWHERE, text)
    assert words in "; ".join(found) if words else found == []


@pytest.mark.parametrize("wrong", ["x", 1, [], ["x"], [1], {}, None])
@pytest.mark.parametrize(
    "place",
    [
        "spec",
        *(
            f"spec__{path}"
            for path in (
                "parameters",
                "parameters__0",
                "parameters__0__feasibleSpace",
                "objective",
                "objective__metricStrategies",
                "algorithm",
                "earlyStopping",
                "trialTemplate",
                "trialTemplate__trialParameters",
                "trialTemplate__trialSpec",
                "trialTemplate__trialSpec__metadata",
                "trialTemplate__configMap",
                "metricsCollectorSpec",
                "metricsCollectorSpec__source",
                "nasConfig",
            )
        ),
    ],
)
def test_anything_at_all_is_a_problem_and_no_crash(place, wrong):
    check_experiment(changed(make_experiment(), {place: wrong}))
