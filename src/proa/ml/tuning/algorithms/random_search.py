"""Random search: each trial's values are drawn from the parameters' distributions.

A point that is tried already is drawn again, some times, so that trials side by side in a small space do not collide.
Settings as upstream's (hyperopt's and optuna's random): random_state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proa.ml.tuning.algorithms.seeds import SETTING, make_random
from proa.ml.tuning.algorithms.settings import SEED, check_settings
from proa.ml.tuning.algorithms.space import Space
from proa.ml.tuning.records import Problem, Study, Suggested, Suggestions

NAME = "random"
SETTINGS = {SETTING: SEED}
SMALL_SPACE = 1000
DRAWS = 20


def check(study: Study) -> Sequence[Problem]:
    """Return what is wrong with the settings."""
    return check_settings(NAME, SETTINGS, study.settings)


def suggest(study: Study, count: int, memory: dict[str, Any]) -> Suggestions:
    """Return so many draws."""
    space = Space(study.parameters)
    is_small = 0 < space.size <= SMALL_SPACE
    tried = {_key(trial.assignments) for trial in study.trials} if is_small else set()
    drawn = []
    for number in range(len(study.trials), len(study.trials) + count):
        random = make_random(study, number)
        values = space.draw(random)
        for _ in range(DRAWS):
            if _key(values) not in tried:
                break
            values = space.draw(random)
        if is_small:
            tried.add(_key(values))
        drawn.append(Suggested(values))
    return Suggestions(tuple(drawn))


def _key(assignments: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(assignments.items())
