"""Sobol's sequence: points that fill the cube evenly, however many there are; the n-th trial has the n-th of them.

With `random_state` the sequence is scrambled, as many ways as there are seeds; without, it is the one that all know
(its first point, which is 0 for each parameter, is left out). Settings as upstream's (goptuna's sobol): none but that.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from proa.ml.tuning.algorithms.seeds import SETTING, find_seed
from proa.ml.tuning.algorithms.settings import SEED, check_settings
from proa.ml.tuning.algorithms.space import Space
from proa.ml.tuning.records import Problem, Study, Suggested, Suggestions

NAME = "sobol"
SETTINGS = {SETTING: SEED}
MAX_PARAMETERS = 21201
"""So many dimensions have numbers of their own."""


def check(study: Study) -> Sequence[Problem]:
    """Return what is wrong with the settings, or more parameters than there are sequences."""
    problems = check_settings(NAME, SETTINGS, study.settings)
    if len(study.parameters) > MAX_PARAMETERS:
        problems.append(
            Problem("spec.parameters", f"sobol has at most {MAX_PARAMETERS} parameters; use random")
        )
    return problems


def suggest(study: Study, count: int, memory: dict[str, Any]) -> Suggestions:
    """Return the next points."""
    from scipy.stats import qmc

    space = Space(study.parameters)
    is_scrambled = SETTING in study.settings
    sequence = qmc.Sobol(
        len(study.parameters), scramble=is_scrambled, rng=find_seed(study) if is_scrambled else 0
    )
    first = len(study.trials) + (not is_scrambled)
    if first:
        sequence.fast_forward(first)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # its balance is for powers of two, an experiment ends anywhere
        points = sequence.random(count)
    return Suggestions(tuple(Suggested(space.values(point)) for point in points))
