"""The tuning operator: its three controllers."""

from __future__ import annotations

from collections.abc import Sequence

from proa.ml.tuning.operator.experiment import ExperimentController
from proa.ml.tuning.operator.parts import Parts
from proa.ml.tuning.operator.suggestion import SuggestionController
from proa.ml.tuning.operator.trial import TrialController
from proa.reconcile.protocol import Controller


def make_controllers(parts: Parts) -> Sequence[Controller]:
    """Return the controllers, all of which act as `parts.ACCOUNT`, for a `reconcile.manager.Manager`."""
    return (ExperimentController(parts), SuggestionController(parts), TrialController(parts))
