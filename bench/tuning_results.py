"""Do the algorithms find more than random search, and do early stopping and hyperband save work? Results, not speed.

`python bench/tuning_results.py [--seeds N] [--write docs/tuning-results.md]` runs each algorithm as an experiment asks
it, without a cluster: the same budget for all, one trial at a time and four, a seed for each experiment. The tables are
those of the page; the same command makes the same tables.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
sys.path[:0] = [str(Path(__file__).resolve().parent.parent / part) for part in ("src", "tests")]

SEARCHES = ("random", "tpe", "multivariate-tpe", "bayesianoptimization", "cmaes")
PARALLEL = (1, 4)
TRIALS = 40
EPOCHS = 27
BEGIN, END = "<!-- results: python bench/tuning_results.py -->\n", "<!-- end of results -->\n"


def main() -> None:
    """Print the tables, and write them into a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--write", type=Path, help="a page with room for the tables")
    options = parser.parse_args()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        text = (
            "\n".join([*compare_searches(pool, options.seeds), "", *compare_work(pool, options.seeds)]) + "\n"
        )
    if options.write:
        page = options.write.read_text()
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        options.write.write_text(before + BEGIN + text + END + after)


def compare_searches(pool: ProcessPoolExecutor, seeds: int) -> list[str]:
    """Return a table: for each problem and parallelism, what each algorithm found."""
    from support.tuning_problems import PROBLEMS

    lines = [
        "| problem | trials | at once | " + " | ".join(SEARCHES) + " |",
        "| --- " * (3 + len(SEARCHES)) + "|",
    ]
    for problem in PROBLEMS.values():
        for parallel in PARALLEL:
            jobs = {
                name: [pool.submit(search, problem.name, name, parallel, seed) for seed in range(seeds)]
                for name in SEARCHES
            }
            found = {name: [job.result() for job in some] for name, some in jobs.items()}
            cells = [
                describe(found[name], found["random"] if name != "random" else None) for name in SEARCHES
            ]
            lines.append(f"| {problem.name} | {problem.budget} | {parallel} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    return lines


def describe(found: list[float], others: list[float] | None) -> str:
    """Return the mean, and of how many seeds it is lower (a tie counts half) with Wilcoxon's probability of chance."""
    mean = f"{statistics.fmean(found):.4f}"
    if others is None:
        return mean
    from scipy.stats import wilcoxon

    wins = sum((one < other) + (one == other) / 2 for one, other in zip(found, others, strict=True))
    chance = wilcoxon(found, others, alternative="less").pvalue
    return f"{mean} ({wins:g}/{len(found)}, p={chance:.1g})"


def search(problem_name: str, algorithm: str, parallel: int, seed: int) -> float:
    """Return how far the best trial of one experiment is from the lowest loss there is."""
    from proa.ml.tuning.algorithms.registry import find_algorithm
    from support.studies import make_study, run_study
    from support.tuning_problems import PROBLEMS

    problem = PROBLEMS[problem_name]
    study = make_study(problem.parameters, seed=seed, parallel=parallel)
    trials = run_study(
        find_algorithm(algorithm), study, problem.loss, budget=problem.budget, parallel=parallel
    )
    return min(trial.value for trial in trials if trial.value is not None) - problem.lowest


def compare_work(pool: ProcessPoolExecutor, seeds: int) -> list[str]:
    """Return a table: the best accuracy and the epochs of full runs, of medianstop and of hyperband."""
    rows = list(pool.map(work, range(seeds)))
    lines = [
        "| way | epochs | less work | best accuracy | in the worst seed |",
        "| --- | --- | --- | --- | --- |",
    ]
    full = statistics.fmean(row["full runs"][0] for row in rows)
    for way in rows[0]:
        epochs = statistics.fmean(row[way][0] for row in rows)
        scores = [row[way][1] for row in rows]
        saved = f"{1 - epochs / full:.0%}" if epochs < full else ""
        lines.append(
            f"| {way} | {epochs:.0f} | {saved} | {statistics.fmean(scores):.4f} | {min(scores):.4f} |"
        )
    print("\n".join(lines), flush=True)
    return lines


def work(seed: int) -> dict[str, tuple[int, float]]:
    """Return for each way the epochs that were trained and the best accuracy that was found, with one seed."""
    from support.tuning_problems import NetworkRuns

    runs = NetworkRuns()
    return {
        "full runs": stop_early(runs, seed, is_stopped=False),
        "medianstop": stop_early(runs, seed, is_stopped=True),
        "hyperband": run_hyperband(runs, seed),
    }


def stop_early(
    runs: Any, seed: int, *, is_stopped: bool, trials: int = TRIALS, epochs: int = EPOCHS
) -> tuple[int, float]:
    """Run random trials of so many epochs one after another, each stopped as the collector stops it."""
    from proa.ml.tuning.algorithms import medianstop, random_search
    from proa.ml.tuning.records import MetricPoint, Objective, TrialRecord
    from support.studies import make_study
    from support.tuning_problems import NETWORK

    ended: list[TrialRecord] = []
    points: dict[str, list[MetricPoint]] = {}
    memory: dict[str, Any] = {}
    spent = 0
    for number in range(trials):
        study = make_study(
            NETWORK, tuple(ended), seed=seed, objective=Objective("accuracy", is_maximized=True)
        )
        (suggested,) = random_search.suggest(study, 1, memory).suggested
        rules = medianstop.rules(study, {}, points) if is_stopped else ()
        curve, is_cut = cut(runs.curve(suggested.assignments, epochs), rules)
        spent += len(curve)
        state = "early-stopped" if is_cut else "succeeded"
        ended.append(TrialRecord(str(number), suggested.assignments, state, max(curve)))
        points[str(number)] = [
            MetricPoint(float(n), "accuracy", repr(value)) for n, value in enumerate(curve)
        ]
    return spent, max(trial.value or 0.0 for trial in ended)


def cut(curve: list[float], rules: Any) -> tuple[list[float], bool]:
    """Return the curve up to where a rule stops it: the best so far, from the rule's step on, is too low."""
    for step in range(1, len(curve)):
        for rule in rules:
            if step >= rule.start_step and max(curve[:step]) < float(rule.value):
                return curve[:step], True
    return curve, False


def run_hyperband(runs: Any, seed: int, *, epochs: int = EPOCHS) -> tuple[int, float]:
    """Run all brackets; a rung trains from the beginning, as its trials do."""
    from proa.ml.tuning.algorithms import hyperband
    from proa.ml.tuning.records import Parameter
    from support.studies import make_study, run_study
    from support.tuning_problems import NETWORK

    settings = {"r_l": str(epochs), "eta": "3", "resource_name": "epochs"}
    study = make_study(
        (*NETWORK, Parameter("epochs", "int", 1, epochs)), seed=seed, settings=settings, parallel=27
    )
    spent = 0

    def loss(values: Any) -> float:
        nonlocal spent
        spent += int(values["epochs"])
        return -max(runs.curve(values, int(values["epochs"])))

    trials = run_study(hyperband, study, loss, budget=10_000, parallel=27)
    return spent, -min(trial.value for trial in trials if trial.value is not None)


if __name__ == "__main__":
    main()
