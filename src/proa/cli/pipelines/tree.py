"""Draw a run's steps as a tree: for a person live, in as many lines as there are; for a pipe as lines about changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from proa.cli.pipelines.steps import (
    Step,
    children_of,
    failed_leaves,
    format_seconds,
    headline,
    run_seconds,
    steps_of,
)
from proa.cli.terminal import DIM, GREEN, RED, YELLOW

Paint = Callable[[str, str], str]
SIGNS = {
    "PENDING": ("○", DIM),
    "RUNNING": ("●", YELLOW),
    "SUCCEEDED": ("✓", GREEN),
    "CACHED": ("✓", GREEN),
    "SKIPPED": ("–", DIM),
    "NOT_TRIGGERED": ("–", DIM),
    "FAILED": ("✗", RED),
    "CANCELING": ("●", YELLOW),
    "CANCELED": ("✗", YELLOW),
    "PAUSED": ("○", YELLOW),
}
UNKNOWN = ("?", DIM)
WORDS = {"CACHED": "cached", "SKIPPED": "skipped", "NOT_TRIGGERED": "not reached", "CANCELED": "canceled"}
"""What a state adds to a step's line, where its sign does not say it."""


def draw_run(run: Mapping[str, Any], now: float, paint: Paint, most_lines: int = 0) -> list[str]:
    """Return the run's line and those of its steps; with `most_lines` what is over is folded, then cut."""
    steps = _without_repeated_errors(steps_of(run))
    children = children_of(steps)
    lines = [_head(run, now, paint), *_branch(children, "", "", now, paint, folds=False)]
    if most_lines and len(lines) > most_lines:
        lines = [lines[0], *_branch(children, "", "", now, paint, folds=True)]
    if most_lines and len(lines) > most_lines:
        hidden = len(lines) - most_lines + 1
        lines = [*lines[: most_lines - 1], paint(f"   … {hidden} more lines: {_count(steps)}", DIM)]
    return lines


def _without_repeated_errors(steps: Sequence[Step]) -> list[Step]:
    """Return the steps; those that failed for one below them say no more than that one."""
    own = {step.id for step in failed_leaves(steps)}
    return [replace(step, error="") if step.error and step.id not in own else step for step in steps]


def _head(run: Mapping[str, Any], now: float, paint: Paint) -> str:
    state = run.get("state") or "PENDING"
    _, colour = SIGNS.get(state, UNKNOWN)
    name = run.get("display_name") or run.get("run_id") or ""
    return f"{name}  {paint(state, colour)}  {format_seconds(run_seconds(run, now))}"


def _branch(
    children: Mapping[str, Sequence[Step]], parent: str, indent: str, now: float, paint: Paint, *, folds: bool
) -> list[str]:
    lines, steps = [], children.get(parent, ())
    for index, step in enumerate(steps):
        is_last = index == len(steps) - 1
        below = children.get(step.id, ())
        is_folded = folds and bool(below) and step.is_over and not step.is_failed
        lines.append(
            f"{indent}{'└─' if is_last else '├─'} {step_line(step, now, paint, len(below) if is_folded else 0)}"
        )
        if not is_folded:
            deeper = indent + ("   " if is_last else "│  ")
            lines += _branch(children, step.id, deeper, now, paint, folds=folds)
    return lines


def step_line(step: Step, now: float, paint: Paint, folded: int = 0) -> str:
    """Return what one line says of a step: sign, name, time, and what else there is to know in a few words."""
    sign, colour = SIGNS.get(step.state, UNKNOWN)
    parts = [paint(sign, colour), step.name]
    if seconds := format_seconds(step.seconds(now)):
        parts.append(paint(seconds, DIM))
    if folded:
        parts.append(paint(f"({folded} steps)", DIM))
    if word := WORDS.get(step.state) or waiting_word(step):
        parts.append(paint(word, DIM))
    if step.is_failed and step.error:
        parts.append(paint(_shorten(headline(step.error), 120), RED))
    return "  ".join(parts).replace("  ", " ", 1)


def waiting_word(step: Step) -> str:
    """Return what a step that is under way waits for, or which attempt it is."""
    attempt = step.ours.get("attempt") or 0
    if step.is_over or not attempt:
        return ""
    return f"attempt {int(attempt) + 1}"


def _count(steps: Sequence[Step]) -> str:
    counted = Counter(step.state.lower() for step in steps)
    return ", ".join(f"{number} {state}" for state, number in counted.most_common())


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def changes(before: Mapping[str, str], steps: Sequence[Step], now: float) -> tuple[list[str], dict[str, str]]:
    """Return a line about each step whose state is not what it was, and the states now (by id)."""
    lines, states = list[str](), dict[str, str]()
    for step in _without_repeated_errors(steps):
        states[step.id] = step.state
        if before.get(step.id) == step.state or step.state == "PENDING":
            continue
        took = format_seconds(step.seconds(now)) if step.is_over else ""
        seconds = f"  {took}" if took else ""
        error = f"  {_shorten(headline(step.error), 300)}" if step.is_failed and step.error else ""
        lines.append(f"{step.path}: {step.state}{seconds}{error}")
    return lines, states
