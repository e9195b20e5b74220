"""Watch a run until it is over: a live tree for a person, a line a change for a pipe."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from proa.cli.live import LiveLines
from proa.cli.pipelines.rest import PipelinesApi
from proa.cli.pipelines.steps import FINAL, steps_of
from proa.cli.pipelines.tree import changes, draw_run
from proa.cli.terminal import Terminal

Json = dict[str, Any]
LOOK_SECONDS, DRAW_SECONDS = 0.3, 0.25
LOOK_SHARE = 10.0
"""Looks take a tenth of the time at most: a run of a thousand steps is asked for less often."""


async def watch_run(api: PipelinesApi, run_id: str, terminal: Terminal) -> Json:
    """Show a run until it is over, and return it as it is then."""
    shown = _Tree(terminal) if terminal.is_person else _Lines(terminal)
    while True:
        began = time.monotonic()
        run = await api.get(f"/runs/{run_id}")
        took = time.monotonic() - began
        if run.get("state") in FINAL:
            shown.end(run)
            return run
        shown.show(run)
        await shown.wait(run, max(LOOK_SECONDS, took * LOOK_SHARE))


class _Lines:
    """For a pipe: what has changed."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._states: dict[str, str] = {}

    def show(self, run: Json) -> None:
        lines, self._states = changes(self._states, steps_of(run), time.time())
        for line in lines:
            self._terminal.step(line)

    def end(self, run: Json) -> None:
        self.show(run)

    async def wait(self, run: Json, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Tree:
    """For a person: the tree, drawn over itself."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._live = LiveLines(terminal)

    def show(self, run: Json) -> None:
        self._live.draw(draw_run(run, time.time(), self._terminal.paint, self._live.room))

    def end(self, run: Json) -> None:
        self._live.draw(draw_run(run, time.time(), self._terminal.paint))

    async def wait(self, run: Json, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, DRAW_SECONDS))
            self.show(run)


def say_it_goes_on(run_id: str, hint: str) -> None:
    """Tell who has pressed Ctrl-C that the run is still there, and how to end it."""
    print(
        f"\nthe run goes on: `proa runs show -f {run_id}{hint}` shows it again,"
        f" `proa runs terminate {run_id}{hint}` ends it",
        file=sys.stderr,
    )
