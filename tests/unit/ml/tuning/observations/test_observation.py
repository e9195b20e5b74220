"""What a trial's observation is."""

import pytest

from proa.ml.tuning.observations.observation import (
    is_available,
    make_observation,
    number,
    objective_value,
    value_of,
)
from proa.ml.tuning.records import MetricPoint, Objective

OBJECTIVE = Objective(
    "loss", is_maximized=False, additional=("accuracy",), strategies={"loss": "min", "accuracy": "max"}
)


def make_points(**values: str) -> list[MetricPoint]:
    return [
        MetricPoint(float(time), metric, value)
        for metric, text in values.items()
        for time, value in enumerate(text.split())
    ]


def test_each_metric_has_its_least_greatest_and_latest_value_as_written():
    observation = make_observation(OBJECTIVE, make_points(loss="0.30 1e-1 0.20", accuracy="7", other="1"))
    assert observation == {
        "metrics": [
            {"name": "loss", "min": "1e-1", "max": "0.30", "latest": "0.20"},
            {"name": "accuracy", "min": "7", "max": "7", "latest": "7"},
        ]
    }
    assert value_of(OBJECTIVE, observation) == "1e-1"
    assert value_of(OBJECTIVE, observation, "accuracy") == "7"
    assert objective_value(OBJECTIVE, observation) == 0.1


def test_a_trial_that_told_nothing_has_no_observation():
    assert make_observation(OBJECTIVE, []) is None
    assert not is_available(OBJECTIVE, None)
    assert value_of(OBJECTIVE, None) == "unavailable"
    assert objective_value(OBJECTIVE, None) is None


def test_a_metric_that_was_not_told_is_unavailable():
    observation = make_observation(OBJECTIVE, make_points(accuracy="0.5"))
    assert observation is not None
    assert observation["metrics"][0] == {
        "name": "loss",
        "min": "unavailable",
        "max": "unavailable",
        "latest": "unavailable",
    }
    assert not is_available(OBJECTIVE, observation)


def test_what_is_no_number_is_latest_only_and_no_value_for_an_algorithm():
    observation = make_observation(OBJECTIVE, make_points(loss="good"))
    assert observation is not None
    assert observation["metrics"][0] == {
        "name": "loss",
        "min": "unavailable",
        "max": "unavailable",
        "latest": "good",
    }
    assert is_available(OBJECTIVE, observation)
    assert value_of(OBJECTIVE, observation) == "good"
    assert objective_value(OBJECTIVE, observation) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1.0),
        ("-.5e3", -500.0),
        ("+2.", 2.0),
        ("1E+10", 1e10),
        ("inf", float("inf")),
        ("nan", None),
        ("1_0", None),
        (" 1", None),
        ("٣", None),
        ("", None),
        (".", None),
    ],
)
def test_numbers_are_what_upstream_reads_as_such(text, expected):
    assert number(text) == expected
