"""Gather what a run's worker must hear until it listens, and tell who sent it once it was recorded."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from proa.ml.pipelines.planning.messages import Event


class Letter(NamedTuple):
    """One event, and the future that is resolved when all that follows from it is durable."""

    event: Event
    recorded: asyncio.Future[None]


class Inbox:
    """Events of one run, in the order in which they came; any number are taken at once."""

    def __init__(self) -> None:
        self._letters: list[Letter] = []
        self._has_letters = asyncio.Event()
        self._is_closed = False

    def put(self, event: Event) -> asyncio.Future[None]:
        """Add an event; wait for what is returned to know that it was recorded, or that nobody listens any more."""
        letter = Letter(event, asyncio.get_running_loop().create_future())
        if self._is_closed:
            letter.recorded.set_result(None)
            return letter.recorded
        self._letters.append(letter)
        self._has_letters.set()
        return letter.recorded

    async def take(self) -> list[Letter]:
        """Wait for events, and return all that have come."""
        await self._has_letters.wait()
        self._has_letters.clear()
        letters, self._letters = self._letters, []
        return letters

    def close(self) -> None:
        """Listen no more: the run is over, and what still comes changes nothing."""
        self._is_closed = True
        letters, self._letters = self._letters, []
        for letter in letters:
            if not letter.recorded.done():
                letter.recorded.set_result(None)
