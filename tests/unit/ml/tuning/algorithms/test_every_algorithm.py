"""What holds for every algorithm: feasible, complete, repeatable, whatever the trials came to."""

from __future__ import annotations

import dataclasses
import math
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proa.ml.tuning.algorithms import ALGORITHMS
from proa.ml.tuning.algorithms.registry import find_algorithm
from proa.ml.tuning.algorithms.space import Space
from proa.ml.tuning.records import Objective, Parameter, Study, TrialRecord, TrialState
from support.studies import MIXED, make_study, make_trial, run_study

STATES: tuple[TrialState, ...] = (
    "running",
    "succeeded",
    "early-stopped",
    "failed",
    "killed",
    "metrics-unavailable",
)
SETTINGS = {
    "hyperband": {"r_l": "9", "eta": "3", "resource_name": "layers"},
    "pbt": {"suggestion_trial_dir": "/c", "n_population": "5", "truncation_threshold": "0.4"},
}
MODELS = ("tpe", "multivariate-tpe", "bayesianoptimization", "cmaes")


def study_for(name: str, trials: tuple[TrialRecord, ...] = (), **changes: Any) -> Study:
    space = tuple(p for p in MIXED if name != "grid" or p.name != "lr")
    return make_study(space, trials, SETTINGS.get(name), **{"parallel": 9, **changes})


def expect_feasible(study: Study, assignments: dict[str, str], resource: str = "") -> None:
    assert list(assignments) == [parameter.name for parameter in study.parameters]
    for parameter in study.parameters:
        text = assignments[parameter.name]
        if parameter.values:
            assert text in parameter.values
        elif parameter.name != resource:
            assert parameter.minimum <= float(text) <= parameter.maximum
            steps = (float(text) - parameter.minimum) / (parameter.step or 1)
            assert not parameter.step or steps == pytest.approx(round(steps), abs=1e-9)
            assert parameter.type != "int" or text == str(int(text))


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, TrialState, float | None]]:
    values = st.one_of(st.none(), st.floats(), st.sampled_from([math.inf, -math.inf, math.nan, 1e300, 0.0]))
    return draw(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(STATES), values), max_size=40))


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(history=histories(), count=st.integers(1, 4))
def test_suggestions_are_feasible_and_repeatable_whatever_trials_came_to(
    name: str, history: list[tuple[int, TrialState, float | None]], count: int
) -> None:
    algorithm, empty = find_algorithm(name), study_for(name)
    first = algorithm.suggest(empty, 1, {}).suggested[0].labels
    drawn = [(Space(empty.parameters).draw(Random(number)), state, value) for number, state, value in history]
    trials = tuple(
        TrialRecord(f"t{n}", values, state, value, first) for n, (values, state, value) in enumerate(drawn)
    )
    study = study_for(name, trials)

    found = algorithm.suggest(study, count, {})

    assert len(found.suggested) <= count
    for one in found.suggested:
        expect_feasible(study, dict(one.assignments), study.settings.get("resource_name", ""))
    assert algorithm.suggest(study, count, {}) == found


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_experiment_goes_on_alike_with_and_without_its_memory(name: str) -> None:
    algorithm = find_algorithm(name)
    study = study_for(name, objective=Objective("accuracy", is_maximized=True))
    memory: dict[str, Any] = {}
    trials: list[TrialRecord] = []
    for number in range(24):
        asked = dataclasses.replace(study, trials=tuple(trials))
        kept, fresh = algorithm.suggest(asked, 2, memory), algorithm.suggest(asked, 2, {})
        assert kept == fresh
        for one in kept.suggested:
            trials.append(TrialRecord(f"t{len(trials)}", one.assignments, "running", None, one.labels))
        running = [index for index, trial in enumerate(trials) if trial.state == "running"]
        for index in running[: 1 + number % 3]:  # some end, the last first now and then
            trials[index] = dataclasses.replace(trials[index], state="succeeded", value=float(index % 7))
    assert len(trials) >= 6


@pytest.mark.parametrize("name", sorted(set(ALGORITHMS) - {"hyperband", "pbt"}))
def test_trials_side_by_side_do_not_collide(name: str) -> None:
    study = study_for(name)
    trials = run_study(find_algorithm(name), study, lambda _: 1.0, budget=14)
    together = find_algorithm(name).suggest(dataclasses.replace(study, trials=tuple(trials)), 8, {}).suggested
    assert len({tuple(one.assignments.items()) for one in together}) == 8


@pytest.mark.parametrize("name", MODELS)
def test_a_small_space_is_tried_to_its_end_before_much_is_repeated(name: str) -> None:
    space = (Parameter("a", "int", 1, 3), Parameter("b", "int", 1, 4))
    trials = run_study(find_algorithm(name), make_study(space), lambda one: float(one["a"]), budget=12)
    assert len({tuple(trial.assignments.items()) for trial in trials}) >= (12 if name != "cmaes" else 10)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_random_state_makes_two_experiments_alike_and_another_one_different(name: str) -> None:
    def first(seed: int, **given: str) -> Any:
        study = study_for(name, key=f"default/{seed}", seed=seed)
        return (
            find_algorithm(name)
            .suggest(dataclasses.replace(study, settings={**study.settings, **given}), 3, {})
            .suggested
        )

    assert first(1, random_state="5") == first(2, random_state="5")
    assert first(1, random_state="5") != first(1, random_state="6")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_good_settings_have_no_problem_and_unknown_ones_are_named(name: str) -> None:
    study = study_for(name)
    assert list(find_algorithm(name).check(study)) == []
    (problem,) = find_algorithm(name).check(
        dataclasses.replace(study, settings={**study.settings, "magic": "1"})
    )
    assert problem.message.startswith(f"unknown setting magic for algorithm {name}; it has: ")


@pytest.mark.parametrize("estimator", ["RF", "ET", "GBRT"])
def test_trees_find_a_valley_too(estimator: str) -> None:
    space = (Parameter("x", "double", -1, 1), Parameter("kind", "categorical", values=("bad", "good")))
    study = make_study(
        space, seed=8, settings={"base_estimator": estimator, "acq_func": "EI", "n_initial_points": "5"}
    )
    loss = lambda one: float(one["x"]) ** 2 + (one["kind"] == "bad")  # noqa: E731
    trials = run_study(find_algorithm("bayesianoptimization"), study, loss, budget=7)
    assert min(trial.value for trial in trials if trial.value is not None) < 0.5


@pytest.mark.parametrize("strategy", ["none", "ipop", "bipop"])
def test_cmaes_goes_on_after_it_has_converged(strategy: str) -> None:
    space = (Parameter("x", "double", 0, 1), Parameter("y", "double", 0, 1))
    study = make_study(space, settings={"restart_strategy": strategy, "sigma": "0.2"})
    trials = run_study(find_algorithm("cmaes"), study, lambda one: round(float(one["x"]), 2), budget=400)
    assert min(trial.value for trial in trials if trial.value is not None) < 0.05


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        (
            "cmaes",
            {"parameters": (Parameter("x", "double", 0, 1),)},
            "cmaes only supports two or more dimensional",
        ),
        (
            "cmaes",
            {"settings": {"restart_strategy": "x"}},
            "restart_strategy x is not supported; it is one of none",
        ),
        (
            "bayesianoptimization",
            {"settings": {"acq_func": "EIps"}},
            "acq_func EIps is not supported: a trial does not",
        ),
        (
            "bayesianoptimization",
            {"settings": {"base_estimator": "NN"}},
            "base_estimator NN is not supported; it is one",
        ),
        ("tpe", {"settings": {"gamma": "1"}}, "gamma is 1, it has to be less than 1"),
        ("hyperband", {"settings": {"r_l": "9"}}, "resource_name must be set for algorithm hyperband"),
        (
            "hyperband",
            {"parallel": 8},
            "parallelTrialCount must be not less than 9; or set r_l less, or eta more",
        ),
        (
            "hyperband",
            {"settings": {"r_l": "9", "resource_name": "x"}},
            "value of resource_name setting must be in param",
        ),
        (
            "pbt",
            {"settings": {"n_population": "4"}},
            "n_population is 4, it has to be greater or equal than 5",
        ),
        (
            "pbt",
            {"settings": {}},
            "suggestion_trial_dir and n_population and truncation_threshold must be set",
        ),
    ],
)
def test_what_an_algorithm_cannot_do_is_said_with_what_would_work(
    name: str, changes: dict, words: str
) -> None:
    problems = find_algorithm(name).check(dataclasses.replace(study_for(name), **changes))
    assert problems[0].message.startswith(words)


def test_values_that_are_not_numbers_are_not_known() -> None:
    good = make_trial(0, {"x": "0.1"}, 1.0)
    odd = [
        make_trial(n, {"x": "0.9"}, value, "succeeded") for n, value in enumerate([math.nan, -math.inf, None])
    ]
    space = (Parameter("x", "double", 0, 1),)
    from proa.ml.tuning.algorithms.history import History

    history = History(make_study(space))
    history.update((good, *odd))
    assert history.known.tolist() == [True, False, False, False]


def test_hundreds_side_by_side_are_suggested_and_differ() -> None:
    algorithm, space = find_algorithm("bayesianoptimization"), (Parameter("x", "double", 0, 1), MIXED[0])
    study = make_study(space, settings={"n_initial_points": "2"})
    trials = run_study(algorithm, study, lambda one: float(one["x"]), budget=4)
    together = algorithm.suggest(dataclasses.replace(study, trials=tuple(trials)), 80, {}).suggested
    assert len({tuple(one.assignments.items()) for one in together}) == 80
