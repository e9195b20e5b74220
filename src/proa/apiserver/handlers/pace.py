"""Let long work give way: no request keeps the loop from the others for longer than a slice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import TypeVar

SLICE_SECONDS = 0.005
SLICE_OBJECTS = 50

_T = TypeVar("_T")


class Pace:
    """Counts how long a request has worked since it last gave way."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = perf_counter()

    async def give_way(self) -> None:
        """Let others run, if this has worked for a slice."""
        if perf_counter() - self._since > SLICE_SECONDS:
            await asyncio.sleep(0)
            self._since = perf_counter()


def slices(items: Sequence[_T], size: int = SLICE_OBJECTS) -> Iterator[Sequence[_T]]:
    """Return the items in parts that are each quick to work on."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
