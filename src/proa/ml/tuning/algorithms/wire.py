"""What is said between the operator and its worker process: a JSON object a line, each request answered by one.

A request has `do` and what that needs; an answer has `result`, or `error` with `kind` and `message` (errors.py). Of a
study only its changes are said, where the worker has it already: a `revision` counts what was said of it, `base` is
the revision that the changes are of (0: of nothing, everything is said). So a request costs the same however many
trials there were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from proa.ml.tuning.records import (
    MetricPoint,
    Objective,
    Parameter,
    Problem,
    Rule,
    Study,
    Suggested,
    Suggestions,
    TrialRecord,
)

MAX_REQUEST_BYTES = 256 << 20
MAX_ANSWER_BYTES = 32 << 20


def study_head(study: Study) -> dict[str, Any]:
    """Return what a study is but for its trials."""
    return {
        "seed": study.seed,
        "parameters": [asdict(parameter) for parameter in study.parameters],
        "objective": {**asdict(study.objective), "strategies": dict(study.objective.strategies)},
        "settings": dict(study.settings),
        "parallel": study.parallel,
        "max_trials": study.max_trials,
    }


def read_study(key: str, head: dict[str, Any], trials: Sequence[TrialRecord]) -> Study:
    """Return the study of a head and trials."""
    parameters = [Parameter(**{**one, "values": tuple(one["values"])}) for one in head["parameters"]]
    objective = Objective(**{**head["objective"], "additional": tuple(head["objective"]["additional"])})
    return Study(
        key=key,
        seed=head["seed"],
        parameters=tuple(parameters),
        objective=objective,
        settings=head["settings"],
        trials=tuple(trials),
        parallel=head["parallel"],
        max_trials=head["max_trials"],
    )


def trial_line(trial: TrialRecord) -> list[Any]:
    """Return a trial; a value that is not a finite number is not known."""
    value = trial.value if trial.value is not None and math.isfinite(trial.value) else None
    return [trial.name, dict(trial.assignments), trial.state, value, dict(trial.labels)]


def read_trial(line: Sequence[Any]) -> TrialRecord:
    """Return the trial that was said."""
    return TrialRecord(*line)


def suggestions_body(suggestions: Suggestions) -> dict[str, Any]:
    """Return an answer to `suggest`."""
    return {
        "suggested": [[dict(one.assignments), dict(one.labels), one.name] for one in suggestions.suggested],
        "has_ended": suggestions.has_ended,
        "settings": dict(suggestions.settings),
    }


def read_suggestions(body: dict[str, Any]) -> Suggestions:
    """Return the suggestions that were answered."""
    return Suggestions(
        tuple(Suggested(*one) for one in body["suggested"]), body["has_ended"], body["settings"]
    )


def problems_body(problems: Sequence[Problem]) -> list[list[str]]:
    """Return an answer to `check`."""
    return [[problem.field, problem.message] for problem in problems]


def read_problems(body: list[list[str]]) -> tuple[Problem, ...]:
    """Return the problems that were answered."""
    return tuple(Problem(*one) for one in body)


def rules_body(rules: Sequence[Rule]) -> list[list[Any]]:
    """Return an answer to `rules`."""
    return [[rule.metric, rule.value, rule.comparison, rule.start_step] for rule in rules]


def read_rules(body: list[list[Any]]) -> tuple[Rule, ...]:
    """Return the rules that were answered."""
    return tuple(Rule(*one) for one in body)


def points_body(points: Mapping[str, Sequence[MetricPoint]]) -> dict[str, list[list[Any]]]:
    """Return points by their trial's name."""
    return {
        name: [[point.time, point.metric, point.value] for point in some] for name, some in points.items()
    }


def read_points(body: dict[str, list[list[Any]]]) -> dict[str, tuple[MetricPoint, ...]]:
    """Return the points that were said."""
    return {name: tuple(MetricPoint(*one) for one in some) for name, some in body.items()}
