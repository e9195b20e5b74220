"""How much a point is worth trying, of what a model thinks of it: the less the returned number, the more.

As in scikit-optimize: the expected improvement (EI) and its probability (PI), over the best loss and a little more, and
the lower confidence bound (LCB). EI is computed by its logarithm, which still tells points apart that hope little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from proa.ml.tuning.algorithms.history import Floats

XI = 0.01
KAPPA = 1.96


class Model(Protocol):
    """What predicts losses."""

    def predict(self, at: Floats) -> tuple[Floats, Floats]:
        """Return means and standard deviations at points."""

    def add(self, point: Floats, loss: float) -> None:
        """Take in another point."""


Worth = Callable[[Floats, Floats, float], Floats]
"""Of means, deviations and the best loss."""


def lower_bound(means: Floats, deviations: Floats, best: float) -> Floats:
    """Return the loss that is hoped for."""
    return means - KAPPA * deviations


def improvement(means: Floats, deviations: Floats, best: float) -> Floats:
    """Return the negative logarithm of the expected improvement."""
    from scipy.special import ndtr

    score = (best - XI - means) / deviations
    density = np.exp(-0.5 * score**2) / np.sqrt(2 * np.pi)
    near = np.log(np.maximum(density + score * ndtr(score), 1e-300))
    far = -0.5 * score**2 - 0.5 * np.log(2 * np.pi) - 2 * np.log(np.maximum(-score, 1.0))
    found: Floats = -(np.log(deviations) + np.where(score > -6, near, far))
    return found


def probability(means: Floats, deviations: Floats, best: float) -> Floats:
    """Return the negative logarithm of the probability of an improvement."""
    from scipy.special import log_ndtr

    found: Floats = -log_ndtr((best - XI - means) / deviations)
    return found


ACQUISITIONS: dict[str, tuple[Worth, ...]] = {
    "gp_hedge": (improvement, lower_bound, probability),
    "LCB": (lower_bound,),
    "EI": (improvement,),
    "PI": (probability,),
}
"""By the setting `acq_func`; of several, one is chosen by what the model thinks of the point that each proposes."""
