"""Count the requests of one pod: what its load port tells to the autoscaler."""

from __future__ import annotations

import os
import time

from proa.ml.serving.records import Load


class LoadCounter:
    """Counts requests from when they come until they are answered. All of one event loop."""

    __slots__ = ("_began", "_busy", "_changed", "in_hand", "instance", "requests")

    def __init__(self) -> None:
        self.instance = os.urandom(8).hex()
        self.requests = 0
        self.in_hand = 0
        self._busy = 0.0
        self._began = self._changed = time.monotonic()

    def arrived(self) -> None:
        """One more is in hand."""
        now = time.monotonic()
        self._busy += self.in_hand * (now - self._changed)
        self._changed = now
        self.in_hand += 1
        self.requests += 1

    def left(self) -> None:
        """One was answered, or given up."""
        now = time.monotonic()
        self._busy += self.in_hand * (now - self._changed)
        self._changed = now
        self.in_hand -= 1

    def read(self) -> Load:
        """Return the counters as they are now."""
        now = time.monotonic()
        busy = self._busy + self.in_hand * (now - self._changed)
        return Load(self.instance, now - self._began, busy, self.requests, self.in_hand)
