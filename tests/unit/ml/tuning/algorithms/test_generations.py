"""Hyperband's rungs, the generations of population based training, and the median stopping rule."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from proa.ml.tuning.algorithms import hyperband, medianstop, pbt
from proa.ml.tuning.records import MetricPoint, Objective, Parameter, Study, TrialRecord
from support.studies import make_study, run_study

SPACE = (Parameter("x", "double", 0, 1), Parameter("epochs", "int", 1, 9))
HYPERBAND = {"r_l": "9", "eta": "3", "resource_name": "epochs"}
PBT = {"suggestion_trial_dir": "/c", "n_population": "5", "truncation_threshold": "0.4"}


def test_rungs_are_as_wide_and_as_long_as_hyperband_says() -> None:
    study = make_study(SPACE, settings=HYPERBAND, parallel=9)
    trials = run_study(hyperband, study, lambda one: float(one["x"]), budget=1000, parallel=9)
    rungs = Counter(
        (int(t.labels[hyperband.BRACKET_LABEL]), int(t.labels[hyperband.RUNG_LABEL]), t.assignments["epochs"])
        for t in trials
    )
    assert rungs == {
        (2, 0, "1"): 9,
        (2, 1, "3"): 3,
        (2, 2, "9"): 1,
        (1, 0, "3"): 5,
        (1, 1, "9"): 2,
        (0, 0, "9"): 3,
    }
    best = sorted(float(trial.assignments["x"]) for trial in trials[:9])[:3]
    assert [float(trial.assignments["x"]) for trial in trials[9:12]] == best  # promoted, the best first
    end = hyperband.suggest(dataclasses.replace(study, trials=tuple(trials)), 9, {})
    assert (end.suggested, end.has_ended) == ((), True)


def test_a_rung_waits_for_the_one_before_and_its_state_has_upstreams_names() -> None:
    study = make_study(SPACE, settings=HYPERBAND, parallel=9)
    first = hyperband.suggest(study, 20, {})
    assert len(first.suggested) == 9
    assert {
        name: first.settings[name] for name in ("s_max", "current_s", "current_i", "evaluating_trials", "n")
    } == {
        "s_max": "2",
        "current_s": "2",
        "current_i": "0",
        "evaluating_trials": "9",
        "n": "9",
    }
    running = tuple(
        TrialRecord(str(n), s.assignments, "running", None, s.labels) for n, s in enumerate(first.suggested)
    )
    ended = tuple(dataclasses.replace(trial, state="succeeded", value=1.0) for trial in running[1:])
    asked = dataclasses.replace(study, trials=(running[0], *ended), settings={**HYPERBAND, **first.settings})
    assert hyperband.suggest(asked, 9, {}).suggested == ()
    assert hyperband.check(asked) == []  # what it remembers is no unknown setting


def test_failed_trials_are_not_promoted_and_a_rung_without_any_ends_its_bracket() -> None:
    study = make_study(SPACE, settings=HYPERBAND, parallel=9)
    first = hyperband.suggest(study, 9, {}).suggested
    failed = tuple(TrialRecord(str(n), s.assignments, "failed", None, s.labels) for n, s in enumerate(first))
    after = hyperband.suggest(dataclasses.replace(study, trials=failed), 9, {})
    assert {one.labels[hyperband.BRACKET_LABEL] for one in after.suggested} == {"1"}
    one_good = (dataclasses.replace(failed[4], state="succeeded", value=2.0), *failed[:4], *failed[5:])
    (promoted,) = hyperband.suggest(dataclasses.replace(study, trials=one_good), 9, {}).suggested
    assert promoted.assignments == {**first[4].assignments, "epochs": "3"}


def generations(study: Study, count: int) -> list[TrialRecord]:
    return run_study(pbt, study, lambda one: float(one["x"]), budget=5 * count, parallel=5)


def test_the_worst_of_a_generation_go_on_from_the_best_and_the_others_explore() -> None:
    trials = generations(make_study(SPACE, settings=PBT), 3)
    by_name = {trial.name: trial for trial in trials}
    assert [trial.labels[pbt.GENERATION_LABEL] for trial in trials] == ["0"] * 5 + ["1"] * 5 + ["2"] * 5
    assert all(pbt.PARENT_LABEL not in trial.labels for trial in trials[:5])
    ranked = sorted(trials[:5], key=lambda trial: trial.value or 0)
    children = trials[5:10]
    for child in children[3:]:
        parent = by_name[child.labels[pbt.PARENT_LABEL]]
        assert parent in ranked[:2]
        assert child.assignments == parent.assignments
    for child, parent in zip(children[:3], ranked[:3], strict=True):
        assert child.labels[pbt.PARENT_LABEL] == parent.name
        ratio = float(child.assignments["x"]) / float(parent.assignments["x"])
        assert ratio == pytest.approx(0.8) or ratio == pytest.approx(1.2) or child.assignments["x"] == "1.0"


def test_a_failed_member_is_tried_again_as_it_was_before_the_next_generation() -> None:
    study = make_study(SPACE, settings=PBT)
    trials = generations(study, 1)
    trials[2] = dataclasses.replace(trials[2], state="failed", value=None)
    (again,) = pbt.suggest(dataclasses.replace(study, trials=tuple(trials)), 5, {}).suggested
    assert again.assignments == trials[2].assignments
    assert again.labels == trials[2].labels


def test_resampling_keeps_what_it_does_not_draw() -> None:
    never = generations(make_study(SPACE, settings={**PBT, "resample_probability": "0"}), 2)
    assert {trial.assignments["x"] for trial in never[5:]} <= {trial.assignments["x"] for trial in never[:5]}


def points(*values: str) -> list[MetricPoint]:
    return [MetricPoint(float(n), "accuracy", value) for n, value in enumerate(values)]


def test_the_rule_is_the_median_of_the_first_steps_means() -> None:
    study = make_study(
        trials=(
            *(TrialRecord(name, {}, "succeeded", 1.0) for name in "abc"),
            TrialRecord("d", {}, "early-stopped"),
        ),
        objective=Objective("accuracy", is_maximized=True),
    )
    reported = {
        "a": points("0.1", "0.3", "9"),
        "b": points("0.5", "nan", "0.7"),
        "c": points("0.4"),
        "d": points("0"),
    }
    settings = {"start_step": "2"}
    (rule,) = medianstop.rules(study, settings, reported)
    assert (rule.metric, rule.comparison, rule.start_step) == ("accuracy", "less", 2)
    assert float(rule.value) == pytest.approx(0.4)  # of 0.2, 0.6 and 0.4
    assert medianstop.rules(study, {"min_trials_required": "4"}, reported) == ()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_trials_required": "0"}, "min_trials_required is 0, it has to be greater or equal than 1"),
        ({"start_step": "0"}, "start_step is 0, it has to be greater or equal than 1"),
        (
            {"steps": "1"},
            "unknown setting steps for algorithm medianstop; it has: min_trials_required, start_step",
        ),
    ],
)
def test_wrong_settings_of_the_rule_are_said(settings: dict[str, str], words: str) -> None:
    assert [problem.message for problem in medianstop.check(settings)] == [words]
