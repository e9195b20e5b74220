"""`proa experiments ls|show|best|trials|wait|delete`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from proa.cli import Failure
from proa.cli.connecting import ask, hint, print_list, print_objects
from proa.cli.experiments.asking import find, list_all, read, trials_of
from proa.cli.experiments.describing import (
    COLOURS,
    brief,
    describe,
    heading,
    make_style,
    short,
    took,
    troubles,
)
from proa.cli.experiments.facts import GOOD, Experiment, Trial, read_experiment
from proa.cli.pipelines.steps import format_seconds
from proa.cli.terminal import DIM, Terminal, format_table
from proa.client.protocol import Client, Object
from proa.ml.tuning.kinds import EXPERIMENT_LABEL, EXPERIMENTS, TRIALS
from proa.ml.tuning.kinds import ExperimentCondition as Of
from proa.objects import meta


def _list(options: argparse.Namespace) -> int:
    async def act(client: Client) -> list[tuple[Object, Experiment]]:
        namespace = None if options.all_namespaces else options.namespace
        experiments, trials = await asyncio.gather(
            list_all(client, EXPERIMENTS, namespace), list_all(client, TRIALS, namespace)
        )
        of = _by_experiment(trials)
        return [(one, read_experiment(one, of.get(meta.key_of(one), ()))) for one in experiments]

    found = sorted(ask(options, act), key=lambda pair: (-pair[1].created, pair[1].name))
    if options.output in ("json", "yaml"):
        print_list(EXPERIMENTS, [obj for obj, _ in found], options.output)
        return 0
    is_wide = options.output == "wide"
    title = ["NAME", "STATE", "TRIALS", "BEST", "TOOK"]
    if options.all_namespaces:
        title.insert(0, "NAMESPACE")
    if is_wide:
        title += ["ALGORITHM", "OBJECTIVE", "BEST TRIAL", "PARAMETERS"]
    now, terminal = time.time(), Terminal()
    rows = [_row(one, now, options.all_namespaces, is_wide) for _, one in found]
    lines = format_table([title, *rows]).splitlines()
    terminal.line(lines[0])
    for (_, one), line in zip(found, lines[1:], strict=True):
        painted = terminal.paint(one.state, COLOURS.get(one.state, DIM))
        terminal.line(line.replace(f" {one.state} ", f" {painted} ", 1))
    return 0


def _by_experiment(trials: Iterable[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for trial in trials:
        name = meta.labels(trial).get(EXPERIMENT_LABEL, "")
        found.setdefault(f"{meta.namespace(trial)}/{name}", []).append(trial)
    return found


def _row(experiment: Experiment, now: float, has_namespace: bool, is_wide: bool) -> list[str]:
    best, most = experiment.best, experiment.limits.get("maxTrialCount")
    ended = sum(trial.is_over for trial in experiment.trials)
    value = brief(best.metrics.get(experiment.objective.metric, "")) if best else ""
    row = [
        experiment.name,
        experiment.state,
        f"{ended}/{most}" if most else str(ended),
        value,
        format_seconds((experiment.ended or now) - experiment.created),
    ]
    if has_namespace:
        row.insert(0, experiment.namespace)
    if is_wide:
        aim = "maximize" if experiment.objective.is_maximized else "minimize"
        row += [experiment.algorithm, f"{aim} {experiment.objective.metric}"]
        row += [best.name if best else "", _words(best.assignments) if best else ""]
    return row


def _words(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={brief(value)}" for name, value in values.items())


def _show(options: argparse.Namespace) -> int:
    if options.trial:
        from proa.cli.experiments.points import show_trial

        return ask(options, lambda client: show_trial(client, options))
    if options.output in ("json", "yaml"):
        print_objects(ask(options, lambda client: _objects(client, options)), options.output)
        return 0
    if options.follow:
        return _follow(options)
    terminal = Terminal()
    experiment = ask(options, lambda client: read(client, options, options.experiment))
    for line in describe(experiment, make_style(terminal, options.limit), time.time()):
        terminal.line(line)
    if not experiment.is_over:
        terminal.line()
        terminal.line(f"to follow it: proa experiments show -f {experiment.name}{hint(options)}")
    return 0


async def _objects(client: Client, options: argparse.Namespace) -> dict[str, Any]:
    experiment = await find(client, options, options.experiment)
    return {
        "experiment": experiment,
        "trials": await trials_of(client, options.namespace, options.experiment),
    }


def _follow(options: argparse.Namespace) -> int:
    from proa.cli.experiments.following import follow

    async def act(client: Client) -> Experiment:
        await find(client, options, options.experiment)
        return await follow(client, options.namespace, options.experiment, Terminal(), options.limit)

    try:
        experiment = ask(options, act)
    except KeyboardInterrupt:
        words = f"`proa experiments show -f {options.experiment}{hint(options)}` shows it again"
        print(f"\nthe experiment goes on: {words}, `proa experiments delete …` ends it", file=sys.stderr)
        return 130
    return 0 if experiment.state == Of.SUCCEEDED else 1


def _best(options: argparse.Namespace) -> int:
    experiment = ask(options, lambda client: read(client, options, options.experiment))
    best = experiment.best
    if best is None:
        style = make_style(Terminal(sys.stderr), 0)
        for line in [*heading(experiment, style, time.time()), *troubles(experiment, style)]:
            style.terminal.line(line)
        raise Failure("no trial has told its objective's metric yet")
    if options.output in ("json", "yaml"):
        told = {"trial": best.name, "parameters": dict(best.assignments), "metrics": dict(best.metrics)}
        print_objects({"experiment": experiment.name, "state": experiment.state, **told}, options.output)
        return 0
    terminal = Terminal()
    rows = [("PARAMETER", "VALUE"), *best.assignments.items()]
    terminal.line(format_table(rows))
    found = "best" if experiment.is_over else "best so far"
    metrics = "  ".join(f"{name}={value}" for name, value in best.metrics.items())
    terminal.line(f"{found}: {metrics}   (trial {best.name})")
    return 0


def _trials(options: argparse.Namespace) -> int:
    if options.output in ("json", "yaml"):
        items = ask(options, lambda client: _objects(client, options))["trials"]
        print_list(TRIALS, items, options.output)
        return 0
    experiment = ask(options, lambda client: read(client, options, options.experiment))
    trials = [t for t in experiment.trials if not options.state or t.state == options.state]
    if options.sort == "value":
        trials = _best_first(trials, is_maximized=experiment.objective.is_maximized)
    if options.limit:
        trials = trials[: options.limit]
    terminal, now = Terminal(), time.time()
    names = list(dict.fromkeys(name for trial in experiment.trials for name in trial.assignments))
    metrics, is_wide = experiment.objective.metrics, options.output == "wide"
    title = ["TRIAL", "STATE", *metrics, *names, "TOOK", *(["REASON", "MESSAGE"] if is_wide else [])]
    rows = [_trial_row(trial, metrics, names, now, is_wide) for trial in trials]
    lines = format_table([title, *rows]).splitlines()
    terminal.line(lines[0])
    for trial, line in zip(trials, lines[1:], strict=True):
        painted = terminal.paint(trial.state, COLOURS.get(trial.state, DIM))
        terminal.line(line.replace(f" {trial.state}", f" {painted}", 1))
    return 0


def _best_first(trials: Sequence[Trial], *, is_maximized: bool) -> list[Trial]:
    """Return trials by their value, those without one last."""
    worst = float("inf")
    sign = -1.0 if is_maximized else 1.0
    return sorted(trials, key=lambda t: sign * t.value if t.value is not None and t.state in GOOD else worst)


def _trial_row(
    trial: Trial, metrics: Sequence[str], names: Sequence[str], now: float, is_wide: bool
) -> list[str]:
    row = [trial.name, trial.state]
    row += [trial.metrics.get(metric, "") for metric in metrics]
    row += [trial.assignments.get(name, "") for name in names]
    return [*row, took(trial, now), *([trial.reason, short(trial.message)] if is_wide else [])]


def _wait(options: argparse.Namespace) -> int:
    from proa.cli.experiments.following import last_line, wait_until_over

    async def act(client: Client) -> Experiment:
        await find(client, options, options.experiment)
        async with asyncio.timeout(options.timeout):
            return await wait_until_over(client, options.namespace, options.experiment)

    try:
        experiment = ask(options, act)
    except TimeoutError:
        raise Failure(
            f"{options.experiment} is not over after {options.timeout:g} s; "
            f"`proa experiments show -f {options.experiment}{hint(options)}` shows how far it is"
        ) from None
    Terminal().line(last_line(experiment))
    return 0 if experiment.state == Of.SUCCEEDED else 1


def _delete(options: argparse.Namespace) -> int:
    async def act(client: Client) -> None:
        for name in options.experiments:
            await find(client, options, name)
        for name in options.experiments:
            await client.delete(EXPERIMENTS, name, options.namespace, propagation_policy="Background")

    ask(options, act)
    for name in options.experiments:
        Terminal().line(f"deleted: {name}, with its trials and what they run")
    return 0


ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "ls": _list,
    "show": _show,
    "best": _best,
    "trials": _trials,
    "wait": _wait,
    "delete": _delete,
}
