"""Say what a trial's observation is: the least, the greatest and the latest value of each metric that it was to tell.

Pure. What is no number counts as latest alone, NaN too. Source: pkg/controller.v1beta1/trial/trial_controller_util.go
(getMetrics) and experiment/util/status_util.go (getObjectiveMetricValue) of kubeflow/katib.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from proa.ml.tuning.kinds import UNAVAILABLE
from proa.ml.tuning.records import MetricPoint, Objective

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|infinity)", re.I | re.A)


def number(value: str) -> float | None:
    """Return a metric's value, or None for what is no number that can be compared."""
    return float(value) if _NUMBER.fullmatch(value) else None


def make_observation(objective: Objective, points: Iterable[MetricPoint]) -> dict[str, Any] | None:
    """Return `status.observation` for points ordered by time; None where the trial told nothing at all."""
    told: dict[str, list[str]] = {metric: [] for metric in objective.metrics}
    has_points = False
    for point in points:
        has_points = True
        if point.metric in told:
            told[point.metric].append(point.value)
    if not has_points:
        return None
    return {"metrics": [_summary(metric, values) for metric, values in told.items()]}


def is_available(objective: Objective, observation: Mapping[str, Any] | None) -> bool:
    """Return whether the trial told its objective's metric."""
    return bool(_find(objective.metric, observation).get("latest", UNAVAILABLE) != UNAVAILABLE)


def value_of(objective: Objective, observation: Mapping[str, Any] | None, metric: str = "") -> str:
    """Return what an observation says of a metric (the objective's), by its strategy: as written, or "unavailable"."""
    name = metric or objective.metric
    found = _find(name, observation)
    value = str(found.get(objective.strategies.get(name, "latest"), UNAVAILABLE))
    return str(found.get("latest", UNAVAILABLE)) if value == UNAVAILABLE else value


def objective_value(objective: Objective, observation: Mapping[str, Any] | None) -> float | None:
    """Return how good the trial was, or None where that is not known or no number."""
    found = number(value_of(objective, observation))
    return found if found is not None and math.isfinite(found) else None


def _summary(metric: str, values: list[str]) -> dict[str, str]:
    numbers = {value: found for value in values if (found := number(value)) is not None}
    return {
        "name": metric,
        "min": min(numbers, key=numbers.__getitem__, default=UNAVAILABLE),
        "max": max(numbers, key=numbers.__getitem__, default=UNAVAILABLE),
        "latest": values[-1] if values else UNAVAILABLE,
    }


def _find(metric: str, observation: Mapping[str, Any] | None) -> Mapping[str, Any]:
    for found in (observation or {}).get("metrics") or []:
        if found.get("name") == metric:
            return dict(found)
    return {}
