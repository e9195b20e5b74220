"""Say how a run ended: its results where it went well, else which steps failed, why, and what to do."""

from __future__ import annotations

from typing import Any

from proa.cli.pipelines.rest import PipelinesApi
from proa.cli.pipelines.results import last_lines
from proa.cli.pipelines.steps import (
    GOOD,
    error_text,
    failed_leaves,
    format_seconds,
    headline,
    run_seconds,
    steps_of,
)
from proa.cli.terminal import DIM, GREEN, RED, YELLOW, Terminal

Json = dict[str, Any]
MOST_FAILED = 5
"""So many failed steps are shown with their logs."""


async def end_of_run(api: PipelinesApi, run: Json, terminal: Terminal) -> list[str]:
    """Return the last lines about a run that is over."""
    paint, run_id, state = terminal.paint, f"{run['run_id']}{api.hint}", run.get("state")
    took = format_seconds(run_seconds(run, 0.0))
    if state in GOOD:
        return ["", f"{paint('succeeded', GREEN)} in {took}; what it made: proa runs show {run_id}"]
    if state == "CANCELED":
        return ["", f"{paint('canceled', YELLOW)} after {took}; what it did: proa runs show {run_id}"]
    lines = ["", f"{paint('failed', RED)} after {took}"]
    steps = steps_of(run)
    failed = failed_leaves(steps)
    if not failed and (error := error_text(run.get("error"))):
        lines.append(error)
    for step in failed[:MOST_FAILED]:
        lines += ["", f"{paint('✗', RED)} {step.path}: {headline(step.error) or 'failed'}"]
        lines += [paint(f"  | {line}", DIM) for line in await last_lines(api, run, step)]
    if len(failed) > MOST_FAILED:
        lines.append(f"and {len(failed) - MOST_FAILED} more failed steps")
    lines += ["", f"all of a step's log: proa runs logs {run['run_id']} STEP{api.hint}"]
    lines.append(f"from the failed steps on, with what succeeded kept: proa runs retry {run_id}")
    return lines
