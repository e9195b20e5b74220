"""What a parameter, an objective, a trial and a metric's point are: the words that all of tuning shares.

Experiments, Suggestions and Trials stay dicts; `spec` makes these of them. Records are frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from proa.objects.quick_dataclass import dataclass

ParameterType = Literal["double", "int", "discrete", "categorical"]
Distribution = Literal["uniform", "logUniform", "normal", "logNormal"]
Comparison = Literal["equal", "less", "greater"]
Strategy = Literal["min", "max", "latest"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One dimension of the search space.

    `minimum`, `maximum`, `step` (0 for none) are of double and int; `values`, as written, of discrete and categorical.
    """

    name: str
    type: ParameterType
    minimum: float = 0.0
    maximum: float = 0.0
    step: float = 0.0
    values: tuple[str, ...] = ()
    distribution: Distribution = "uniform"


@dataclass(frozen=True, slots=True)
class Objective:
    """What is looked for. `strategies` has one for each metric, the objective's and additional ones."""

    metric: str
    is_maximized: bool
    goal: float | None = None
    additional: tuple[str, ...] = ()
    strategies: Mapping[str, Strategy] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the names of all metrics, the objective's first."""
        return (self.metric, *self.additional)


TrialState = Literal["running", "succeeded", "early-stopped", "failed", "killed", "metrics-unavailable"]


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial as algorithms see it. `value` is the objective's, None where it is not known (yet)."""

    name: str
    assignments: Mapping[str, str]
    state: TrialState
    value: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Study:
    """What an algorithm is asked with: the whole experiment, as of one moment.

    `key` is the same for all requests of one experiment (what was computed may be kept by it), `seed` too. `trials` are
    all that were ever suggested, oldest first, running ones included. `settings` are the algorithm's, as written, with
    what it itself has asked to remember (`Suggestions.settings`) laid over.
    """

    key: str
    seed: int
    parameters: tuple[Parameter, ...]
    objective: Objective
    settings: Mapping[str, str]
    trials: tuple[TrialRecord, ...]
    parallel: int
    max_trials: int | None


@dataclass(frozen=True, slots=True)
class Suggested:
    """One trial to be: a value for each parameter, as a container's command line is to have it."""

    assignments: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    """"" for a name made of the experiment's."""


@dataclass(frozen=True, slots=True)
class Suggestions:
    """An algorithm's answer. Fewer than asked for: no more now (hyperband waits for a rung; the grid has ended).

    `has_ended`: there will be no more, whatever the running trials come to.
    """

    suggested: tuple[Suggested, ...]
    has_ended: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """Stop a trial once the metric compares so with the value, from its `start_step`-th point on (0: any)."""

    metric: str
    value: str
    comparison: Comparison
    start_step: int = 0


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """A metric's value, as written, at a time (seconds since the epoch)."""

    time: float
    metric: str
    value: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a field of an object: its path ("spec.objective.type") and words that say what would work."""

    field: str
    message: str
