"""Measure how long a coroutine keeps its event loop busy: its own steps, not what it waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from time import perf_counter
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class BusyTime(Generic[T]):
    """Await it in place of the coroutine; `seconds` counts. Tasks that it starts are not counted."""

    __slots__ = ("_work", "seconds")

    def __init__(self, work: Awaitable[T]) -> None:
        self._work = work
        self.seconds = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._work.__await__()
        send, value = steps.send, None
        began = perf_counter()
        try:
            while True:
                waits_for = send(value)
                self.seconds += perf_counter() - began
                try:
                    value = yield waits_for
                    send = steps.send
                except BaseException as error:
                    value, send = error, steps.throw
                began = perf_counter()
        except StopIteration as stop:
            self.seconds += perf_counter() - began
            result: T = stop.value
            return result
