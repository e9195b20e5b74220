"""What to tune when algorithms are compared: functions whose lowest point is known, models that learn digits."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from proa.ml.tuning.records import Parameter


@dataclass(frozen=True)
class Problem:
    """A space, the loss of a trial there, the lowest loss there is, and how many trials are allowed."""

    name: str
    parameters: tuple[Parameter, ...]
    loss: Callable[[Mapping[str, str]], float]
    lowest: float
    budget: int


def branin(values: Mapping[str, str]) -> float:
    """Return Branin's function: three valleys of the same depth."""
    x, y = float(values["x"]), float(values["y"])
    valley = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def hartmann6(values: Mapping[str, str]) -> float:
    """Return Hartmann's function of six variables: one lowest point among several that are nearly as low."""
    point = np.array([float(values[f"x{n}"]) for n in range(6)])
    return -float(_HEIGHTS @ np.exp(-(_SHAPES * (point - _PLACES) ** 2).sum(axis=1)))


_HEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
_SHAPES = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_PLACES = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


@functools.cache
def load_digits(learned: int, judged: int) -> tuple[Any, Any, Any, Any]:
    """Return as many of scikit-learn's 1,797 digits to learn from, and to judge by."""
    from sklearn.datasets import load_digits as load

    images, labels = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    learn, judge = order[:learned], order[learned : learned + judged]
    return images[learn] / 16, labels[learn], images[judge] / 16, labels[judge]


def support_vectors(values: Mapping[str, str]) -> float:
    """Return the share of digits that a support vector machine takes for others."""
    from sklearn.svm import SVC

    images, labels, others, truth = load_digits(200, 400)
    model = SVC(
        C=float(values["C"]),
        gamma=float(values["gamma"]),
        kernel=values["kernel"],
        coef0=float(values["coef0"]),
    )
    return 1 - float(model.fit(images, labels).score(others, truth))


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "Branin",
            (Parameter("x", "double", -5, 10), Parameter("y", "double", 0, 15)),
            branin,
            0.397887,
            100,
        ),
        Problem(
            "Hartmann-6",
            tuple(Parameter(f"x{n}", "double", 0, 1) for n in range(6)),
            hartmann6,
            -3.32237,
            100,
        ),
        Problem(
            "digits, SVC",
            (
                Parameter("C", "double", 1e-3, 1e3, distribution="logUniform"),
                Parameter("gamma", "double", 1e-5, 10, distribution="logUniform"),
                Parameter("coef0", "double", 0, 5),
                Parameter("kernel", "categorical", values=("rbf", "poly", "sigmoid")),
            ),
            support_vectors,
            0.0,
            60,
        ),
    )
}

NETWORK = (
    Parameter("rate", "double", 1e-4, 1.0, distribution="logUniform"),
    Parameter("momentum", "double", 0, 0.95),
    Parameter("decay", "double", 1e-6, 1e-1, distribution="logUniform"),
    Parameter("batch", "discrete", values=("16", "32", "64", "128")),
)
"""Of a network that learns digits, epoch by epoch."""


class NetworkRuns:
    """Trains networks, an epoch at a time and none twice: the accuracy after each epoch depends on the values alone."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, ...], Any] = {}
        self._curves: dict[tuple[str, ...], list[float]] = {}

    def curve(self, values: Mapping[str, str], epochs: int) -> list[float]:
        """Return the accuracy after each of the first epochs."""
        key = tuple(values[parameter.name] for parameter in NETWORK)
        model = self._models.setdefault(key, _make_network(values))
        known = self._curves.setdefault(key, [])
        images, labels, others, truth = load_digits(400, 600)
        while len(known) < epochs:
            model.partial_fit(images, labels, classes=range(10))
            known.append(float(model.score(others, truth)))
        return known[:epochs]


def _make_network(values: Mapping[str, str]) -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        hidden_layer_sizes=(24,),
        solver="sgd",
        learning_rate_init=float(values["rate"]),
        momentum=float(values["momentum"]),
        alpha=float(values["decay"]),
        batch_size=int(values["batch"]),
        random_state=0,
    )
