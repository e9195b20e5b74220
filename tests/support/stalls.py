"""Tell how much work something is, in a unit that is the same on a slow or busy machine.

An event loop is kept from everybody else that long.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import thread_time

TRIES = 3
_SAMPLE = {f"key-{number}": {"value": [number, "text"]} for number in range(400)}


class Stalls:
    """The longest time that one callback had the loop for itself, in milliseconds of processor time."""

    longest = 0.0


def unit() -> float:
    """Return the processor time, in milliseconds, of work that takes one on a machine of 2026 at rest."""
    began = thread_time()
    for _ in range(4):
        json.loads(json.dumps(_SAMPLE))
    return (thread_time() - began) * 1000 / 5


def units_of(work: Callable[[], object], enough: float) -> float:
    """Return the processor time of some work in units; again where it is above `enough`, the least of all."""
    return min(_tries(work, enough))


def _tries(work: Callable[[], object], enough: float) -> Iterator[float]:
    for _ in range(TRIES):
        one = min(unit() for _ in range(3))
        gc.disable()  # what other tests have left would be walked here
        try:
            began = thread_time()
            work()
            found = (thread_time() - began) * 1000 / one
        finally:
            gc.enable()
        yield found
        if found <= enough:
            return


@contextmanager
def stalls() -> Iterator[Stalls]:
    """Look at every callback that begins and ends meanwhile, on asyncio's own loop."""
    seen = Stalls()
    run = asyncio.Handle._run

    def watched(handle: asyncio.Handle) -> None:
        began = thread_time()
        try:
            run(handle)
        finally:
            seen.longest = max(seen.longest, (thread_time() - began) * 1000)

    asyncio.Handle._run = watched  # type: ignore[method-assign]
    gc.disable()  # the server collects cycles apart; what other tests have left would be walked here
    try:
        yield seen
    finally:
        gc.enable()
        asyncio.Handle._run = run  # type: ignore[method-assign]


async def longest_stall(work: Callable[[], Awaitable[object]], enough: float) -> float:
    """Return the longest stall, in units, while `work` is done; again where it is above `enough`, the shortest of all.

    Another process may disturb one try, or the first has to import something; what is too long each time is too long.
    """
    found: list[float] = []
    for _ in range(TRIES):
        one = min(unit() for _ in range(3))
        with stalls() as seen:
            await asyncio.ensure_future(work())
        found.append(seen.longest / one)
        if found[-1] <= enough:
            break
    return min(found)
