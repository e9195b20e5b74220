"""A Gaussian process over the cube: what a loss may be at a point, judged by the points near it.

The kernel is Matérn 5/2 with a length for each parameter (two categories are near only if they are the same), a height
and noise, which are those that make the losses likeliest (with priors that keep few points from being taken too
seriously), found by L-BFGS from the same start each time: the same points make the same process.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from proa.ml.tuning.algorithms.history import Booleans, Floats

FIT_POINTS = 100
"""Lengths, height and noise are found on so many points: that is what costs."""
_ROOT5 = np.sqrt(5.0)
_START = (np.log(0.5), 0.0, np.log(1e-3))
_SPREAD = (1.0, 1.0, 2.0)
_BOUNDS = ((np.log(0.03), np.log(20.0)), (np.log(0.05), np.log(20.0)), (np.log(1e-6), np.log(0.5)))


class GaussianProcess:
    """Fitted to `losses` (float[n], about standard normal) at `points` (float[n, dimensions])."""

    def __init__(self, points: Floats, losses: Floats, is_categorical: Booleans) -> None:
        self._is_categorical = is_categorical
        self._points = points
        chosen = _spread(len(points), FIT_POINTS)
        self._lengths, self._height, self._noise = _find_likeliest(
            _distances(points[chosen], points[chosen], is_categorical), losses[chosen]
        )
        self._losses = losses
        self._solve()

    def add(self, point: Floats, loss: float) -> None:
        """Take in another point, as the process is."""
        self._points = np.vstack([self._points, point])
        self._losses = np.append(self._losses, loss)
        self._solve()

    def predict(self, at: Floats) -> tuple[Floats, Floats]:
        """Return means and standard deviations at float[m, dimensions]."""
        from scipy.linalg import solve_triangular

        kernel = self._kernel(at)
        means = kernel @ self._weights
        reduced = solve_triangular(self._root, kernel.T, lower=True, check_finite=False)
        variances = self._height - np.einsum("ij,ij->j", reduced, reduced)
        return means, np.sqrt(np.maximum(variances, 1e-12))

    def _kernel(self, at: Floats) -> Floats:
        """Return float[at, points]."""
        free, fixed = ~self._is_categorical, self._is_categorical
        left, right = at[:, free] / self._lengths[free], self._points[:, free] / self._lengths[free]
        squared = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2.0 * left @ right.T
        if fixed.any():
            apart = _distances(at[:, fixed], self._points[:, fixed], fixed[fixed])
            squared += np.tensordot(self._lengths[fixed] ** -2, apart, axes=1)
        kernel: Floats = self._height * _matern(np.sqrt(np.maximum(squared, 0.0)))
        return kernel

    def _solve(self) -> None:
        from scipy.linalg import cho_solve, cholesky

        kernel = self._kernel(self._points)
        kernel[np.diag_indices_from(kernel)] += self._noise + 1e-8
        self._root = cholesky(kernel, lower=True, check_finite=False)
        self._weights = cho_solve((self._root, True), self._losses, check_finite=False)


def _spread(count: int, limit: int) -> Any:
    return np.linspace(0, count - 1, min(count, limit)).astype(int)


def _distances(left: Floats, right: Floats, is_categorical: Booleans) -> Floats:
    """Return float[dimensions, left, right]: squared distances, 1 between different categories."""
    apart = left.T[:, :, None] - right.T[:, None, :]
    apart[is_categorical] = np.abs(apart[is_categorical]) > 1e-9
    squared: Floats = apart**2
    return squared


def _matern(radius: Floats) -> Floats:
    kernel: Floats = (1.0 + _ROOT5 * radius + 5.0 / 3.0 * radius**2) * np.exp(-_ROOT5 * radius)
    return kernel


def _find_likeliest(distances: Floats, losses: Floats) -> tuple[Floats, float, float]:
    """Return the lengths, the height and the noise under which the losses are likeliest."""
    from scipy.optimize import minimize

    dimensions = len(distances)
    start = np.array([_START[0] + 0.5 * np.log(dimensions)] * dimensions + [*_START[1:]])
    spread = np.array([_SPREAD[0]] * dimensions + [*_SPREAD[1:]])
    bounds = [_BOUNDS[0]] * dimensions + [*_BOUNDS[1:]]
    found = minimize(
        _unlikelihood,
        start,
        args=(distances, losses, start, spread),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 60},
    )
    values = np.exp(found.x)
    return values[:dimensions], float(values[-2]), float(values[-1])


def _unlikelihood(
    logs: Floats, distances: Floats, losses: Floats, start: Floats, spread: Floats
) -> tuple[float, Floats]:
    """Return the negative logarithm of likelihood and prior, and its gradient by the logarithms of all."""
    from scipy.linalg import cho_solve, cholesky

    dimensions = len(distances)
    lengths, height, noise = np.exp(logs[:dimensions]), np.exp(logs[-2]), np.exp(logs[-1])
    radius = np.sqrt(np.tensordot(lengths**-2, distances, axes=1))
    fall = np.exp(-_ROOT5 * radius)
    shape = (1.0 + _ROOT5 * radius + 5.0 / 3.0 * radius**2) * fall
    kernel = height * shape
    kernel[np.diag_indices_from(kernel)] += noise + 1e-8
    root = cholesky(kernel, lower=True, check_finite=False)
    weights = cho_solve((root, True), losses, check_finite=False)
    inverse = cho_solve((root, True), np.eye(len(losses)), check_finite=False)
    change = inverse - np.outer(weights, weights)
    slope = height * 5.0 / 3.0 * (1.0 + _ROOT5 * radius) * fall * change
    gradient = np.empty(len(logs))
    gradient[:dimensions] = 0.5 * np.einsum("ij,kij->k", slope, distances) / lengths**2
    gradient[-2] = 0.5 * height * np.sum(shape * change)
    gradient[-1] = 0.5 * noise * np.trace(change)
    away = (logs - start) / spread
    value = 0.5 * losses @ weights + np.log(np.diag(root)).sum() + 0.5 * away @ away
    return float(value), gradient + away / spread
