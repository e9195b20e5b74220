"""Turn an Experiment into the question for its algorithm, and the answer into a Suggestion's status. Pure.

Names of trials come of the experiment's uid and the number of the suggestion: whoever asks again, after a crash, gets
the same names. Source: pkg/controller.v1beta1/suggestion/suggestion_controller.go and
suggestionclient/suggestionclient.go of kubeflow/katib.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence

from proa.client.protocol import Object
from proa.ml.tuning.kinds import SuggestionCondition as Type
from proa.ml.tuning.observations.observation import objective_value
from proa.ml.tuning.operator import conditions
from proa.ml.tuning.operator.conditions import Conditions
from proa.ml.tuning.operator.experiment_plan import DEFAULT_PARALLEL, ENDED
from proa.ml.tuning.operator.tally import state_of
from proa.ml.tuning.records import Objective, Parameter, Rule, Study, Suggested, Suggestions, TrialRecord
from proa.objects import meta

CREATED = "SuggestionCreated"
RUNNING = "SuggestionRunning"
FAILED = "SuggestionFailed"
READY, NOT_READY = "DeploymentReady", "DeploymentNotReady"
OVER = (Type.SUCCEEDED, Type.FAILED)
SUFFIX_LENGTH = 8
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Of names that Kubernetes makes: no vowels, and no digits that look like letters."""
MAX_NAME = 63

KnownRecord = tuple[Object | None, TrialRecord]
"""A trial as it was when it was read, and what was read."""


def is_over(suggestion: Object) -> bool:
    """Tell whether nothing more is suggested."""
    return conditions.has_any((suggestion.get("status") or {}).get("conditions") or (), OVER)


def is_running(suggestion: Object) -> bool:
    """Tell whether the algorithm has agreed to the experiment."""
    return conditions.has((suggestion.get("status") or {}).get("conditions") or (), Type.RUNNING)


def assignments_of(suggestion: Object) -> Sequence[Object]:
    """Return what was suggested so far, oldest first."""
    found: Sequence[Object] = (suggestion.get("status") or {}).get("suggestions") or []
    return found


def missing(suggestion: Object) -> int:
    """Return how many suggestions are asked for that are not there."""
    return max(int(suggestion["spec"].get("requests") or 0) - len(assignments_of(suggestion)), 0)


def algorithm_of(suggestion: Object) -> str:
    """Return the algorithm's name."""
    return str((suggestion["spec"].get("algorithm") or {}).get("algorithmName") or "")


def make_study(
    experiment: Object,
    suggestion: Object,
    parameters: tuple[Parameter, ...],
    objective: Objective,
    trials: Mapping[str, Object],
    known: dict[str, KnownRecord],
) -> Study:
    """Return what the algorithm is asked with. `trials` are the experiment's, by name.

    What is `known` of a trial is not read again until it changes; it is kept up to date.
    """
    spec = experiment["spec"]
    settings = {
        **settings_of(suggestion["spec"].get("algorithm")),
        **settings_of(suggestion.get("status")),
    }
    return Study(
        key=meta.uid(experiment),
        seed=_seed(meta.uid(experiment)),
        parameters=parameters,
        objective=objective,
        settings=settings,
        trials=tuple(
            _recall(entry, trials.get(entry["name"]), objective, known)
            for entry in assignments_of(suggestion)
        ),
        parallel=int(spec.get("parallelTrialCount") or DEFAULT_PARALLEL),
        max_trials=spec.get("maxTrialCount"),
    )


def settings_of(holder: Object | None) -> dict[str, str]:
    """Return `algorithmSettings`, as written."""
    return {
        entry["name"]: str(entry.get("value", "")) for entry in (holder or {}).get("algorithmSettings") or ()
    }


def begun(suggestion: Object, now: float) -> Object:
    """Return the status of a Suggestion whose algorithm has agreed to it."""
    found = Conditions.of(suggestion, now).put(Type.CREATED, CREATED, "Suggestion is created")
    found = found.without(Type.SUCCEEDED).put(Type.RUNNING, RUNNING, "Suggestion is running")
    status = {"startTime": meta.format_time(now), **(suggestion.get("status") or {})}
    return conditions.merge(status, found)


def waiting(suggestion: Object, why: str, now: float, deadline_seconds: float) -> Object:
    """Return the status of a Suggestion whose algorithm's own service is not ready: Failed after the deadline."""
    found = Conditions.of(suggestion, now).put(Type.CREATED, CREATED, "Suggestion is created")
    found = found.put(Type.DEPLOYMENT_READY, NOT_READY, why, status="False").saying(
        Type.DEPLOYMENT_READY, why
    )
    since = conditions.find(found.items, Type.DEPLOYMENT_READY)
    if since is not None and now - meta.parse_time(since["lastTransitionTime"]) > deadline_seconds:
        return failed(suggestion, f"{why} (for more than {deadline_seconds:g} s)", now)
    return conditions.merge({"startTime": meta.format_time(now), **(suggestion.get("status") or {})}, found)


def deployed(suggestion: Object, now: float) -> Object:
    """Return the Suggestion with the word that its algorithm's own service is ready."""
    found = Conditions.of(suggestion, now).put(Type.CREATED, CREATED, "Suggestion is created")
    found = found.put(Type.DEPLOYMENT_READY, READY, "Deployment is ready")
    return {**suggestion, "status": conditions.merge(suggestion.get("status") or {}, found)}


def failed(suggestion: Object, message: str, now: float) -> Object:
    """Return the status of a Suggestion that cannot go on."""
    found = Conditions.of(suggestion, now).put(Type.CREATED, CREATED, "Suggestion is created")
    at = meta.format_time(now)
    status = {"startTime": at, **(suggestion.get("status") or {}), "completionTime": at}
    return conditions.merge(status, found.ended(Type.FAILED, FAILED, message))


def answered(
    suggestion: Object, experiment: Object, answer: Suggestions, rules: Sequence[Rule], now: float
) -> Object:
    """Return the status of a Suggestion with what the algorithm suggested beside what was there."""
    status = begun(suggestion, now)
    known = assignments_of(suggestion)
    names = {entry["name"] for entry in known}
    added: list[Object] = []
    for number, suggested in enumerate(answer.suggested, start=len(known)):
        name = suggested.name if suggested.name and suggested.name not in names else ""
        name = name or make_name(experiment, number, names)
        names.add(name)
        added.append(_assignment(name, suggested, rules))
    status["suggestions"] = [*known, *added]
    status["suggestionCount"] = len(status["suggestions"])
    if answer.settings:
        kept = {**settings_of(status), **answer.settings}
        status["algorithmSettings"] = [{"name": name, "value": value} for name, value in kept.items()]
    if not answer.has_ended:
        return status
    status["completionTime"] = meta.format_time(now)
    message = f"Algorithm {algorithm_of(suggestion)} has no more suggestions"
    return conditions.merge(
        status, Conditions.of({"status": status}, now).ended(Type.SUCCEEDED, ENDED, message)
    )


def leads_nowhere(answer: Suggestions, study: Study) -> bool:
    """Tell whether an answer without suggestions would be the same next time: no trial's end can change it."""
    is_waiting = any(trial.state == "running" for trial in study.trials)
    return not (answer.suggested or answer.has_ended or is_waiting)


def too_many(suggestion: Object) -> str:
    """Say that a Suggestion is as large as an object may be."""
    count = len(assignments_of(suggestion))
    return (
        f"Suggestion {meta.name(suggestion)} has {count} assignments, and no object holds more of them: set "
        f"spec.maxTrialCount of the experiment to at most {count}"
    )


def make_name(experiment: Object, number: int, taken: Collection[str]) -> str:
    """Return the name of the trial of the `number`-th suggestion."""
    prefix = meta.name(experiment)[: MAX_NAME - SUFFIX_LENGTH - 1]
    attempt = 0
    while True:
        digest = hashlib.sha256(f"{meta.uid(experiment)}/{number}/{attempt}".encode()).digest()
        suffix = "".join(SUFFIX_ALPHABET[byte % len(SUFFIX_ALPHABET)] for byte in digest[:SUFFIX_LENGTH])
        if (name := f"{prefix}-{suffix}") not in taken:
            return name
        attempt += 1


def finished_uids(trials: Iterable[Object]) -> dict[str, str]:
    """Return the uids of trials that early stopping learns from, by name."""
    return {meta.name(t): meta.uid(t) for t in trials if state_of(t) == "succeeded"}


def _assignment(name: str, suggested: Suggested, rules: Sequence[Rule]) -> Object:
    made: Object = {
        "name": name,
        "parameterAssignments": [
            {"name": key, "value": value} for key, value in suggested.assignments.items()
        ],
    }
    if rules:
        made["earlyStoppingRules"] = [
            {"name": r.metric, "value": r.value, "comparison": r.comparison, "startStep": r.start_step}
            for r in rules
        ]
    if suggested.labels:
        made["labels"] = {**suggested.labels}
    return made


def _recall(
    assignment: Object, trial: Object | None, objective: Objective, known: dict[str, KnownRecord]
) -> TrialRecord:
    found = known.get(assignment["name"])
    if found is None or found[0] is not trial:
        found = known[assignment["name"]] = (trial, _record(assignment, trial, objective))
    return found[1]


def _record(assignment: Object, trial: Object | None, objective: Objective) -> TrialRecord:
    state = "pending" if trial is None else state_of(trial)
    return TrialRecord(
        assignment["name"],
        {entry["name"]: entry["value"] for entry in assignment.get("parameterAssignments") or ()},
        "running" if state == "pending" else state,
        objective_value(objective, ((trial or {}).get("status") or {}).get("observation")),
        assignment.get("labels") or {},
    )


def _seed(uid: str) -> int:
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4]) & 0x7FFFFFFF
