"""Tree-structured Parzen estimators: suggest what is likely among the best trials and unlikely among the others.

The best trials (at most 25) make one density of the space, all others, and those that run, another: sums of a kernel at
each trial and a wide one for what was never tried. Candidates are drawn from the first; the one whose ratio of the two
is highest is suggested. `tpe` does so for each parameter alone, `multivariate-tpe` for all of them together, so that it
sees which values belong to one another. (Bergstra et al. 2011; widths of kernels as in Optuna 5.)

What a suggestion costs does not grow with the study: of all but the best trials MAX_OTHERS are looked at, half of
them the latest, the rest spread evenly over those before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from proa.ml.tuning.algorithms.history import Floats, History, find_history
from proa.ml.tuning.algorithms.seeds import SETTING, derive_seed
from proa.ml.tuning.algorithms.settings import SEED, Setting, read_settings
from proa.ml.tuning.algorithms.space import Dimension
from proa.ml.tuning.records import Study, Suggested, Suggestions

SETTINGS = {
    "n_startup_trials": Setting("int", default=10, minimum=0),
    "n_ei_candidates": Setting("int", default=24, minimum=1, maximum=10_000),
    "n_EI_candidates": Setting("int", minimum=1, maximum=10_000),
    "gamma": Setting("float", above=0, below=1),
    "prior_weight": Setting("float", default=1.0, above=0),
    SETTING: SEED,
}
MAX_BEST = 25
MAX_OTHERS = 1000
RECENT = 25
DRAWS = 50


def suggest(study: Study, count: int, memory: dict[str, Any], *, is_multivariate: bool) -> Suggestions:
    """Return so many suggestions, each made as if those before it were running."""
    settings = read_settings(SETTINGS, study.settings)
    settings["n_ei_candidates"] = settings["n_EI_candidates"] or settings["n_ei_candidates"]
    history = find_history(study, memory)
    suggested = []
    for _ in range(count):
        random = np.random.default_rng(derive_seed(study, len(history)))
        values = _suggest_one(history, settings, random, is_multivariate)
        suggested.append(Suggested(values))
        history.add_pending(values)
    return Suggestions(tuple(suggested))


def _suggest_one(
    history: History, settings: dict[str, Any], random: np.random.Generator, is_multivariate: bool
) -> dict[str, str]:
    space = history.space
    if np.count_nonzero(history.known) < max(settings["n_startup_trials"], 1):
        values = space.values(random.random(len(space.dimensions)))
    else:
        values = space.values(_sample(history, settings, random, is_multivariate))
    draws = DRAWS if space.size else 0  # in a finite space nothing is tried twice before all is
    while draws and history.is_tried(values):
        values = space.values(random.random(len(space.dimensions)))
        draws -= 1
    return values


def _sample(
    history: History, settings: dict[str, Any], random: np.random.Generator, is_multivariate: bool
) -> Floats:
    best, others = _split(history, settings["gamma"])
    dimensions = history.space.dimensions
    groups = (
        [list(range(len(dimensions)))] if is_multivariate else [[index] for index in range(len(dimensions))]
    )
    point = np.empty(len(dimensions))
    for group in groups:
        chosen = [dimensions[index] for index in group]
        good = Density(chosen, history.points[np.ix_(best, group)], settings["prior_weight"])
        bad = Density(chosen, history.points[np.ix_(others, group)], settings["prior_weight"])
        candidates = good.draw(random, settings["n_ei_candidates"])
        point[group] = candidates[np.argmax(good.log(candidates) - bad.log(candidates))]
    return point


def _split(history: History, gamma: float | None) -> tuple[Any, Any]:
    """Return the indices of the best trials, and of the others that count, each in the order of suggestion."""
    known = np.flatnonzero(history.known)
    share = 0.1 * len(known) if gamma is None else gamma * math.sqrt(len(known))
    number = min(max(math.ceil(share), 1), MAX_BEST, len(known))
    best = np.sort(known[np.argsort(history.losses[known], kind="stable")[:number]])
    is_other = history.placed.copy()
    is_other[best] = False
    others = np.flatnonzero(is_other)
    if len(others) > MAX_OTHERS:
        earlier, latest = others[: -MAX_OTHERS // 2], others[-MAX_OTHERS // 2 :]
        spread = np.linspace(0, len(earlier) - 1, MAX_OTHERS // 2).astype(int)
        others = np.concatenate([earlier[spread], latest])
    return best, others


@dataclass(frozen=True)
class _Kernels:
    """Of one dimension: where kernels are, how wide, and how much of each is within [0, 1]."""

    middles: Floats
    widths: Floats
    low: Floats
    mass: Floats


class Density:
    """A mixture of a kernel for each point (float[points, dimensions]) and one for the whole of the cube."""

    def __init__(self, dimensions: list[Dimension], points: Floats, prior_weight: float) -> None:
        self._dimensions = dimensions
        self._points = points
        self._prior_weight = prior_weight
        weights = np.append(_recency(len(points)), prior_weight)
        self._weights = weights / weights.sum()
        self._kernels = [
            None if dimension.is_categorical else _make_kernels(points[:, index])
            for index, dimension in enumerate(dimensions)
        ]

    def draw(self, random: np.random.Generator, count: int) -> Floats:
        """Return float[count, dimensions]: draws of the mixture; where there are levels, at one."""
        from scipy.special import ndtri

        chosen = random.choice(len(self._weights), size=count, p=self._weights)
        drawn = np.empty((count, len(self._dimensions)))
        for index, (dimension, kernels) in enumerate(zip(self._dimensions, self._kernels, strict=True)):
            uniform = random.random(count)
            if kernels is None:
                drawn[:, index] = self._draw_category(dimension, chosen, uniform, self._points[:, index])
                continue
            part = kernels.low[chosen] + uniform * kernels.mass[chosen]
            value = kernels.middles[chosen] + kernels.widths[chosen] * ndtri(part)
            drawn[:, index] = _snap(dimension, np.clip(value, 0.0, 1.0))
        return drawn

    def log(self, at: Floats) -> Floats:
        """Return the logarithm of the density at float[candidates, dimensions]."""
        logs = np.zeros((len(at), len(self._weights)))
        for index, (dimension, kernels) in enumerate(zip(self._dimensions, self._kernels, strict=True)):
            if kernels is None:
                logs += self._log_category(dimension, at[:, index], self._points[:, index])
            else:
                logs += _log_kernels(dimension, kernels, at[:, index])
        logs += np.log(self._weights)
        highest = logs.max(axis=1, keepdims=True)
        found: Floats = highest[:, 0] + np.log(np.exp(logs - highest).sum(axis=1))
        return found

    def _category_table(self, count: int, points: Floats) -> Floats:
        """Return float[points + 1, categories]: a kernel has most of its weight at its own category."""
        table = np.full((len(points) + 1, count), self._prior_weight / (len(points) + 1))
        table[np.arange(len(points)), np.minimum((points * count).astype(int), count - 1)] += 1.0
        normal: Floats = table / table.sum(axis=1, keepdims=True)
        return normal

    def _draw_category(self, dimension: Dimension, chosen: Any, uniform: Floats, points: Floats) -> Floats:
        count = dimension.count
        sums = self._category_table(count, points)[chosen].cumsum(axis=1)
        category = np.minimum((uniform[:, None] > sums).sum(axis=1), count - 1)
        drawn: Floats = (category + 0.5) / count
        return drawn

    def _log_category(self, dimension: Dimension, at: Floats, points: Floats) -> Floats:
        count = dimension.count
        category = np.minimum((at * count).astype(int), count - 1)
        found: Floats = np.log(self._category_table(count, points)[:, category]).T
        return found


def _recency(count: int) -> Floats:
    """Return weights: the latest count fully, those before less and less."""
    if count <= RECENT:
        return np.ones(count)
    return np.append(np.linspace(1.0 / count, 1.0, count - RECENT), np.ones(RECENT))


def _make_kernels(points: Floats) -> _Kernels:
    """Return a kernel for each point, as wide as the way to its neighbours, and, last, the one for the whole."""
    from scipy.special import ndtr

    order = np.argsort(points, kind="stable")
    gaps = np.diff(np.concatenate([[0.0], points[order], [1.0]]))
    sides = np.maximum(gaps[:-1], gaps[1:])
    if len(points) > 1:  # at the ends the neighbour counts, not the edge
        sides[0], sides[-1] = gaps[1], gaps[-2]
    widths = np.ones(len(points) + 1)
    widths[order] = np.clip(sides, 1.0 / min(100.0, 2.0 + len(points)), 1.0)
    middles = np.append(points, 0.5)
    low = ndtr(-middles / widths)
    return _Kernels(middles, widths, low, ndtr((1.0 - middles) / widths) - low)


def _log_kernels(dimension: Dimension, kernels: _Kernels, at: Floats) -> Floats:
    """Return float[candidates, kernels]: densities, of a level the mass of its part of the coordinate."""
    from scipy.special import ndtr

    if dimension.levels is not None:
        ends = np.array([0.0, *dimension.ends])
        level = _find_level(dimension, at)
        high = ndtr((ends[level + 1][:, None] - kernels.middles) / kernels.widths)
        mass = high - ndtr((ends[level][:, None] - kernels.middles) / kernels.widths)
        found: Floats = np.log(np.maximum(mass, 1e-300)) - np.log(kernels.mass)
        return found
    scaled = (at[:, None] - kernels.middles) / kernels.widths
    density: Floats = -0.5 * scaled**2 - np.log(kernels.widths * kernels.mass)
    return density


def _snap(dimension: Dimension, at: Floats) -> Floats:
    if dimension.levels is None:
        return at
    snapped: Floats = np.array(dimension.places)[_find_level(dimension, at)]
    return snapped


def _find_level(dimension: Dimension, at: Floats) -> Any:
    return np.minimum(np.searchsorted(dimension.ends, at, side="right"), dimension.count - 1)
