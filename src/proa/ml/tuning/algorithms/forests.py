"""Trees of scikit-learn as models of the loss: what `base_estimator` RF, ET and GBRT of Bayesian optimization are.

Random forests and extra trees take the spread of their trees for the doubt; gradient boosting has two more models, of
the 16th and the 84th hundredth. As in scikit-optimize, which Katib uses.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from proa.ml.tuning.algorithms.history import Floats

TREES = 100
QUANTILES = (0.16, 0.5, 0.84)
LEAST_DOUBT = 0.1
"""Trees that agree are not sure: without some doubt the same neighbourhood would be tried again and again."""


class Forest:
    """`kind` is "RF" or "ET"."""

    def __init__(self, kind: str, points: Floats, losses: Floats, seed: int) -> None:
        from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

        self._points, self._losses = points, losses
        regressor = RandomForestRegressor if kind == "RF" else ExtraTreesRegressor
        self._model: Any = regressor(n_estimators=TREES, min_samples_leaf=3, random_state=seed)
        self._model.fit(points, losses)

    def add(self, point: Floats, loss: float) -> None:
        """Take in another point."""
        self._points, self._losses = np.vstack([self._points, point]), np.append(self._losses, loss)
        self._model.fit(self._points, self._losses)

    def predict(self, at: Floats) -> tuple[Floats, Floats]:
        """Return means and standard deviations."""
        each = np.array([tree.predict(at) for tree in self._model.estimators_])
        return each.mean(axis=0), np.maximum(each.std(axis=0), LEAST_DOUBT)


class BoostedTrees:
    """`GBRT`."""

    def __init__(self, points: Floats, losses: Floats, seed: int) -> None:
        from sklearn.ensemble import GradientBoostingRegressor

        self._points, self._losses = points, losses
        self._models: list[Any] = [
            GradientBoostingRegressor(loss="quantile", alpha=alpha, n_estimators=30, random_state=seed)
            for alpha in QUANTILES
        ]
        self._fit()

    def add(self, point: Floats, loss: float) -> None:
        """Take in another point."""
        self._points, self._losses = np.vstack([self._points, point]), np.append(self._losses, loss)
        self._fit()

    def predict(self, at: Floats) -> tuple[Floats, Floats]:
        """Return medians, and half of what is between the outer models."""
        low, middle, high = (model.predict(at) for model in self._models)
        return middle, np.maximum((high - low) / 2, LEAST_DOUBT)

    def _fit(self) -> None:
        for model in self._models:
            model.fit(self._points, self._losses)
