from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proa.ml.tuning.collector import reading, wire

MARKER = "proa-metrics-0123"
times = st.floats(0, 4e9, allow_nan=False)
points = st.lists(st.tuples(times, st.text(max_size=20)), max_size=450)


def make_pod(
    message: str, *, state: str = "terminated", phase: str = "Succeeded", **ended: Any
) -> dict[str, Any]:
    args = [f"marker={MARKER}", "metric=accuracy", "metric=loss"]
    container = {"name": "metrics-logger-and-collector", "args": args}
    how = {"message": message, "exitCode": 0, **ended}
    status = {
        "name": container["name"],
        **(
            {"state": {"terminated": how}}
            if state == "terminated"
            else {"state": {state: {}}, "lastState": {"terminated": how}}
        ),
    }
    return {
        "spec": {"initContainers": [{"name": "other"}, container]},
        "status": {"phase": phase, "initContainerStatuses": [{"name": "other"}, status]},
    }


def make_message(**told: Any) -> str:
    return json.dumps({"outcome": "succeeded", "message": "", "lines": 1, "metrics": {}, **told})


@given(points, st.text(max_size=50))
def test_points_are_read_as_they_were_told_whatever_stands_around_them(told: list[Any], noise: str) -> None:
    log = noise + "\n" + "".join(wire.encode_points(MARKER, {"accuracy": told}))
    assert wire.decode_lines(MARKER, log).get("accuracy", []) == told


@given(st.lists(st.one_of(st.text(), st.just(f"{MARKER} {{"), st.just(f'{MARKER} {{"metric": 3}}'))))
def test_any_text_in_a_log_is_read_without_a_fault(lines: list[str]) -> None:
    wire.decode_lines(MARKER, "\n".join(lines))
    wire.decode_message("\n".join(lines))


@given(st.text(max_size=6000), st.integers(0, 60))
def test_a_message_is_never_longer_than_what_a_kubelet_keeps(words: str, metrics: int) -> None:
    extremes = {f"metric-{i}": {"latest": (1e9, "0.5"), "min": (1e9, "0.1")} for i in range(metrics)}
    text = wire.encode_message(wire.SUCCEEDED, words, 3, extremes)
    told = wire.decode_message(text)
    assert len(text.encode()) <= 4096
    assert told is not None
    assert told["outcome"] == wire.SUCCEEDED


def test_a_line_of_the_trainings_that_looks_like_ours_is_not_believed() -> None:
    forged = 'proa-metrics-9999 {"metric":"accuracy","times":[1],"values":["1.0"]}\n'
    told = reading.find(make_pod(make_message(lines=2)))
    assert told is not None
    assert reading.read(told, forged).points == ()


def test_a_report_has_the_points_of_the_log_and_the_metrics_that_were_asked_for() -> None:
    told = reading.find(make_pod(make_message(lines=1)))
    assert told is not None
    log = "".join(
        wire.encode_points(MARKER, {"accuracy": [(1.0, "0.5"), (2.0, "0.6")], "other": [(1.0, "1")]})
    )
    report = reading.read(told, log)
    assert report.outcome == "succeeded"
    assert [(p.time, p.metric, p.value) for p in report.points] == [
        (1.0, "accuracy", "0.5"),
        (2.0, "accuracy", "0.6"),
    ]
    assert report.is_complete


def test_a_log_that_was_rotated_costs_no_point_that_an_observation_needs() -> None:
    extremes = {"accuracy": {"min": (1.0, "0.1"), "max": (3.0, "0.9"), "latest": (4.0, "0.8")}}
    told = reading.find(make_pod(make_message(metrics=extremes)))
    assert told is not None
    log = "".join(wire.encode_points(MARKER, {"accuracy": [(4.0, "0.8")]}))
    report = reading.read(told, log)
    assert [p.value for p in report.points] == ["0.1", "0.9", "0.8"]
    assert not report.is_complete


def test_a_collector_that_was_killed_is_told_of_with_its_reason() -> None:
    told = reading.find(make_pod("", reason="OOMKilled", exitCode=137))
    assert told is not None
    assert told.outcome == "crashed"
    assert "OOMKilled" in told.message
    assert "katib-config" in told.message


def test_nothing_is_told_while_the_collector_runs_or_starts_again() -> None:
    assert reading.find(make_pod(make_message(), state="running", phase="Running")) is None
    assert reading.find(make_pod(make_message(), state="waiting", phase="Running")) is None
    assert reading.find(make_pod(make_message(), state="waiting", phase="Failed")) is not None
    assert reading.find(make_pod("", reason="OOMKilled", exitCode=137, phase="Running")) is None
    assert reading.find(make_pod(make_message(), phase="Running")) is not None, "it has told all"
    assert reading.find({"spec": {"containers": []}, "status": {}}) is None
