"""Say in lines of text what became of an experiment: its state, the drawing, the best, the others, what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from proa.cli.experiments import plot
from proa.cli.experiments.facts import GOOD, PENDING, Experiment, Trial
from proa.cli.pipelines.results import clean
from proa.cli.pipelines.steps import format_seconds
from proa.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, Terminal, format_table
from proa.ml.tuning.kinds import ExperimentCondition as Of
from proa.ml.tuning.kinds import TrialCondition as State
from proa.ml.tuning.observations.observation import number

COLOURS: Mapping[str, str] = {
    State.SUCCEEDED: GREEN,
    State.EARLY_STOPPED: GREEN,
    State.RUNNING: YELLOW,
    State.FAILED: RED,
    State.METRICS_UNAVAILABLE: RED,
    State.KILLED: DIM,
    Of.RESTARTING: YELLOW,
}
WORDS: Mapping[str, str] = {
    State.RUNNING: "running",
    PENDING: "not begun",
    State.SUCCEEDED: "succeeded",
    State.EARLY_STOPPED: "stopped early",
    State.FAILED: "failed",
    State.METRICS_UNAVAILABLE: "without metrics",
    State.KILLED: "killed",
}
BAD = (State.FAILED, State.METRICS_UNAVAILABLE, State.KILLED)
MOST_TROUBLES = 8
UNHEARD_SECONDS = 5.0
"""For so long an experiment may be without any condition."""
MOST_WORDS = 400
_SHOWN_PARAMETERS = 6
_BRIEF = 10


class Style(NamedTuple):
    """How to draw: for whom, whether with Unicode, and how many trials."""

    terminal: Terminal
    is_unicode: bool
    trials: int


def make_style(terminal: Terminal, trials: int) -> Style:
    """Return how to draw on a terminal or into a pipe, by its encoding."""
    encoding = (terminal.stream.encoding or "").lower().replace("-", "")
    return Style(terminal, encoding.startswith("utf"), trials)


def describe(experiment: Experiment, style: Style, now: float) -> list[str]:
    """Return everything that is worth knowing of an experiment and its trials."""
    return [
        *heading(experiment, style, now),
        *_drawing(experiment, style),
        *_with_gap(best_lines(experiment, style)),
        *_with_gap(table(experiment, first_trials(experiment, style.trials), style, now)),
        *_with_gap(troubles(experiment, style)),
    ]


def heading(experiment: Experiment, style: Style, now: float) -> list[str]:
    """Return what it looks for, how far it is, and what its condition says."""
    paint, objective = style.terminal.paint, experiment.objective
    state = paint(experiment.state, COLOURS.get(experiment.state, BOLD))
    took = format_seconds((experiment.ended or now) - experiment.created)
    goal = "" if objective.goal is None else f" until {objective.goal:g}"
    aim = f"{'maximize' if objective.is_maximized else 'minimize'} {objective.metric}{goal}"
    lines = [
        f"{paint(experiment.name, BOLD)}   {state}   {took}   {experiment.algorithm}: {aim}",
        counts(experiment),
    ]
    if experiment.message and experiment.state in (Of.FAILED, Of.SUCCEEDED, Of.RESTARTING):
        lines.append(f"{experiment.reason}: {short(experiment.message)}")
    if experiment.state == PENDING and now - experiment.created > UNHEARD_SECONDS:
        lines.append(
            "Nobody has taken it up: `proa up` does, but for `--without tuning`; elsewhere `proa tuning serve`"
        )
    return lines


def counts(experiment: Experiment) -> str:
    """Return how many trials there are, and what became of them: "12 of 30 trials: 9 succeeded, 3 running"."""
    limits = experiment.limits
    most = f" of {limits['maxTrialCount']}" if "maxTrialCount" in limits else ""
    found = [f"{count} {word}" for state, word in WORDS.items() if (count := experiment.count(state))]
    parallel = f"; {limits['parallelTrialCount']} at a time" if "parallelTrialCount" in limits else ""
    return f"{len(experiment.trials)}{most} trials{': ' if found else ''}{', '.join(found)}{parallel}"


def _drawing(experiment: Experiment, style: Style) -> list[str]:
    values = [
        trial.value for trial in experiment.ended_trials if trial.state in GOOD and trial.value is not None
    ]
    lines = plot.draw(
        values,
        is_maximized=experiment.objective.is_maximized,
        is_unicode=style.is_unicode,
        paint_best=lambda text: style.terminal.paint(text, GREEN),
    )
    return ["", *lines] if lines else []


def best_lines(experiment: Experiment, style: Style) -> list[str]:
    """Return the best trial: its metrics and its parameters, one a line."""
    best = experiment.best
    if best is None:
        return []
    metrics = "  ".join(f"{name}={value}" for name, value in best.metrics.items())
    rows = [(f"  {name}", value) for name, value in best.assignments.items()]
    title = f"{'best' if experiment.is_over else 'best so far'}: {metrics}   (trial {best.name})"
    return [style.terminal.paint(title, BOLD), *(format_table(rows).splitlines() if rows else [])]


def first_trials(experiment: Experiment, count: int) -> list[Trial]:
    """Return the trials to show: those under way, then the best."""
    under_way = [trial for trial in experiment.trials if not trial.is_over]
    return [*under_way, *by_value(experiment)][:count]


def by_value(experiment: Experiment) -> list[Trial]:
    """Return the trials that told a value, the best first."""
    told = [t for t in experiment.ended_trials if t.state in GOOD and t.value is not None]
    sign = -1.0 if experiment.objective.is_maximized else 1.0
    return sorted(told, key=lambda t: sign * (t.value or 0.0))


def table(experiment: Experiment, trials: Sequence[Trial], style: Style, now: float) -> list[str]:
    """Return a row for each of these trials."""
    if not trials:
        return []
    names = list(dict.fromkeys(name for trial in trials for name in trial.assignments))[:_SHOWN_PARAMETERS]
    metric = experiment.objective.metric
    rows = [("TRIAL", "STATE", metric, *names, "TOOK")]
    for trial in trials:
        values = [trial.metrics.get(metric, ""), *(trial.assignments.get(name, "") for name in names)]
        rows.append((trial.name, trial.state, *map(brief, values), took(trial, now)))
    lines = format_table(rows).splitlines()
    painted = (_paint_state(line, trial, style) for line, trial in zip(lines[1:], trials, strict=True))
    hidden = len(experiment.trials) - len(trials)
    more = [style.terminal.paint(f"and {hidden} more: proa experiments trials {experiment.name}", DIM)]
    return [lines[0], *painted, *(more if hidden > 0 else [])]


def _paint_state(line: str, trial: Trial, style: Style) -> str:
    coloured = style.terminal.paint(trial.state, COLOURS.get(trial.state, DIM))
    return line.replace(f" {trial.state}", f" {coloured}", 1)


def took(trial: Trial, now: float) -> str:
    """Return how long a trial took, or has taken so far."""
    if trial.started is None:
        return ""
    return format_seconds(max((trial.ended or now) - trial.started, 0.0))


def troubles(experiment: Experiment, style: Style) -> list[str]:
    """Return why trials failed, or do not begin, and what would help: like ones together."""
    found: dict[tuple[str, str], list[Trial]] = {}
    for trial in experiment.trials:
        if trial.state in BAD or (not trial.is_over and is_trouble(trial)):
            words = short(trial.message).replace(trial.name, "TRIAL")
            found.setdefault((trial.state, words), []).append(trial)
    lines: list[str] = []
    for (state, words), trials in list(found.items())[:MOST_TROUBLES]:
        word = style.terminal.paint(WORDS.get(state, state), COLOURS.get(state, DIM))
        lines.append(f"{word}: {_named(trial.name for trial in trials)}")
        lines.append(f"  {trials[0].reason}: {words}" if words else f"  {trials[0].reason}")
    if len(found) > MOST_TROUBLES:
        lines.append(
            f"and {len(found) - MOST_TROUBLES} more kinds of trouble: proa experiments trials {experiment.name}"
        )
    return lines


def is_trouble(trial: Trial) -> bool:
    """Tell whether what a trial under way says is more than that it is under way."""
    return bool(trial.message) and trial.reason not in ("", "TrialRunning", "TrialCreated")


def short(words: str) -> str:
    """Return a message on one line, without what would change a terminal, and not endless."""
    line = " ".join(clean(words).split())
    return line if len(line) <= MOST_WORDS else f"{line[: MOST_WORDS - 1]}…"


def _named(names: Iterable[str]) -> str:
    found = [*names]
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def brief(value: str) -> str:
    """Return a value with as many digits, or letters, as a person reads."""
    if len(value) <= _BRIEF:
        return value
    if (found := number(value)) is not None and "." in value:
        return f"{found:.6g}"
    return value if len(value) <= 2 * _BRIEF else f"{value[: 2 * _BRIEF - 1]}…"


def _with_gap(lines: list[str]) -> list[str]:
    return ["", *lines] if lines else []
