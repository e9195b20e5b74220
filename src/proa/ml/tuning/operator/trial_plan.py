"""Decide what a Trial needs next: its run made, its metrics read, a condition, or its run removed. Pure.

One step at a time, told from what is there alone: a crash between two steps repeats the second.
Source: pkg/controller.v1beta1/trial/trial_controller.go and trial_controller_util.go of kubeflow/katib.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from proa.client.protocol import Object
from proa.ml.tuning.kinds import TrialCondition as Type
from proa.ml.tuning.operator import conditions
from proa.ml.tuning.operator.conditions import Conditions
from proa.ml.tuning.operator.pod_trouble import Trouble
from proa.ml.tuning.spec.run_conditions import find_reason
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass

CREATED = "TrialCreated"
RUNNING = "TrialRunning"
SUCCEEDED = "TrialSucceeded"
EARLY_STOPPED = "TrialEarlyStopped"
FAILED = "TrialFailed"
KILLED = "TrialKilled"
METRICS_UNAVAILABLE = "MetricsUnavailable"

OVER = (Type.SUCCEEDED, Type.FAILED, Type.KILLED, Type.EARLY_STOPPED, Type.METRICS_UNAVAILABLE)
REASONS = {
    Type.SUCCEEDED: SUCCEEDED,
    Type.EARLY_STOPPED: EARLY_STOPPED,
    Type.FAILED: FAILED,
    Type.KILLED: KILLED,
    Type.METRICS_UNAVAILABLE: METRICS_UNAVAILABLE,
}

State = Literal["running", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run's own conditions say of it."""

    state: State
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """How a trial ends."""

    type: Type
    message: str
    reason: str = ""
    observation: Object | None = None


def judge(run: Object, spec: Object) -> Verdict:
    """Return how a run is, by the conditions that its trial's specification states; raise gjson.BadPath."""
    states: tuple[tuple[State, str], ...] = (
        ("failed", "failureCondition"),
        ("succeeded", "successCondition"),
    )
    for state, field in states:
        condition = spec.get(field)
        if condition and (found := find_reason(condition, run)) is not None:
            return Verdict(state, str(found.get("reason") or ""), str(found.get("message") or ""))
    return Verdict("running")


def is_over(trial: Object) -> bool:
    """Tell whether a trial has ended."""
    return conditions.has_any((trial.get("status") or {}).get("conditions") or (), OVER)


def has_run(trial: Object) -> bool:
    """Tell whether the trial's run was there once: it is said when it has been made."""
    return conditions.has((trial.get("status") or {}).get("conditions") or (), Type.RUNNING)


def begun(trial: Object, now: float) -> Object:
    """Return the status of a trial that is known: it began when it was first seen."""
    found = Conditions.of(trial, now).put(Type.CREATED, CREATED, "Trial is created")
    return conditions.merge({"startTime": meta.format_time(now), **(trial.get("status") or {})}, found)


def running(trial: Object, trouble: Trouble | None, now: float) -> Object:
    """Return the status of a trial whose run is there: running, or what keeps it from that."""
    status = begun(trial, now)
    found = Conditions(tuple(status["conditions"]), now)
    reason, message = (RUNNING, "Trial is running") if trouble is None else (trouble.reason, trouble.message)
    return conditions.merge(status, found.put(Type.RUNNING, reason, message))


def waiting(trial: Object, trouble: Trouble, now: float) -> Object:
    """Return the status of a trial whose run cannot be made yet: it is pending, and why."""
    status = begun(trial, now)
    found = Conditions(tuple(status["conditions"]), now)
    put = found.put(Type.RUNNING, trouble.reason, trouble.message, status="False")
    return conditions.merge(status, put)


def ended(trial: Object, end: End, now: float) -> Object:
    """Return the status of a trial that has ended."""
    status = begun(trial, now)
    found = Conditions(tuple(status["conditions"]), now)
    found = found.ended(end.type, end.reason or REASONS[end.type], end.message)
    observed = {} if end.observation is None else {"observation": end.observation}
    return conditions.merge({**status, **observed, "completionTime": meta.format_time(now)}, found)


def stuck_since(trial: Object) -> tuple[str, float] | None:
    """Return the trouble that a trial's status tells of, and since when, None where it tells of none."""
    found = conditions.find((trial.get("status") or {}).get("conditions") or (), Type.RUNNING)
    if found is None or found.get("reason") == RUNNING:
        return None
    return found.get("reason", ""), meta.parse_time(found["lastUpdateTime"])


def seconds_left(trial: Object, others: Sequence[Object], deadline_seconds: float, now: float) -> float:
    """Return how long a trial in trouble may still wait, 0 for no longer.

    The time counts only while no other trial of its experiment moves: one that waits for the others' room waits as
    long as they need. `others` are the experiment's other trials.
    """
    stuck = stuck_since(trial)
    if stuck is None:
        return deadline_seconds
    since = stuck[1]
    for other in others:
        found = (other.get("status") or {}).get("conditions") or ()
        if not conditions.has_any(found, OVER):
            if conditions.has(found, Type.RUNNING) and stuck_since(other) is None:
                return deadline_seconds
        elif not conditions.has(found, Type.FAILED) and (at := other["status"].get("completionTime")):
            since = max(since, meta.parse_time(at))
    return max(since + deadline_seconds - now, 0.0)


def give_up(trouble: Trouble, deadline_seconds: float) -> End:
    """Return the end of a trial that did not come out of its trouble."""
    waited = f"no change in {deadline_seconds:g} s in which no other trial of the experiment moved on"
    return End(Type.FAILED, f"Trial has failed. {trouble.message} ({waited})", trouble.reason)
