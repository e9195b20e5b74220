"""Run a scenario on an event loop with a clock of its own, so that no slow or busy machine has a short time pass.

`run_in_virtual_time`: the clock jumps to the next timer whenever nothing else is to do. Hours pass in milliseconds, in
the same order each time. Only for what neither reads sockets nor waits for threads.

`run_unhurried`: the clock goes as a wall clock does while the loop waits and nothing comes, and else it stands still.
A deadline of 50 ms is over when nothing has happened for 50 ms, not when this process had no turn for as long.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Does not wait: it moves its loop's clock."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            assert timeout is not None, "everything waits, and for nothing that can happen"
            self.skipped += timeout
        return found


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that never sleeps; `time()` begins at 0."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Return the seconds that have been waited for."""
        return self._clock.skipped


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run it to its end."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


class _Waits(selectors.DefaultSelector):
    """Counts the seconds that were waited for in vain."""

    waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(timeout)
        if not found:
            self.waited += timeout or 0.0
        return found


class UnhurriedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while it waits; `time()` begins at 0."""

    def __init__(self) -> None:
        self._clock = _Waits()
        super().__init__(self._clock)

    def time(self) -> float:
        """Return the seconds in which there was nothing to do."""
        return self._clock.waited


def run_unhurried(main: Coroutine[Any, Any, T]) -> T:
    """Run it to its end."""
    with asyncio.Runner(loop_factory=UnhurriedLoop) as runner:
        return runner.run(main)
