"""Read what an experiment looks for, and where: its objective and its parameters, as records.

What the API server's rules, or checks.py, have let through can be read; nothing is checked here again. A trial's
specification has its experiment's objective, and is read the same.
Source: pkg/suggestion/v1beta1/internal/search_space.py and pkg/apis/controller of kubeflow/katib.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from proa.ml.tuning.records import Distribution, Objective, Parameter, Strategy

RANGED = ("double", "int")
DISTRIBUTIONS = ("uniform", "logUniform", "normal", "logNormal")
Spec = Mapping[str, Any]


def read_objective(spec: Spec) -> Objective:
    """Return the objective of an Experiment's or a Trial's spec, with a strategy for each metric."""
    said = spec["objective"]
    strategies = {entry["name"]: entry["value"] for entry in metric_strategies(said)}
    goal = said.get("goal")
    return Objective(
        metric=said["objectiveMetricName"],
        is_maximized=said["type"] == "maximize",
        goal=None if goal is None else float(goal),
        additional=tuple(said.get("additionalMetricNames") or ()),
        strategies=cast(dict[str, Strategy], strategies),
    )


def metric_strategies(objective: Spec) -> list[dict[str, str]]:
    """Return the strategies that are said, and those that are not: the best value by the objective's type."""
    said = [dict(entry) for entry in objective.get("metricStrategies") or ()]
    best = {"minimize": "min", "maximize": "max"}.get(objective.get("type", ""), "latest")
    names = [objective.get("objectiveMetricName", ""), *(objective.get("additionalMetricNames") or ())]
    known = {entry.get("name") for entry in said}
    return [*said, *({"name": name, "value": best} for name in dict.fromkeys(names) if name not in known)]


def read_parameters(spec: Spec) -> tuple[Parameter, ...]:
    """Return the search space of an Experiment's spec; a network's (nasConfig) has no parameters."""
    return tuple(_read_parameter(said) for said in spec.get("parameters") or ())


def _read_parameter(said: Spec) -> Parameter:
    space, kind = said.get("feasibleSpace") or {}, said["parameterType"]
    if kind not in RANGED:
        return Parameter(said["name"], kind, values=tuple(dict.fromkeys(space.get("list") or ())))
    distribution = space.get("distribution")
    return Parameter(
        said["name"],
        kind,
        minimum=float(space["min"]),
        maximum=float(space["max"]),
        step=float(space.get("step") or 0),
        distribution=cast(Distribution, distribution if distribution in DISTRIBUTIONS else "uniform"),
    )
