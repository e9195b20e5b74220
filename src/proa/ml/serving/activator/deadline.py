"""Say when a request has waited long enough.

As long as its revision lets it wait, and only a moment where nobody knows the revision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proa.ml.serving.activator.answers import TIMED_OUT, Refusal, unknown
from proa.ml.serving.activator.waiting_room import WaitingRoom
from proa.reconcile.protocol import Key

UNKNOWN_SECONDS = 5.0
"""After a start requests may come before the revisions are read."""


class Deadline:
    """Calls `refuse` once, unless it is cancelled before."""

    def __init__(self, key: Key, room: WaitingRoom, refuse: Callable[[Refusal], None]) -> None:
        self._key = key
        self._room = room
        self._refuse = refuse
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._timer = self._loop.call_later(self._seconds(), self._due)

    def cancel(self) -> None:
        """Call nobody."""
        self._timer.cancel()

    def _seconds(self) -> float:
        return self._room.timeout_seconds if self._room.is_known else UNKNOWN_SECONDS

    def _due(self) -> None:
        left = self._began + self._seconds() - self._loop.time()
        if left > 0.001:  # the revision has become known meanwhile
            self._timer = self._loop.call_later(left, self._due)
        else:
            self._refuse(TIMED_OUT if self._room.is_known else unknown(self._key.name, self._key.namespace))
