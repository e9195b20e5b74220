from __future__ import annotations

import itertools

import pytest

from proa.ml.tuning.algorithms import grid
from proa.ml.tuning.records import Parameter
from support.studies import make_study, make_trial, run_study

SPACE = (
    Parameter("layers", "int", 1, 3),
    Parameter("batch", "discrete", values=("128", "16")),
    Parameter("rate", "double", 0.1, 0.3, step=0.1),
)
PRODUCT = list(itertools.product(["1", "2", "3"], ["128", "16"], ["0.1", "0.2", "0.3"]))


def test_the_grid_is_the_product_of_all_values_in_order_and_ends() -> None:
    trials = run_study(grid, make_study(SPACE), lambda _: 1.0, budget=100, parallel=4)
    assert [tuple(trial.assignments.values()) for trial in trials] == PRODUCT
    last = grid.suggest(make_study(SPACE, tuple(trials[:-1])), 3, {})
    assert (len(last.suggested), last.has_ended) == (1, True)
    assert not grid.suggest(make_study(SPACE, tuple(trials[:5])), 3, {}).has_ended


def test_with_a_random_state_the_same_combinations_come_in_another_order() -> None:
    trials = run_study(grid, make_study(SPACE, settings={"random_state": "3"}), lambda _: 1.0, budget=100)
    tried = [tuple(trial.assignments.values()) for trial in trials]
    assert tried != PRODUCT
    assert sorted(tried) == sorted(PRODUCT)


def test_a_huge_grid_costs_no_memory() -> None:
    huge = tuple(Parameter(f"p{n}", "int", 0, 10**9) for n in range(4))
    trials = tuple(make_trial(n, {}) for n in range(3))
    (suggested,) = grid.suggest(make_study(huge, trials), 1, {}).suggested
    assert suggested.assignments == {"p0": "0", "p1": "0", "p2": "0", "p3": "3"}


@pytest.mark.parametrize(
    ("parameters", "changes", "words"),
    [
        (
            (Parameter("lr", "double", 0, 1),),
            {},
            "Param lr step is nil; For discrete search space, all parameters must",
        ),
        (
            SPACE,
            {"max_trials": 19},
            "Max Trial Count: 19 > all possible search combinations: 18; set it to that or less",
        ),
        (SPACE, {"settings": {"seed": "1"}}, "unknown setting seed for algorithm grid; it has: random_state"),
        (
            SPACE,
            {"settings": {"random_state": "-1"}},
            "random_state is -1, it has to be greater or equal than 0",
        ),
        (SPACE, {"settings": {"random_state": "x"}}, "random_state is 'x', it has to be a whole number"),
    ],
)
def test_what_a_grid_cannot_be_made_of_is_said(
    parameters: tuple[Parameter, ...], changes: dict, words: str
) -> None:
    (problem,) = grid.check(make_study(parameters, **changes))
    assert problem.message.startswith(words)
