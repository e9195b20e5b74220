"""Say how an Experiment's trials are: how many in each state, which, and which is the best. Pure.

A trial is read once for each of its versions: an Experiment of many trials is looked at often.
Source: pkg/controller.v1beta1/experiment/util/status_util.go (updateTrialsSummary) of kubeflow/katib.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from proa.client.protocol import Object
from proa.ml.tuning.kinds import UNAVAILABLE, TrialCondition
from proa.ml.tuning.observations.observation import number, value_of
from proa.ml.tuning.operator import conditions
from proa.ml.tuning.records import Objective, TrialState
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass

State = TrialState | Literal["pending"]

STATES: tuple[tuple[TrialCondition, TrialState], ...] = (
    (TrialCondition.KILLED, "killed"),
    (TrialCondition.FAILED, "failed"),
    (TrialCondition.SUCCEEDED, "succeeded"),
    (TrialCondition.EARLY_STOPPED, "early-stopped"),
    (TrialCondition.RUNNING, "running"),
    (TrialCondition.METRICS_UNAVAILABLE, "metrics-unavailable"),
)
"""The first condition that is true says the state; none: pending."""
ACTIVE: frozenset[State] = frozenset({"pending", "running"})

COUNTS: Mapping[State, tuple[str, str]] = {
    "pending": ("pendingTrialList", "trialsPending"),
    "running": ("runningTrialList", "trialsRunning"),
    "succeeded": ("succeededTrialList", "trialsSucceeded"),
    "failed": ("failedTrialList", "trialsFailed"),
    "killed": ("killedTrialList", "trialsKilled"),
    "early-stopped": ("earlyStoppedTrialList", "trialsEarlyStopped"),
    "metrics-unavailable": ("metricsUnavailableTrialList", "trialMetricsUnavailable"),
}
"""Fields of an Experiment's status: the names, and how many."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A trial as counting sees it. `value` is its objective's, as written, "unavailable" where there is none."""

    name: str
    state: State
    value: str
    created: str
    trial: Object
    is_deleting: bool


Summaries = Mapping[str, Summary]


def state_of(trial: Object) -> State:
    """Return how far a trial is."""
    found = (trial.get("status") or {}).get("conditions") or ()
    return next((state for type, state in STATES if conditions.has(found, type)), "pending")


def is_over(trial: Object) -> bool:
    """Tell whether a trial has ended."""
    return state_of(trial) not in ACTIVE


def summarise(trials: Iterable[Object], objective: Objective, known: Summaries) -> dict[str, Summary]:
    """Return what is to know of each trial, by name; what is `known` of the same version is not read again."""
    found: dict[str, Summary] = {}
    for trial in trials:
        name = trial["metadata"]["name"]
        summary = known.get(name)
        if summary is None or summary.trial is not trial:
            summary = _read(trial, objective)
        found[name] = summary
    return found


def _read(trial: Object, objective: Objective) -> Summary:
    observation = (trial.get("status") or {}).get("observation")
    return Summary(
        meta.name(trial),
        state_of(trial),
        value_of(objective, observation),
        trial["metadata"].get("creationTimestamp", ""),
        trial,
        meta.is_deleting(trial),
    )


@dataclass(frozen=True, slots=True)
class Tally:
    """`names` by state, in the order that they were suggested in."""

    names: Mapping[State, Sequence[str]]
    best: Object | None
    is_goal_reached: bool

    def count(self, *states: State) -> int:
        """Return how many trials are in one of these states."""
        return sum(len(self.names.get(state, ())) for state in states)

    @property
    def total(self) -> int:
        """How many trials there are."""
        return self.count(*COUNTS)

    @property
    def active(self) -> int:
        """How many trials have not ended."""
        return self.count(*ACTIVE)

    @property
    def completed(self) -> int:
        """How many trials have ended, however."""
        return self.total - self.active

    @property
    def failed(self) -> int:
        """How many trials failed, or told no metrics."""
        return self.count("failed", "metrics-unavailable")


def tally(summaries: Sequence[Summary], objective: Objective) -> Tally:
    """Count trials, and find the best: where no value is a number, the latest."""
    names: dict[State, list[str]] = {}
    best: Summary | None = None
    best_value = math.nan
    for summary in summaries:
        names.setdefault(summary.state, []).append(summary.name)
        if summary.value == UNAVAILABLE:
            continue
        value = number(summary.value)
        if value is not None and _is_better(value, best_value, objective):
            best, best_value = summary, value
        elif value is None and math.isnan(best_value):
            best = summary
    goal = objective.goal
    reached = goal is not None and (best_value >= goal if objective.is_maximized else best_value <= goal)
    return Tally(names, best.trial if best is not None else None, reached)


def _is_better(value: float, best: float, objective: Objective) -> bool:
    if math.isnan(best):
        return True
    return value > best if objective.is_maximized else value < best


def make_counts(found: Tally) -> Object:
    """Return the part of an Experiment's status that counts trials; what is nothing is left out."""
    status: Object = {"trials": found.total} if found.total else {}
    for state, (names, count) in COUNTS.items():
        if of_state := found.names.get(state):
            status[names], status[count] = [*of_state], len(of_state)
    return status


COUNT_FIELDS = frozenset({"trials", *(field for fields in COUNTS.values() for field in fields)})


def make_optimum(best: Object) -> Object:
    """Return `status.currentOptimalTrial` for the best trial."""
    return {
        "bestTrialName": meta.name(best),
        "parameterAssignments": best["spec"].get("parameterAssignments") or [],
        "observation": {
            "metrics": ((best.get("status") or {}).get("observation") or {}).get("metrics") or []
        },
    }
