"""How a revision is scaled, as its Deployment's annotations say, and what is wrong with them."""

from __future__ import annotations

import pytest

from proa.ml.serving.kinds import CONTAINER_CONCURRENCY, ROUTING_STATE, TIMEOUT_SECONDS
from proa.ml.serving.scaling.annotations import (
    HPA,
    KPA,
    ScalingSpec,
    initial_replicas,
    parse_duration,
    read_scaling,
    scaling_annotations,
)
from proa.ml.serving.scaling.checks import check_annotations

G = "autoscaling.knative.dev/"


def read(**said: str) -> ScalingSpec:
    annotations = {G + key.replace("_", "-"): value for key, value in said.items()}
    return read_scaling({"metadata": {"annotations": annotations}})


def test_without_annotations_a_revision_is_scaled_by_knatives_defaults() -> None:
    spec = read()
    assert spec == ScalingSpec()
    assert (spec.target, spec.total, spec.stable_seconds, spec.panic_seconds) == (70, 100, 60, 6)
    assert (spec.panic_threshold, spec.max_up_rate, spec.max_down_rate) == (2, 1000, 2)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"metric": "rps"}, {"metric": "rps", "total": 200, "target": 140}),
        ({"target": "10"}, {"total": 10, "target": 7}),
        ({"target": "10", "target_utilization_percentage": "100"}, {"total": 10, "target": 10}),
        ({"target": "0.01", "target_utilization_percentage": "1"}, {"target": 0.01}),
        ({"window": "6s"}, {"stable_seconds": 6, "panic_seconds": 1}),
        ({"window": "2m", "panic_window_percentage": "20"}, {"stable_seconds": 120, "panic_seconds": 24}),
        ({"window": "5s"}, {"stable_seconds": 60}),
        ({"panic_threshold_percentage": "110"}, {"panic_threshold": 1.1}),
        ({"min_scale": "2", "max_scale": "5"}, {"min_scale": 2, "max_scale": 5}),
        ({"min_scale": "a lot"}, {"min_scale": 0}),
        ({"initial_scale": "3"}, {"initial_scale": 3}),
        ({"activation_scale": "4"}, {"activation_scale": 4}),
        ({"scale_down_delay": "1m30s"}, {"down_delay_seconds": 90}),
        ({"scale_to_zero_pod_retention_period": "1h"}, {"retention_seconds": 3600}),
        ({"target_burst_capacity": "-1"}, {"burst_capacity": -1}),
        ({"class": HPA, "metric": "cpu"}, {"is_ours": False}),
        ({"class": "mine.example.com"}, {"is_ours": False}),
    ],
    ids=str,
)
def test_each_annotation_is_read(said: dict[str, str], expected: dict[str, object]) -> None:
    spec = read(**said)
    for field, value in expected.items():
        assert getattr(spec, field) == pytest.approx(value)


def test_no_pod_should_have_more_requests_than_it_answers_at_once() -> None:
    annotations = {CONTAINER_CONCURRENCY: "4", G + "target": "50", TIMEOUT_SECONDS: "60"}
    spec = read_scaling({"metadata": {"annotations": annotations}})
    assert (spec.container_concurrency, spec.total, spec.timeout_seconds) == (4, 4, 60)
    assert spec.target == pytest.approx(2.8)


def test_what_no_address_leads_to_may_go_whatever_its_least_scale_is() -> None:
    deployment = {
        "metadata": {"labels": {ROUTING_STATE: "reserve"}, "annotations": {G + "min-scale": "2"}},
    }
    assert read_scaling(deployment).min_scale == 0


@pytest.mark.parametrize(
    ("said", "replicas"),
    [
        ({}, 1),
        ({"initial_scale": "3"}, 3),
        ({"min_scale": "2"}, 2),
        ({"initial_scale": "5", "max_scale": "4"}, 4),
    ],
)
def test_a_new_revision_begins_with_its_initial_scale(said: dict[str, str], replicas: int) -> None:
    assert initial_replicas(read(**said)) == replicas


def test_only_what_has_room_to_move_is_scaled_by_load() -> None:
    assert not read(min_scale="2", max_scale="2").can_change
    assert read(min_scale="2").can_change


def test_a_components_fields_become_annotations_as_kserve_has_them() -> None:
    extension = {"minReplicas": 0, "maxReplicas": 4, "scaleTarget": 5, "scaleMetric": "rps", "timeout": 30}
    made = scaling_annotations(extension, {G + "window": "10s", "other": "no"})
    assert made == {
        G + "class": KPA,
        G + "window": "10s",
        G + "target": "5",
        G + "metric": "rps",
        G + "min-scale": "0",
        G + "max-scale": "4",
        TIMEOUT_SECONDS: "30",
    }
    assert scaling_annotations({}, {})[G + "min-scale"] == "1"
    assert scaling_annotations({"scaleMetric": "cpu"}, {})[G + "class"] == HPA


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"min-scale": "-1"}, "expected 0 <= -1 <= 2147483647: autoscaling.knative.dev/min-scale"),
        ({"min-scale": "x"}, "invalid value: x: autoscaling.knative.dev/min-scale"),
        ({"min-scale": "3", "max-scale": "2"}, "max-scale=2 is less than min-scale=3"),
        ({"window": "5s"}, "expected 6s <= 5s <= 1h0m0s"),
        ({"window": "6500ms"}, "must be specified with at most second precision"),
        ({"target": "0"}, "target 0 should be at least 0.01"),
        ({"metric": "cpu"}, "invalid value: cpu: autoscaling.knative.dev/metric"),
        ({"activation-scale": "1"}, "activation-scale=1 must be greater than 1"),
        ({"activation-scale": "2", "min-scale": "3"}, "min-scale=3 is greater than activation-scale=2"),
        ({"panic-window-percentage": "101"}, "expected 1 <= 101 <= 100"),
        ({"target-burst-capacity": "-2"}, "invalid value: -2"),
        ({"initial-scale": "0"}, "invalid value: 0"),
        ({"class": "new.autoscaling.knative.dev"}, "invalid value: new.autoscaling.knative.dev"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_knatives_words(said: dict[str, str], words: str) -> None:
    (found,) = check_annotations({G + key: value for key, value in said.items()})
    assert words in found


def test_nothing_is_wrong_with_good_ones() -> None:
    said = {
        "min-scale": "0",
        "max-scale": "4",
        "window": "1m",
        "target": "0.5",
        "class": KPA,
        "metric": "rps",
    }
    assert check_annotations({G + key: value for key, value in said.items()}) == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25), ("-2s", -2), ("0", 0), (".5s", 0.5)]
)
def test_durations_are_gos(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "--5s", "5sx"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        parse_duration(text)
