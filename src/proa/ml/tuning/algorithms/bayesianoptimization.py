"""Bayesian optimization: fit a model of the loss to the trials, and suggest where it hopes for most.

The model is a Gaussian process, or trees (base_estimator). Of thousands of random points and of some near the best
trials the most promising are followed downhill (acq_optimizer). Trials that run are taken to end as the model thinks,
so that those side by side differ; failed ones to have ended as badly as the worst.

What a suggestion costs does not grow with the study: the model has MAX_POINTS trials, the best, the latest, and others
spread evenly. Settings as upstream's (pkg/suggestion/v1beta1/skopt/service.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from proa.ml.tuning.algorithms.acquisition import ACQUISITIONS, Model, Worth
from proa.ml.tuning.algorithms.history import Floats, History, find_history
from proa.ml.tuning.algorithms.seeds import SETTING, derive_seed
from proa.ml.tuning.algorithms.settings import FIELD, SEED, Setting, check_settings, read_settings
from proa.ml.tuning.records import Problem, Study, Suggested, Suggestions

NAME = "bayesianoptimization"
SETTINGS = {
    "base_estimator": Setting("text", default="GP", choices=("GP", "RF", "ET", "GBRT")),
    "n_initial_points": Setting("int", default=10, minimum=0),
    "acq_func": Setting("text", default="gp_hedge", choices=(*ACQUISITIONS, "EIps", "PIps")),
    "acq_optimizer": Setting("text", default="auto", choices=("auto", "sampling", "lbfgs")),
    SETTING: SEED,
}
MAX_POINTS = 200
CANDIDATES = 1000
NEAR_BEST = 10
SCALES = (0.2, 0.05, 0.01)
STARTS = 2
MAX_BELIEVED = 64
"""Of trials that run. Where more are side by side, further ones are the best of few draws, which differ enough."""
FEW = 16
DRAWS = 50


def check(study: Study) -> Sequence[Problem]:
    """Return what is wrong with the settings."""
    problems = check_settings(NAME, SETTINGS, study.settings)
    wanted = study.settings.get("acq_func", "")
    if wanted in ("EIps", "PIps"):
        words = f"acq_func {wanted} is not supported: a trial does not tell its seconds"
        problems.append(Problem(FIELD, f"{words}; use {wanted.removesuffix('ps')}"))
    return problems


def suggest(study: Study, count: int, memory: dict[str, Any]) -> Suggestions:
    """Return so many suggestions, each made as if those before it were running."""
    settings = read_settings(SETTINGS, study.settings)
    history = find_history(study, memory)
    search = _Search(study, history, settings)
    suggested = []
    for _ in range(count):
        values = search.suggest_one(np.random.default_rng(derive_seed(study, len(history))))
        suggested.append(Suggested(values))
        history.add_pending(values)
    return Suggestions(tuple(suggested))


class _Search:
    """One request's: the model is fitted once, and learns what is suggested."""

    def __init__(self, study: Study, history: History, settings: dict[str, Any]) -> None:
        self._history = history
        self._space = history.space
        self._settings = settings
        self._categorical = np.array([dimension.is_categorical for dimension in self._space.dimensions])
        self._free = np.array([dimension.levels is None for dimension in self._space.dimensions])
        self._places = [np.array(dimension.places) for dimension in self._space.dimensions]
        self._ends = [np.array(dimension.ends) for dimension in self._space.dimensions]
        known = np.flatnonzero(history.known)
        self._model: Model | None = None
        self._believed = 0
        if len(known) >= max(settings["n_initial_points"], 2):
            self._begin(study, known)

    def suggest_one(self, random: np.random.Generator) -> dict[str, str]:
        """Return assignments that are not tried yet, where there are such."""
        space, model = self._space, self._model
        if model is None:
            values = space.values(random.random(len(space.dimensions)))
        else:
            values = space.values(self._find_point(model, random))
        draws = DRAWS if space.size else 0
        while draws and self._history.is_tried(values):
            values = space.values(random.random(len(space.dimensions)))
            draws -= 1
        if model is not None:
            self._believe(model, np.array(space.place(values))[None, :])
        return values

    def _begin(self, study: Study, known: Any) -> None:
        """Make a model of the trials that count, losses standardized and the worst of them cut off."""
        history = self._history
        kept = _choose(known, history.losses)
        losses = history.losses[kept]
        low, high = np.percentile(losses, [25, 75])
        losses = np.minimum(losses, high + 1.5 * (high - low)) if high > low else losses
        mean, deviation = losses.mean(), losses.std() or 1.0
        losses = (losses - mean) / deviation
        failed = np.flatnonzero(history.placed & ~history.known & ~history.running)[-MAX_POINTS // 4 :]
        points = np.vstack([history.points[kept], history.points[failed]])
        losses = np.append(losses, np.full(len(failed), losses.max()))
        self._best = float(losses.min())
        self._near = points[np.argsort(losses, kind="stable")[:NEAR_BEST]]
        self._model = self._make_model(points, losses, derive_seed(study, "model"))
        for index in np.flatnonzero(history.placed & history.running)[-MAX_BELIEVED:]:
            self._believe(self._model, history.points[index][None, :])

    def _make_model(self, points: Floats, losses: Floats, seed: int) -> Model:
        kind = self._settings["base_estimator"]
        if kind == "GP":
            from proa.ml.tuning.algorithms.gaussian_process import GaussianProcess

            return GaussianProcess(points, losses, self._categorical)
        from proa.ml.tuning.algorithms.forests import BoostedTrees, Forest

        return BoostedTrees(points, losses, seed) if kind == "GBRT" else Forest(kind, points, losses, seed)

    def _believe(self, model: Model, point: Floats) -> None:
        """Have a trial that runs end as the model thinks, but no better than what is known."""
        if self._believed == MAX_BELIEVED:
            return
        self._believed += 1
        mean = float(model.predict(point)[0][0])
        model.add(point, max(mean, self._best))

    def _find_point(self, model: Model, random: np.random.Generator) -> Floats:
        candidates = self._draw(random)
        if self._believed == MAX_BELIEVED:
            candidates = candidates[random.choice(len(candidates), FEW, replace=False)]
        means, deviations = model.predict(candidates)
        proposed = [
            self._minimize(model, worth, candidates, worth(means, deviations, self._best))
            for worth in ACQUISITIONS[self._settings["acq_func"]]
        ]
        if len(proposed) == 1:
            return proposed[0]
        hopes = -model.predict(np.array(proposed))[0]
        odds = np.exp(hopes - hopes.max())
        return proposed[random.choice(len(proposed), p=odds / odds.sum())]

    def _draw(self, random: np.random.Generator) -> Floats:
        """Return random points, and some near the best."""
        dimensions = len(self._space.dimensions)
        drawn = [random.random((CANDIDATES, dimensions))]
        for scale in SCALES:
            near = np.repeat(self._near, 20, axis=0)
            moved = near + random.normal(0, scale, near.shape) * (random.random(near.shape) < 0.5)
            lost = self._categorical & (random.random(near.shape) < scale)
            moved = np.where(self._categorical, np.where(lost, random.random(near.shape), near), moved)
            drawn.append(np.clip(moved, 0.0, 1.0))
        return self._snap(np.vstack(drawn))

    def _snap(self, points: Floats) -> Floats:
        """Return points with each level at its place."""
        snapped = points.copy()
        for index in np.flatnonzero(~self._free):
            level = np.searchsorted(self._ends[index], points[:, index], side="right")
            snapped[:, index] = self._places[index][np.minimum(level, len(self._places[index]) - 1)]
        return snapped

    def _minimize(self, model: Model, worth: Worth, candidates: Floats, values: Floats) -> Floats:
        """Return the candidate that is worth most, after following the best few downhill where that is possible."""
        order = np.argsort(values, kind="stable")
        kind = self._settings["acq_optimizer"]
        is_smooth = self._settings["base_estimator"] == "GP" and self._free.any()
        if kind == "sampling" or not is_smooth or self._believed == MAX_BELIEVED:
            return np.asarray(candidates[order[0]])
        followed = [self._follow(model, worth, candidates[index]) for index in order[:STARTS]]
        best = min(followed, key=lambda one: one[0])
        return best[1] if best[0] < values[order[0]] else np.asarray(candidates[order[0]])

    def _follow(self, model: Model, worth: Worth, start: Floats) -> tuple[float, Floats]:
        from scipy.optimize import minimize

        free, step = np.flatnonzero(self._free), 1e-6

        def value_and_slope(coordinates: Floats) -> tuple[float, Floats]:
            points = np.repeat(start[None, :], len(free) + 1, axis=0)
            points[:, free] = coordinates
            points[np.arange(1, len(free) + 1), free] += step
            values = worth(*model.predict(points), self._best)
            return float(values[0]), (values[1:] - values[0]) / step

        found = minimize(
            value_and_slope,
            start[free],
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, 1.0)] * len(free),
            options={"maxiter": 20},
        )
        point = start.copy()
        point[free] = np.clip(found.x, 0.0, 1.0)
        return float(found.fun), point


def _choose(known: Any, losses: Floats) -> Any:
    """Return the indices of MAX_POINTS trials: a third the best, a third the latest, others spread evenly."""
    if len(known) <= MAX_POINTS:
        return known
    third = MAX_POINTS // 3
    best = known[np.argsort(losses[known], kind="stable")[:third]]
    kept = np.union1d(best, known[-third:])
    others = np.setdiff1d(known, kept)
    spread = np.linspace(0, len(others) - 1, min(MAX_POINTS - len(kept), len(others))).astype(int)
    return np.union1d(kept, others[spread])
