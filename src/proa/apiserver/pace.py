"""Let long work give way: no request keeps the loop from the others for longer than a slice.

What can be cut into slices is (`Pace`, `slices`); what cannot, such as a patch of a large object, is done by one thread
aside (`aside`): the interpreter then shares itself out between that thread and the loop every few milliseconds. One
thread, so that many such requests do not share the loop's time among themselves.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from time import perf_counter
from typing import Any, ParamSpec, Protocol, TypeVar
from weakref import WeakKeyDictionary

import orjson

SLICE_SECONDS = 0.005
SLICE_OBJECTS = 20
SLICE_BYTES = 128 * 1024
"""So much JSON, but for one object, is decoded at a time."""
HEAVY_BYTES = 96 * 1024
"""Work on so much JSON, in or out, may take longer than others should wait."""
HEAVY_YAML_BYTES = 8 * 1024


class HasValue(Protocol):
    """An entry of a store."""

    @property
    def value(self) -> bytes: ...


_T = TypeVar("_T")
_E = TypeVar("_E", bound=HasValue)
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


def value_slices(entries: Iterable[_E]) -> Iterator[list[_E]]:
    """Return stored values, of whichever size each, in parts that are quick to decode."""
    part: list[_E] = []
    size = 0
    for entry in entries:
        size += len(entry.value)
        if part and (size > SLICE_BYTES or len(part) == SLICE_OBJECTS):
            yield part
            part, size = [], len(entry.value)
        part.append(entry)
    if part:
        yield part


async def aside(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Return what `work` returns, done by the thread for heavy work. It must touch nothing that others change.

    A request that is given up meanwhile still waits for its work, so that nothing goes on behind its back. Users take
    turns: who has much to be done holds up others by one piece of it at a time.
    """
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    turns = _turns.setdefault(loop, Turns())
    await turns.take(WHO.get())
    try:
        doing = loop.run_in_executor(_thread(), lambda: context.run(work, *args, **kwargs))
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            await asyncio.wait((doing,))
            if not doing.cancelled():
                doing.exception()  # taken note of: nobody else will
            raise
    finally:
        turns.give()


async def decoded(value: bytes) -> Any:
    """Return what a JSON text says; a long one is decoded aside."""
    return await aside(orjson.loads, value) if len(value) > HEAVY_BYTES else orjson.loads(value)


class Turns:
    """Hands one turn at a time to those who wait, a different user's each time where several do."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def take(self, who: str) -> None:
        """Return when it is this user's turn; `give` must follow."""
        if not self._is_taken:
            self._is_taken = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """Let the next one have the turn."""
        while self._waiting:
            who = next(iter(self._waiting))
            turns = self._waiting.pop(who)
            turn = turns.popleft()
            if turns:
                self._waiting[who] = turns  # behind the others
            if not turn.done():
                turn.set_result(None)
                return
        self._is_taken = False


WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who asks", default="")
"""The name of the user whose request this is."""
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="heavy")
