"""Hold the number of unfinished pods within bounds, and share it: a thousand-step run leaves room for a small one."""

from __future__ import annotations

import asyncio
from collections import deque


class PodSlots:
    """At most `per_run` for one run and `total` for all; whoever holds the fewest comes first, then who came first."""

    def __init__(self, total: int, per_run: int) -> None:
        self._total = total
        self._per_run = per_run
        self._held: dict[str, int] = {}
        self._taken = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def taken(self) -> int:
        """Return how many are taken."""
        return self._taken

    async def take(self, run_id: str) -> None:
        """Return when the run may make another pod."""
        if run_id not in self._waiting and self._is_free(run_id):
            self.take_now(run_id)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, deque()).append(turn)
        self._hand_out()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(run_id)
            else:
                self._leave(run_id, turn)
            raise

    def take_now(self, run_id: str) -> None:
        """Count a pod that exists already."""
        self._held[run_id] = self._held.get(run_id, 0) + 1
        self._taken += 1

    def give(self, run_id: str) -> None:
        """Take note that a pod has ended."""
        self._held[run_id] -= 1
        if not self._held[run_id]:
            del self._held[run_id]
        self._taken -= 1
        self._hand_out()

    def _is_free(self, run_id: str) -> bool:
        return self._taken < self._total and self._held.get(run_id, 0) < self._per_run

    def _hand_out(self) -> None:
        while self._taken < self._total:
            able = [run_id for run_id in self._waiting if self._held.get(run_id, 0) < self._per_run]
            if not able:
                return
            run_id = min(able, key=lambda run_id: self._held.get(run_id, 0))
            turn = self._waiting[run_id].popleft()
            if not self._waiting[run_id]:
                del self._waiting[run_id]
            self.take_now(run_id)
            turn.set_result(None)

    def _leave(self, run_id: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting[run_id]
        queue.remove(turn)
        if not queue:
            del self._waiting[run_id]
