"""The Parzen estimator of all parameters together (parzen.py).

Settings are those of Katib's services: n_startup_trials, n_ei_candidates (optuna's; also n_EI_candidates, hyperopt's),
gamma, prior_weight, random_state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.ml.tuning.algorithms import parzen
from proa.ml.tuning.algorithms.settings import check_settings
from proa.ml.tuning.records import Problem, Study, Suggestions

NAME = "multivariate-tpe"


def check(study: Study) -> Sequence[Problem]:
    """Return what is wrong with the settings."""
    return check_settings(NAME, parzen.SETTINGS, study.settings)


def suggest(study: Study, count: int, memory: dict[str, Any]) -> Suggestions:
    """Return so many suggestions."""
    return parzen.suggest(study, count, memory, is_multivariate=True)
