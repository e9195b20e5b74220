"""What an Experiment and its Trials say of themselves, as this command shows it: pure.

How good a trial is follows the experiment's strategies (`ml/tuning/observations/observation.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from proa.cli.pipelines.results import clean
from proa.client.protocol import Object
from proa.ml.tuning.kinds import UNAVAILABLE
from proa.ml.tuning.kinds import ExperimentCondition as Of
from proa.ml.tuning.kinds import TrialCondition as State
from proa.ml.tuning.observations.observation import objective_value, value_of
from proa.ml.tuning.records import Objective
from proa.ml.tuning.spec.search_space import read_objective
from proa.objects import meta

PENDING = "Pending"
_TRIAL_STATES = (
    State.EARLY_STOPPED,
    State.METRICS_UNAVAILABLE,
    State.FAILED,
    State.KILLED,
    State.SUCCEEDED,
    State.RUNNING,
)
"""What a trial is, by the first of these that is true: an early-stopped one has succeeded too."""
_EXPERIMENT_STATES = (Of.FAILED, Of.SUCCEEDED, Of.RESTARTING, Of.RUNNING, Of.CREATED)
GOOD = (State.SUCCEEDED, State.EARLY_STOPPED)
UNDER_WAY = (PENDING, State.RUNNING)
_RUNS = ("trialTemplate", "runSpec")


class Trial(NamedTuple):
    """One trial. `value` is its objective's, None where it is not known; times are seconds since the epoch."""

    name: str
    state: str
    reason: str
    message: str
    value: float | None
    metrics: Mapping[str, str]
    assignments: Mapping[str, str]
    created: float
    started: float | None
    ended: float | None

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more will come of it."""
        return self.state not in UNDER_WAY


class Experiment(NamedTuple):
    """One experiment with its trials, in the order in which they were made."""

    name: str
    namespace: str
    state: str
    reason: str
    message: str
    objective: Objective
    algorithm: str
    limits: Mapping[str, int]
    trials: Sequence[Trial]
    created: float
    ended: float | None

    @property
    def is_over(self) -> bool:
        """Tell whether it has succeeded or failed."""
        return self.state in (Of.SUCCEEDED, Of.FAILED)

    @property
    def ended_trials(self) -> list[Trial]:
        """Return the trials that are over, in the order in which they ended."""
        return sorted(
            (trial for trial in self.trials if trial.is_over), key=lambda t: (t.ended or t.created, t.name)
        )

    @property
    def best(self) -> Trial | None:
        """Return the best trial so far; of equal ones the first."""
        found: Trial | None = None
        for trial in self.ended_trials:
            if trial.state in GOOD and is_better(trial, found, self.objective):
                found = trial
        return found

    def count(self, *states: str) -> int:
        """Return how many trials are in one of these states."""
        return sum(trial.state in states for trial in self.trials)


def read_experiment(experiment: Object, trials: Iterable[Object]) -> Experiment:
    """Return what the objects say, as it may be shown on a terminal."""
    experiment = _printable(experiment)
    spec, status = experiment.get("spec") or {}, experiment.get("status") or {}
    objective = read_objective(spec)
    condition = _first_true(status, _EXPERIMENT_STATES)
    read = [read_trial(trial, objective) for trial in trials]
    limits = {
        key: spec[key]
        for key in ("maxTrialCount", "parallelTrialCount", "maxFailedTrialCount")
        if key in spec
    }
    return Experiment(
        name=meta.name(experiment),
        namespace=meta.namespace(experiment),
        state=condition.get("type", PENDING),
        reason=condition.get("reason", ""),
        message=condition.get("message", ""),
        objective=objective,
        algorithm=(spec.get("algorithm") or {}).get("algorithmName", ""),
        limits=limits,
        trials=sorted(read, key=lambda trial: (trial.created, trial.name)),
        created=_seconds(experiment["metadata"].get("creationTimestamp")) or 0.0,
        ended=_seconds(status.get("completionTime")),
    )


def read_trial(trial: Object, objective: Objective) -> Trial:
    """Return what a Trial says, as it may be shown on a terminal."""
    trial = _printable(trial)
    spec, status = trial.get("spec") or {}, trial.get("status") or {}
    condition = _first_true(status, _TRIAL_STATES)
    observation = status.get("observation")
    told = {metric: value_of(objective, observation, metric) for metric in objective.metrics}
    return Trial(
        name=meta.name(trial),
        state=condition.get("type", PENDING),
        reason=condition.get("reason", ""),
        message=condition.get("message", ""),
        value=objective_value(objective, observation),
        metrics={metric: value for metric, value in told.items() if value != UNAVAILABLE},
        assignments={one["name"]: one["value"] for one in spec.get("parameterAssignments") or ()},
        created=_seconds(trial["metadata"].get("creationTimestamp")) or 0.0,
        started=_seconds(status.get("startTime")),
        ended=_seconds(status.get("completionTime")),
    )


def is_better(trial: Trial, other: Trial | None, objective: Objective) -> bool:
    """Tell whether a trial is known to be better than another; anything known is better than nothing."""
    if trial.value is None:
        return False
    if other is None or other.value is None:
        return True
    return trial.value > other.value if objective.is_maximized else trial.value < other.value


def _printable(obj: Object) -> Object:
    """Return an Experiment or a Trial, without what its pods are made of, whose texts change no terminal."""
    spec = {key: value for key, value in (obj.get("spec") or {}).items() if key not in _RUNS}
    cleaned: Object = _clean({**obj, "spec": spec})
    return cleaned


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isprintable() else clean(value)
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def _first_true(status: Object, types: Sequence[str]) -> Mapping[str, Any]:
    true = {one["type"]: one for one in status.get("conditions") or () if one.get("status") == "True"}
    return next((true[type] for type in types if type in true), {})


def _seconds(text: str | None) -> float | None:
    return meta.parse_time(text) if text else None
