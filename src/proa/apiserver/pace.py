"""Let long work give way: no request keeps the loop from the others for longer than a slice.

What can be cut into slices is (`Pace`, `slices`); what cannot, such as a patch of a large object, is done by one thread
aside (`aside`): the interpreter then shares itself out between that thread and the loop every few milliseconds. One
thread, so that many such requests do not share the loop's time among themselves.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from time import perf_counter
from typing import ParamSpec, TypeVar

SLICE_SECONDS = 0.005
SLICE_OBJECTS = 20
HEAVY_BYTES = 96 * 1024
"""Work on so much JSON, in or out, may take longer than others should wait."""
HEAVY_YAML_BYTES = 8 * 1024

_T = TypeVar("_T")
_P = ParamSpec("_P")


class Pace:
    """Counts how long a request has worked since it last gave way."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = perf_counter()

    async def give_way(self) -> None:
        """Let others run, if this has worked for a slice."""
        elapsed = perf_counter() - self._since
        if elapsed > SLICE_SECONDS:
            await asyncio.sleep(0)
            self._since = perf_counter()


def slices(items: Sequence[_T], size: int = SLICE_OBJECTS) -> Iterator[Sequence[_T]]:
    """Return the items in parts that are each quick to work on."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def aside(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Return what `work` returns, done by the thread for heavy work. It must touch nothing that others change.

    A request that is given up meanwhile still waits for its work, so that nothing goes on behind its back.
    """
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    doing = loop.run_in_executor(_thread(), lambda: context.run(work, *args, **kwargs))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait((doing,))
        if not doing.cancelled():
            doing.exception()  # taken note of: nobody else will
        raise


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="heavy")
