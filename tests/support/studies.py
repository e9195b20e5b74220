"""Studies to ask algorithms with, and a loop that runs them against a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proa.ml.tuning.records import Objective, Parameter, Study, TrialRecord, TrialState

MIXED = (
    Parameter("lr", "double", 1e-5, 1.0, distribution="logUniform"),
    Parameter("momentum", "double", 0.0, 0.9, step=0.1),
    Parameter("layers", "int", 1, 8),
    Parameter("batch", "discrete", values=("16", "32", "128")),
    Parameter("optimizer", "categorical", values=("sgd", "adam", "ftrl")),
)


def make_study(
    parameters: tuple[Parameter, ...] = MIXED,
    trials: tuple[TrialRecord, ...] = (),
    settings: Mapping[str, str] | None = None,
    **changes: Any,
) -> Study:
    """Return a study that minimizes `loss`."""
    given: dict[str, Any] = {
        "key": "default/study",
        "seed": 7,
        "parameters": parameters,
        "objective": Objective("loss", is_maximized=False),
        "settings": settings or {},
        "trials": trials,
        "parallel": 3,
        "max_trials": None,
    }
    return Study(**{**given, **changes})


def make_trial(
    number: int,
    assignments: Mapping[str, str],
    value: float | None = None,
    state: TrialState | None = None,
    **labels: str,
) -> TrialRecord:
    """Return a trial: running without a value, succeeded with one."""
    state = state or ("running" if value is None else "succeeded")
    return TrialRecord(f"trial-{number}", assignments, state, value, labels)


def run_study(
    algorithm: Any,
    study: Study,
    evaluate: Callable[[Mapping[str, str]], float],
    *,
    budget: int,
    parallel: int = 1,
) -> list[TrialRecord]:
    """Run an algorithm, as many trials at once as said, each ending in the order that it began; return all trials."""
    trials = list(study.trials)
    memory: dict[str, Any] = {}
    while True:
        running = [index for index, trial in enumerate(trials) if trial.state == "running"]
        asked = _with_trials(study, trials)
        wanted = min(parallel - len(running), budget - len(trials))
        if wanted > 0:
            for one in algorithm.suggest(asked, wanted, memory).suggested:
                trials.append(
                    TrialRecord(f"trial-{len(trials)}", one.assignments, "running", None, one.labels)
                )
            running = [index for index, trial in enumerate(trials) if trial.state == "running"]
        if not running:
            return trials
        first = trials[running[0]]
        value = evaluate(first.assignments)
        trials[running[0]] = TrialRecord(first.name, first.assignments, "succeeded", value, first.labels)


def _with_trials(study: Study, trials: list[TrialRecord]) -> Study:
    return Study(
        study.key,
        study.seed,
        study.parameters,
        study.objective,
        study.settings,
        tuple(trials),
        study.parallel,
        study.max_trials,
    )
