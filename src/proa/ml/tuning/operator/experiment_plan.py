"""Decide what an Experiment needs: its status, how many suggestions, which trials to make and which to end. Pure.

As many trials run at once as `parallelTrialCount` says, of `maxTrialCount` altogether; assignments that have no trial
yet come first, then more are asked for. Source: pkg/controller.v1beta1/experiment/experiment_controller.go and
experiment/util/status_util.go of kubeflow/katib.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from proa.client.protocol import Object
from proa.ml.tuning.kinds import ExperimentCondition as Type
from proa.ml.tuning.kinds import SuggestionCondition
from proa.ml.tuning.operator import conditions
from proa.ml.tuning.operator.conditions import Conditions
from proa.ml.tuning.operator.tally import (
    ACTIVE,
    COUNT_FIELDS,
    Summary,
    Tally,
    make_counts,
    make_optimum,
    tally,
)
from proa.ml.tuning.records import Objective
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass

CREATED = "ExperimentCreated"
RUNNING = "ExperimentRunning"
RESTARTING = "ExperimentRestarting"
GOAL_REACHED = "ExperimentGoalReached"
MAX_TRIALS_REACHED = "ExperimentMaxTrialsReached"
SUGGESTION_END_REACHED = "ExperimentSuggestionEndReached"
FAILED = "ExperimentFailed"

ENDED = "SuggestionEndReached"
"""Why a Suggestion has succeeded whose algorithm has no more."""
SUGGESTION_SUCCEEDED = "Experiment is succeeded"
SUGGESTION_RESTARTING = "Experiment is restarting"
OVER = (Type.SUCCEEDED, Type.FAILED)
RESTARTABLE_POLICIES = ("LongRunning", "FromVolume")
RELEASING_POLICIES = ("Never", "FromVolume")
DEFAULT_PARALLEL = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order; then `status` is to be the Experiment's."""

    status: Object
    delete: Sequence[str] = ()
    """Names of trials."""
    suggestion_status: Object | None = None
    requests: int | None = None
    """How many suggestions there are to be; where there is no Suggestion yet it is to be made."""
    create: Sequence[Object] = ()
    """Assignments that have no trial."""


def plan(
    experiment: Object,
    objective: Objective,
    trials: Mapping[str, Summary],
    suggestion: Object | None,
    now: float,
) -> Plan:
    """Decide, for an Experiment whose specification is right."""
    status: Object = experiment.get("status") or {}
    found = Conditions.of(experiment, now)
    assigned = ((suggestion or {}).get("status") or {}).get("suggestions") or []
    counted = tally(_in_order(trials, assigned), objective)
    suggestion_status: Object | None = None
    if found.has_any(OVER):
        if not is_restarted(experiment, counted.total):
            return Plan(
                _with_counts(status, counted), suggestion_status=_release(experiment, suggestion, now)
            )
        found = found.without(*OVER).put(Type.RESTARTING, RESTARTING, "Experiment is restarted")
        status = {key: value for key, value in status.items() if key != "completionTime"}
        suggestion_status = _restart(suggestion, now)
    if not found.has(Type.CREATED):
        found = found.put(Type.CREATED, CREATED, "Experiment is created")
        status = {"startTime": meta.format_time(now), **status}
    ended = _end(experiment, counted, trials, suggestion, len(assigned))
    status = _with_counts(status, counted)
    if ended is not None:
        status["completionTime"] = meta.format_time(now)
        return Plan(conditions.merge(status, found.ended(*ended)), suggestion_status=suggestion_status)
    status = conditions.merge(status, found.put(Type.RUNNING, RUNNING, "Experiment is running"))
    if suggestion_status is not None:
        return Plan(status, suggestion_status=suggestion_status)
    if counted.active > (parallel := _parallel(experiment)):
        return Plan(status, delete=_newest(trials, counted.active - parallel))
    return _ask_for_more(experiment, counted, trials, suggestion, assigned, status)


def refuse(experiment: Object, message: str, now: float) -> Plan:
    """Return the plan for an Experiment that is wrong: nothing is made."""
    found = Conditions.of(experiment, now)
    if found.has_any(OVER):
        return Plan(experiment.get("status") or {})
    found = found.put(Type.CREATED, CREATED, "Experiment is created").ended(Type.FAILED, FAILED, message)
    at = meta.format_time(now)
    status = {"startTime": at, **(experiment.get("status") or {}), "completionTime": at}
    return Plan(conditions.merge(status, found))


def is_over(experiment: Object) -> bool:
    """Tell whether an Experiment has ended."""
    return conditions.has_any((experiment.get("status") or {}).get("conditions") or (), OVER)


def is_restarted(experiment: Object, trials: int) -> bool:
    """Tell whether an Experiment that ended is to go on: it came to its maximum, and may have more trials now."""
    spec = experiment["spec"]
    ended = meta.find_condition(experiment, Type.SUCCEEDED)
    return (
        ended is not None
        and ended.get("status") == "True"
        and ended.get("reason") == MAX_TRIALS_REACHED
        and spec.get("resumePolicy") in RESTARTABLE_POLICIES
        and (spec.get("maxTrialCount") is None or spec["maxTrialCount"] > trials)
    )


def make_suggestion_spec(experiment: Object, requests: int) -> Object:
    """Return the Suggestion's specification."""
    spec = experiment["spec"]
    made = {"algorithm": spec["algorithm"], "requests": requests, "resumePolicy": spec.get("resumePolicy")}
    if spec.get("earlyStopping"):
        made["earlyStopping"] = spec["earlyStopping"]
    return {key: value for key, value in made.items() if value is not None}


def _in_order(trials: Mapping[str, Summary], assigned: Iterable[Object]) -> list[Summary]:
    """Return the trials as they were suggested; what nobody suggested comes last."""
    names = dict.fromkeys(assignment["name"] for assignment in assigned)
    found = [trials[name] for name in names if name in trials]
    return found if len(found) == len(trials) else [*found, *(t for n, t in trials.items() if n not in names)]


def _with_counts(status: Object, counted: Tally) -> Object:
    kept = {key: value for key, value in status.items() if key not in COUNT_FIELDS}
    optimum = {} if counted.best is None else {"currentOptimalTrial": make_optimum(counted.best)}
    return {**kept, **make_counts(counted), **optimum}


def _end(
    experiment: Object,
    counted: Tally,
    trials: Mapping[str, Summary],
    suggestion: Object | None,
    assigned: int,
) -> tuple[Type, str, str] | None:
    """Return the condition that the Experiment ends with, None where it goes on."""
    spec = experiment["spec"]
    max_failed, max_trials = spec.get("maxFailedTrialCount"), spec.get("maxTrialCount")
    if counted.is_goal_reached:
        return (
            Type.SUCCEEDED,
            GOAL_REACHED,
            "Experiment has succeeded because Objective goal has reached",
        )
    if max_failed is not None and counted.failed and counted.failed >= max_failed:
        message = "Experiment has failed because max failed count has reached"
        return Type.FAILED, FAILED, f"{message}. {_last_failure(counted, trials)}"
    if max_trials is not None and counted.completed >= max_trials:
        message = "Experiment has succeeded because max trial count has reached"
        return Type.SUCCEEDED, MAX_TRIALS_REACHED, message
    failed = meta.find_condition(suggestion or {}, SuggestionCondition.FAILED)
    if failed is not None and failed.get("status") == "True":
        return Type.FAILED, FAILED, f"Suggestion has failed: {failed.get('message', '')}"
    if has_ended(suggestion) and not counted.active and counted.total >= assigned:
        message = "Experiment has succeeded because suggestion service has reached the end"
        return Type.SUCCEEDED, SUGGESTION_END_REACHED, message
    return None


def _last_failure(counted: Tally, trials: Mapping[str, Summary]) -> str:
    """Return what one of the trials that count as failed says of itself."""
    names = [*counted.names.get("metrics-unavailable", ()), *counted.names.get("failed", ())]
    told = (trials[names[-1]].trial.get("status") or {}).get("conditions") or [{}]
    return f"Trial {names[-1]}: {told[-1].get('message', '')}"


def has_ended(suggestion: Object | None) -> bool:
    """Tell whether a Suggestion's algorithm has no more."""
    succeeded = meta.find_condition(suggestion or {}, SuggestionCondition.SUCCEEDED)
    return succeeded is not None and succeeded.get("status") == "True" and succeeded.get("reason") == ENDED


def _ask_for_more(
    experiment: Object,
    counted: Tally,
    trials: Mapping[str, Summary],
    suggestion: Object | None,
    assigned: Sequence[Object],
    status: Object,
) -> Plan:
    wanted = _parallel(experiment)
    max_trials = experiment["spec"].get("maxTrialCount")
    if max_trials is not None:
        wanted = min(wanted, max_trials - counted.completed)
    missing = max(wanted - counted.active, 0)
    waiting = [assignment for assignment in assigned if assignment["name"] not in trials] if missing else []
    requests: int | None = len(assigned) + max(missing - len(waiting), 0)
    if has_ended(suggestion) or (
        suggestion is not None and suggestion["spec"].get("requests", 0) >= requests
    ):
        requests = None
    return Plan(status, requests=requests, create=waiting[:missing])


def _parallel(experiment: Object) -> int:
    return int(experiment["spec"].get("parallelTrialCount") or DEFAULT_PARALLEL)


def _newest(trials: Mapping[str, Summary], count: int) -> list[str]:
    """Return the trials to end where too many run: those that were made last."""
    active = [trial for trial in trials.values() if trial.state in ACTIVE]
    count -= sum(trial.is_deleting for trial in active)
    staying = sorted((t for t in active if not t.is_deleting), key=lambda t: (t.created, t.name))
    return [trial.name for trial in staying[len(staying) - count :]] if count > 0 else []


def _release(experiment: Object, suggestion: Object | None, now: float) -> Object | None:
    """Return the status of a Suggestion that is not needed any more, None where it is, or has it."""
    policy = experiment["spec"].get("resumePolicy")
    if suggestion is None or policy not in RELEASING_POLICIES:
        return None
    found = Conditions.of(suggestion, now)
    if found.has_any((SuggestionCondition.SUCCEEDED, SuggestionCondition.FAILED)):
        return None
    message = (
        "Suggestion is succeeded, can't be restarted"
        if policy == "Never"
        else "Suggestion is succeeded, suggestion volume is not deleted, can be restarted"
    )
    if conditions.find(found.items, Type.RUNNING) is not None:
        found = found.put(Type.RUNNING, SUGGESTION_SUCCEEDED, "Suggestion is not running", status="False")
    found = found.put(SuggestionCondition.SUCCEEDED, SUGGESTION_SUCCEEDED, message)
    status = {**(suggestion.get("status") or {}), "completionTime": meta.format_time(now)}
    return conditions.merge(status, found)


def _restart(suggestion: Object | None, now: float) -> Object | None:
    """Return the status of a Suggestion that goes on, None where it never stopped."""
    if suggestion is None or has_ended(suggestion):
        return None
    found = Conditions.of(suggestion, now)
    if not found.has(SuggestionCondition.SUCCEEDED):
        return None
    found = found.without(SuggestionCondition.SUCCEEDED).put(
        SuggestionCondition.RUNNING, SUGGESTION_RESTARTING, "Suggestion is not running", status="False"
    )
    status = {k: v for k, v in (suggestion.get("status") or {}).items() if k != "completionTime"}
    return conditions.merge(status, found)
