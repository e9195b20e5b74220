"""Grid search: every combination of the parameters' values once, the last parameter's changing fastest.

Only numbers are kept, never the grid: the n-th trial has the n-th combination. With `random_state` the order is mixed,
so that an experiment of fewer trials than combinations sees all of the space. Settings and refusals as upstream's
(pkg/suggestion/v1beta1/optuna/service.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Any

from proa.ml.tuning.algorithms.seeds import SETTING, find_seed
from proa.ml.tuning.algorithms.settings import SEED, check_settings
from proa.ml.tuning.algorithms.space import Space
from proa.ml.tuning.records import Problem, Study, Suggested, Suggestions

NAME = "grid"
SETTINGS = {SETTING: SEED}


def check(study: Study) -> Sequence[Problem]:
    """Return what is wrong: the settings, a double without a step, more trials than combinations."""
    problems = check_settings(NAME, SETTINGS, study.settings)
    space = Space(study.parameters)
    for index, dimension in enumerate(space.dimensions):
        if dimension.count == 0:
            problems.append(
                Problem(
                    f"spec.parameters[{index}].feasibleSpace.step",
                    f"Param {dimension.name} step is nil; For discrete search space, all parameters must include step: "
                    "set one, or make it a discrete parameter with a list",
                )
            )
    if space.size and study.max_trials is not None and study.max_trials > space.size:
        known = f"Max Trial Count: {study.max_trials} > all possible search combinations: {space.size}"
        words = f"{known}; set it to that or less"
        problems.append(Problem("spec.maxTrialCount", words))
    return problems


def suggest(study: Study, count: int, memory: dict[str, Any]) -> Suggestions:
    """Return the next combinations, as many as there are."""
    space = Space(study.parameters)
    first = len(study.trials)
    last = min(first + count, space.size)
    order = _Order(space.size, find_seed(study) if SETTING in study.settings else None)
    found = [Suggested(_combination(space, order.at(number))) for number in range(first, last)]
    return Suggestions(tuple(found), has_ended=last >= space.size)


def _combination(space: Space, number: int) -> dict[str, str]:
    """Return the combination with this number: its digits, in a system where each parameter has its own base."""
    chosen = {}
    for dimension in reversed(space.dimensions):
        number, digit = divmod(number, dimension.count)
        texts = dimension.parameter.values  # as listed, not by size
        chosen[dimension.name] = texts[digit] if texts else dimension.value_at(digit)
    return {dimension.name: chosen[dimension.name] for dimension in space.dimensions}


class _Order:
    """A permutation of the first `size` numbers, of which nothing is kept but two: number * factor + offset."""

    def __init__(self, size: int, seed: int | None) -> None:
        self._size = size
        self._factor, self._offset = 1, 0
        if seed is None or size < 2:
            return
        random = Random(seed)  # noqa: S311  not for secrets
        self._offset = random.randrange(size)
        while math.gcd(factor := random.randrange(1, size), size) != 1:
            pass
        self._factor = factor

    def at(self, number: int) -> int:
        return (number * self._factor + self._offset) % self._size
