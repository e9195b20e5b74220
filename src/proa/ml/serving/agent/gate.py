"""Let only so many requests into the container at once; more wait in order, and more than that are refused.

Source: Knative Serving's pkg/queue/breaker.go.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Full(Exception):
    """So many wait already that one more is refused."""


class Entrant(Protocol):
    """What waits to be let in."""

    is_over: bool
    """It has gone away meanwhile; it is passed by."""

    def enter(self) -> None:
        """Go in; `Gate.leave` follows once."""


class Gate:
    """`limit` 0: no limit."""

    def __init__(self, limit: int, depth: int) -> None:
        self._limit, self._depth = limit, depth
        self._inside = 0
        self._waiting: deque[Entrant] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def ask(self, entrant: Entrant) -> None:
        """Let it in now or later; raise Full."""
        if not self._limit or self._inside < self._limit:
            self._inside += 1
            entrant.enter()
            return
        if len(self._waiting) >= self._depth:
            self._waiting = deque(one for one in self._waiting if not one.is_over)
            if len(self._waiting) >= self._depth:
                raise Full
        self._waiting.append(entrant)

    def leave(self) -> None:
        """One is done: the next may go in."""
        while self._waiting:
            entrant = self._waiting.popleft()
            if not entrant.is_over:
                entrant.enter()
                return
        self._inside -= 1
