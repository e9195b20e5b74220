"""What an experiment needs: never more trials than it may have, and an end that is right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.ml.tuning.kinds import UNAVAILABLE
from proa.ml.tuning.operator.experiment_plan import Plan, plan
from proa.ml.tuning.operator.tally import ACTIVE, State, Summary, tally
from proa.ml.tuning.records import Objective
from proa.objects import meta

NOW = 1_750_000_000.0
OBJECTIVE = Objective("score", is_maximized=True, goal=100.0, strategies={"score": "max"})
ENDS: list[State] = ["succeeded", "failed", "killed", "early-stopped", "metrics-unavailable"]


def make_experiment(**spec: Any) -> dict[str, Any]:
    algorithm = {"algorithmName": "random"}
    spec = {
        "algorithm": algorithm,
        "parallelTrialCount": 2,
        "maxTrialCount": 4,
        "resumePolicy": "Never",
    } | spec
    return {"metadata": {"name": "e", "uid": "u", "annotations": {}}, "spec": spec}


def make_summary(name: str, state: State, value: str = UNAVAILABLE) -> Summary:
    metric = {"name": "score", "min": value, "max": value, "latest": value}
    trial = {
        "metadata": {"name": name},
        "spec": {"parameterAssignments": []},
        "status": {"observation": {"metrics": [metric]}},
    }
    return Summary(name, state, value, name, trial, is_deleting=False)


def make_suggestion(*names: str, requests: int = 0, **status: Any) -> dict[str, Any]:
    assigned = [{"name": name, "parameterAssignments": []} for name in names]
    return {
        "metadata": {"name": "e"},
        "spec": {"requests": requests},
        "status": {"suggestions": assigned, **status},
    }


def decide(
    experiment: dict[str, Any],
    states: dict[str, State],
    suggestion: dict[str, Any] | None,
    value: str = UNAVAILABLE,
) -> Plan:
    trials = {name: make_summary(name, state, value) for name, state in states.items()}
    return plan(experiment, OBJECTIVE, trials, suggestion, NOW)


def ended(decided: Plan) -> str:
    last = decided.status["conditions"][-1]
    return f"{last['type']} {last['reason']}" if last["type"] in ("Succeeded", "Failed") else ""


def test_a_new_experiment_asks_for_as_many_as_may_run():
    decided = decide(make_experiment(), {}, None)
    assert (decided.requests, decided.create, decided.delete) == (2, [], ())
    assert decided.status["startTime"] == meta.format_time(NOW)
    assert [c["type"] for c in decided.status["conditions"]] == ["Created", "Running"]


@pytest.mark.parametrize(
    ("states", "names", "requests", "create"),
    [
        ({}, "ab", None, ["a", "b"]),
        ({"a": "running"}, "ab", None, ["b"]),
        ({"a": "running", "b": "pending"}, "ab", None, []),
        ({"a": "succeeded", "b": "running"}, "ab", 3, []),
        ({"a": "succeeded", "b": "failed", "c": "killed"}, "abc", 4, []),
        ({"a": "running"}, "abc", None, ["b"]),
        ({"b": "succeeded"}, "ab", 3, ["a"]),
    ],
    ids=["none made", "one made", "all run", "one over", "one left", "too many are known", "one was deleted"],
)
def test_assignments_without_trials_come_before_new_ones(
    states: dict[str, State], names: str, requests: int | None, create: list[str]
):
    decided = decide(make_experiment(), states, make_suggestion(*names, requests=len(names)))
    assert decided.requests == requests
    assert [entry["name"] for entry in decided.create] == create


@pytest.mark.parametrize(
    ("spec", "states", "value", "end"),
    [
        ({}, dict.fromkeys("abcd", "succeeded"), "1", "Succeeded ExperimentMaxTrialsReached"),
        ({}, dict.fromkeys("abc", "succeeded"), "1", ""),
        ({}, {"a": "running"}, "100", "Succeeded ExperimentGoalReached"),
        (
            {"maxFailedTrialCount": 2},
            {"a": "failed", "b": "metrics-unavailable"},
            "",
            "Failed ExperimentFailed",
        ),
        ({"maxFailedTrialCount": 0}, {"a": "running"}, "", ""),
        ({"maxFailedTrialCount": 4}, dict.fromkeys("abcd", "failed"), "", "Failed ExperimentFailed"),
        ({"maxTrialCount": None}, dict.fromkeys("abcdefgh", "succeeded"), "1", ""),
    ],
    ids=["max", "not yet", "goal", "max failed", "no failure", "failed comes first", "no max"],
)
def test_an_experiment_ends(spec: dict[str, Any], states: dict[str, State], value: str, end: str):
    decided = decide(make_experiment(**spec), states, make_suggestion(*states), value or UNAVAILABLE)
    assert ended(decided) == end
    assert ("completionTime" in decided.status) == bool(end)


def test_an_algorithm_that_has_no_more_ends_it_once_all_trials_are_over():
    done = [{"type": "Succeeded", "status": "True", "reason": "SuggestionEndReached"}]
    suggestion = make_suggestion("a", "b", requests=4, conditions=done)
    assert ended(decide(make_experiment(), {"a": "succeeded"}, suggestion)) == ""
    assert ended(decide(make_experiment(), {"a": "succeeded", "b": "running"}, suggestion)) == ""
    over = decide(make_experiment(), {"a": "succeeded", "b": "failed"}, suggestion)
    assert ended(over) == "Succeeded ExperimentSuggestionEndReached"


def test_the_newest_trials_end_where_too_many_run():
    states: dict[str, State] = {"a": "running", "b": "succeeded", "c": "running", "d": "pending"}
    decided = decide(make_experiment(parallelTrialCount=1), states, make_suggestion("a", "b", "c", "d"))
    assert decided.delete == ["c", "d"]


@pytest.mark.parametrize(
    ("values", "is_maximized", "best"),
    [
        (["1", "3", "2"], True, "b"),
        (["1", "3", "0.5"], False, "c"),
        (["nan", "2", UNAVAILABLE], True, "b"),
        (["up", "down", UNAVAILABLE], True, "b"),
        ([UNAVAILABLE], True, None),
    ],
)
def test_the_best_trial(values: list[str], is_maximized: bool, best: str | None):
    summaries = [make_summary("abc"[i], "succeeded", value) for i, value in enumerate(values)]
    found = tally(summaries, Objective("score", is_maximized=is_maximized)).best
    assert (meta.name(found) if found else None) == best


@settings(max_examples=60, deadline=None)
@given(data=st.data(), parallel=st.integers(1, 4), most=st.integers(1, 8))
def test_whatever_happens_no_more_trials_run_than_may_and_all_are_counted(
    data: st.DataObject, parallel: int, most: int
):
    """The world answers late, trials end in any order, some are deleted, and parallel trials change."""
    experiment = make_experiment(parallelTrialCount=parallel, maxTrialCount=most)
    trials: dict[str, State] = {}
    names: list[str] = []
    requests: int | None = None
    for _ in range(400):
        suggestion = None if requests is None else make_suggestion(*names, requests=requests)
        decided = decide(experiment, trials, suggestion)
        experiment = {**experiment, "status": decided.status}
        if ended(decided):
            break
        for name in decided.delete:
            del trials[name]
        requests = decided.requests or requests
        trials.update({entry["name"]: "pending" for entry in decided.create})
        active = [name for name, state in trials.items() if state in ACTIVE]
        assert len(active) <= experiment["spec"]["parallelTrialCount"]
        assert len(trials) <= most
        assert len(names) <= most
        assert requests is None or requests <= most
        event = data.draw(
            st.sampled_from(["suggest", "suggest", "end", "end", "start", "delete", "parallel"])
        )
        if event == "suggest" and requests is not None:
            names += [f"t{number:02}" for number in range(len(names), requests)]
        elif event == "parallel":
            count = data.draw(st.integers(1, 4))
            experiment = {**experiment, "spec": {**experiment["spec"], "parallelTrialCount": count}}
        elif active:
            name = data.draw(st.sampled_from(active))
            if event == "delete":
                del trials[name]
            elif event != "suggest":
                trials[name] = "running" if event == "start" else data.draw(st.sampled_from(ENDS))
    status = decided.status
    lists = [name for field, value in status.items() if field.endswith("TrialList") for name in value]
    assert sorted(lists) == sorted(trials)
    assert status.get("trials", 0) == len(trials)
