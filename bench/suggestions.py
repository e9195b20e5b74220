"""How long does a suggestion take once there are 10,000 observations, and does that grow?

For each algorithm that learns: a suggestion asked of the worker process, as the operator asks it (one more trial has
ended since the last), with 100 and with 10,000 observations; a ratio of 1 is a cost that does not grow. Beside it
Optuna's own sampler of the same kind, alone in this process, in memory, asked for a trial and told its end with as many
observations. A Hartmann function of six variables; the median of some requests.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / part) for part in ("src", "tests")]

if TYPE_CHECKING:
    from proa.ml.tuning.records import TrialRecord

FEW, MANY = 100, 10_000
ALGORITHMS = ("random", "tpe", "multivariate-tpe", "bayesianoptimization", "cmaes")
WARM_UP = 2


def run(quick: bool) -> list[dict[str, object]]:
    """Return rows for each algorithm, and for Optuna's."""
    requests = 5 if quick else 15
    trials = make_trials(MANY + WARM_UP + requests)
    rows = []
    for name in ALGORITHMS:
        few, many = (asyncio.run(ask_worker(name, trials, count, requests)) for count in (FEW, MANY))
        rows.append(make_row(f"{name}, {MANY} observations", many, f"{FEW} observations", few))
        if sampler := make_sampler(name):
            alone = ask_optuna(sampler, trials, MANY, requests)
            rows.append(
                make_row(
                    f"{name}, {MANY} observations", many, f"optuna's {sampler.__class__.__name__}", alone
                )
            )
    return rows


def make_row(name: str, value: float, baseline: str, baseline_value: float) -> dict[str, object]:
    """Return a row in milliseconds."""
    return {
        "name": name,
        "value": value * 1e3,
        "unit": "ms",
        "baseline": baseline,
        "baseline_value": baseline_value * 1e3,
        "ratio": baseline_value / value,
    }


def make_trials(count: int) -> list[TrialRecord]:
    """Return random trials that have ended."""
    from proa.ml.tuning.algorithms.space import Space
    from proa.ml.tuning.records import TrialRecord
    from support.tuning_problems import PROBLEMS

    problem, random = PROBLEMS["Hartmann-6"], Random(0)
    space = Space(problem.parameters)
    drawn = [space.draw(random) for _ in range(count)]
    return [TrialRecord(f"t{n}", one, "succeeded", problem.loss(one)) for n, one in enumerate(drawn)]


async def ask_worker(algorithm: str, trials: list[TrialRecord], count: int, requests: int) -> float:
    """Return the median seconds of a request, one more trial having ended before each."""
    from proa.ml.tuning.algorithms.suggestion_worker import SuggestionWorker
    from support.studies import make_study
    from support.tuning_problems import PROBLEMS

    worker, seconds = SuggestionWorker(), []
    try:
        for number in range(count, count + WARM_UP + requests):
            study = make_study(PROBLEMS["Hartmann-6"].parameters, tuple(trials[:number]))
            began = time.perf_counter()
            await worker.suggest(algorithm, study, 1)
            seconds.append(time.perf_counter() - began)
    finally:
        await worker.stop()
    return statistics.median(seconds[WARM_UP:])


def make_sampler(algorithm: str) -> Any:
    """Return Optuna's sampler of the same kind, None where there is none."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    match algorithm:
        case "tpe" | "multivariate-tpe":
            return optuna.samplers.TPESampler(multivariate=algorithm != "tpe", constant_liar=True, seed=0)
        case "cmaes":
            return optuna.samplers.CmaEsSampler(seed=0)
    return None  # its Gaussian process needs torch


def ask_optuna(sampler: Any, trials: list[TrialRecord], count: int, requests: int) -> float:
    """Return the median seconds to ask for a trial and tell its end."""
    import optuna

    from support.tuning_problems import PROBLEMS

    problem = PROBLEMS["Hartmann-6"]
    space = {
        one.name: optuna.distributions.FloatDistribution(one.minimum, one.maximum)
        for one in problem.parameters
    }
    study = optuna.create_study(sampler=sampler)
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={name: float(text) for name, text in trial.assignments.items()},
                distributions=space,
                value=trial.value,
            )
            for trial in trials[:count]
        ]
    )
    seconds = []
    for _ in range(WARM_UP + requests):
        began = time.perf_counter()
        asked = study.ask(space)
        study.tell(asked, problem.loss({name: repr(value) for name, value in asked.params.items()}))
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[WARM_UP:])


if __name__ == "__main__":
    for row in run("--quick" in sys.argv):
        print(row)
