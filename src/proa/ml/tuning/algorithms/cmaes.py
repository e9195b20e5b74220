"""CMA-ES: a normal distribution over the cube that each generation of trials moves, stretches and narrows.

Trials in the order of suggestion are cut into generations; a generation whose trials have all ended is told to the
distribution, of which the next suggestions are drawn. So all follows from the trials: nothing else is kept, and where
trials run side by side, those that are suggested before a generation has ended are drawn of the one before. A trial
without a value counts as the worst.

Ints and steps are coordinates, rounded: where the distribution has become narrower than a step, it is drawn a step
wide, so that it does not freeze. Categories (and discrete values) are drawn by how often the better half of generations
had them. Restarts, when nothing improves: `ipop` with twice the generation, `bipop` between large and small ones,
`none`. `sigma` is in units of the narrowest parameter; settings as upstream's (goptuna, optuna). The distribution is
the package cmaes' (Hansen's tutorial, 2016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from proa.ml.tuning.algorithms.history import Booleans, Floats, History, find_history
from proa.ml.tuning.algorithms.seeds import SETTING, derive_seed
from proa.ml.tuning.algorithms.settings import SEED, Setting, check_settings, read_settings
from proa.ml.tuning.records import Problem, Study, Suggested, Suggestions

NAME = "cmaes"
SETTINGS = {
    "restart_strategy": Setting("text", default="none", choices=("none", "None", "ipop", "bipop")),
    "sigma": Setting("float", above=0),
    SETTING: SEED,
}
DEFAULT_SIGMA = 1.0 / 6.0
MAX_SIGMA = 1.0
LEARNING = 0.3
"""How much of a generation's categories counts, against those before."""
STEP_SHARE = 0.5
SAMPLES = 16
DRAWS = 20


def check(study: Study) -> Sequence[Problem]:
    """Return what is wrong with the settings, or a space of fewer than two numbers."""
    problems = check_settings(NAME, SETTINGS, study.settings)
    if sum(parameter.type in ("double", "int") for parameter in study.parameters) < 2:
        words = "cmaes only supports two or more dimensional continuous search space; add a double or int parameter, "
        problems.append(Problem("spec.parameters", f"{words}or use tpe"))
    return problems


def suggest(study: Study, count: int, memory: dict[str, Any]) -> Suggestions:
    """Return so many draws of the distribution as of the last generation that has ended."""
    history = find_history(study, memory)
    evolution = memory.get(NAME)
    if not isinstance(evolution, _Evolution) or not evolution.is_of(study, history):
        evolution = memory[NAME] = _Evolution(study, history)
    evolution.learn(history)
    suggested = []
    for _ in range(count):
        values = _draw_new(study, history, evolution)
        suggested.append(Suggested(values))
        history.add_pending(values)
    return Suggestions(tuple(suggested))


def _draw_new(study: Study, history: History, evolution: _Evolution) -> dict[str, str]:
    """Return a draw; in a finite space it is repeated some times where it is of a point that is tried already."""
    space, number = history.space, len(history)
    values = space.values(evolution.draw(derive_seed(study, number)))
    for attempt in range(DRAWS if space.size else 0):
        if not history.is_tried(values):
            break
        values = space.values(evolution.draw(derive_seed(study, number, attempt)))
    return values


class _Evolution:
    """What generations have taught; `told` counts the trials that are of them."""

    def __init__(self, study: Study, history: History) -> None:
        settings = read_settings(SETTINGS, study.settings)
        self._settings = dict(study.settings)
        self._study = study
        self._strategy = settings["restart_strategy"].lower()
        dimensions = history.space.dimensions
        self._is_number = np.array(
            [dimension.parameter.type in ("double", "int") for dimension in dimensions]
        )
        self._steps = np.array(
            [1.0 / dimension.count if dimension.count > 0 else 0.0 for dimension in dimensions]
        )[self._is_number]
        self._sigma = _scale(settings["sigma"], study)
        self._counts = [dimension.count for dimension in dimensions]
        self._odds = [
            None if is_number else np.full(count, 1.0 / count)
            for is_number, count in zip(self._is_number, self._counts, strict=True)
        ]
        self._told_losses: list[Floats] = []
        self._told = 0
        self._restarts = 0
        self._large_spent = self._small_spent = 0
        self._begin(derive_seed(study, "mean", 0), 0)

    def is_of(self, study: Study, history: History) -> bool:
        """Tell whether this was learnt of the study as it is now: its settings, and all that was told."""
        told = np.concatenate([*self._told_losses, np.empty(0)])
        return self._settings == study.settings and np.array_equal(
            told, history.losses[: self._told], equal_nan=True
        )

    def learn(self, history: History) -> None:
        """Tell each generation that has ended."""
        while True:
            size = self._cma.population_size
            rows = slice(self._told, self._told + size)
            if rows.stop > len(history) or history.running[rows].any():
                return
            self._tell(history.points[rows], history.losses[rows])
            self._told = rows.stop
            if self._strategy != "none" and self._cma.should_stop():
                self._restart(size)

    def draw(self, seed: int) -> Floats:
        """Return a point of the cube."""
        random = np.random.default_rng(seed)
        self._cma.reseed_rng(seed)
        numbers = self._cma.ask()
        frozen = self._find_frozen()
        wide = self._cma.mean + random.normal(0, 1, len(numbers)) * STEP_SHARE * self._steps
        point = np.empty(len(self._is_number))
        point[self._is_number] = np.clip(np.where(frozen, wide, numbers), 0.0, 1.0)
        for index, odds in enumerate(self._odds):
            if odds is not None:
                point[index] = (random.choice(len(odds), p=odds) + 0.5) / len(odds)
        return point

    def _find_frozen(self) -> Booleans:
        """Tell which numbers have steps, and a distribution narrower than that."""
        if not self._steps.any():
            return np.zeros(len(self._steps), dtype=bool)
        widths = np.std([self._cma.ask() for _ in range(SAMPLES)], axis=0)
        frozen: Booleans = widths < STEP_SHARE * self._steps
        return frozen

    def _tell(self, points: Floats, losses: Floats) -> None:
        self._told_losses.append(losses.copy())
        known = losses[~np.isnan(losses)]
        worst = known.max() if len(known) else 0.0
        filled = np.where(np.isnan(losses), worst, losses)
        placed = np.where(np.isnan(points), 0.5, points)
        self._cma.tell(
            [(point, float(loss)) for point, loss in zip(placed[:, self._is_number], filled, strict=True)]
        )
        better = np.argsort(filled, kind="stable")[: len(filled) // 2]
        for index, odds in enumerate(self._odds):
            if odds is not None:
                chosen = np.minimum((placed[better, index] * len(odds)).astype(int), len(odds) - 1)
                shares = (np.bincount(chosen, minlength=len(odds)) + 0.5) / (len(chosen) + 0.5 * len(odds))
                self._odds[index] = (1 - LEARNING) * odds + LEARNING * shares

    def _restart(self, size: int) -> None:
        usual = _usual_size(int(self._is_number.sum()))
        self._restarts += 1
        seed = derive_seed(self._study, "mean", self._restarts)
        if self._strategy == "ipop":
            self._begin(seed, size * 2)
            return
        spent = self._told - self._large_spent - self._small_spent
        self._small_spent, self._large_spent = (
            (self._small_spent + spent, self._large_spent)
            if size < usual * 2 and self._restarts > 1
            else (self._small_spent, self._large_spent + spent)
        )
        is_small = self._small_spent < self._large_spent
        self._begin(seed, usual if is_small else usual * 2 ** min(1 + self._restarts // 2, 8))

    def _begin(self, seed: int, size: int) -> None:
        """Start from the middle, later from anywhere."""
        from cmaes import CMA

        dimensions = int(self._is_number.sum())
        mean = np.full(dimensions, 0.5) if size == 0 else np.random.default_rng(seed).random(dimensions)
        bounds = np.array([[0.0, 1.0]] * dimensions)
        self._cma: Any = CMA(
            mean=mean,
            sigma=self._sigma,
            bounds=bounds,
            seed=seed,
            population_size=size or _usual_size(dimensions),
            n_max_resampling=20,
        )


def _usual_size(dimensions: int) -> int:
    return 4 + math.floor(3 * math.log(dimensions))


def _scale(sigma: float | None, study: Study) -> float:
    """Return the first deviation in the cube: `sigma` is in units of the narrowest number."""
    if sigma is None:
        return DEFAULT_SIGMA
    widths = [one.maximum - one.minimum for one in study.parameters if one.type in ("double", "int")]
    narrowest = min((width for width in widths if width > 0), default=1.0)
    return min(sigma / narrowest, MAX_SIGMA)
