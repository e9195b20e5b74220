"""Give each request of a priority level a seat, in turn among flows, and send away whom there is no room for.

A level has seats of its own, may borrow what others lend and do not use, and where all are taken its requests wait in
queues. A flow is dealt a hand of queues and waits in the shortest, so that a busy flow crowds out few others (shuffle
sharding); queues are served in turn. Follows apiserver/pkg/util/flowcontrol/fairqueuing/queueset, where seats are
moved between levels every ten seconds by demand; here a seat is borrowed when it is needed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from hashlib import blake2b

from proa.apiserver.flowcontrol.schemas import LevelSettings

WAIT_SECONDS = 15.0
"""A request waits at most a quarter of the time that it has."""


class Level:
    """The seats and queues of one priority level."""

    def __init__(self, settings: LevelSettings, levels: dict[str, Level]) -> None:
        self.settings = settings
        self.in_use = 0
        self.waiting = 0
        self.rejected = 0
        self._levels = levels
        self._queues: dict[int, deque[asyncio.Future[None]]] = {}
        """Those that have somebody in them, in the order in which they are served."""

    def take(self) -> bool:
        """Take a seat if there is one, and nobody waits for it."""
        if self.waiting or not self._has_room():
            return False
        self.in_use += 1
        return True

    async def wait(self, flow: str) -> bool:
        """Wait for a seat; tell whether there was one."""
        queue = self._queue_for(flow) if self.settings.queues else -1
        waiting = self._queues.setdefault(queue, deque())
        if queue < 0 or len(waiting) >= self.settings.queue_length:
            self._drop_empty(queue)
            self.rejected += 1
            return False
        seat = asyncio.get_running_loop().create_future()
        waiting.append(seat)
        self.waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await seat
        except TimeoutError:
            return self._leave(seat, queue)
        except asyncio.CancelledError:
            if self._leave(seat, queue):
                self.release()
            raise
        return True

    def release(self) -> None:
        """Give a seat back, to who waits for one longest."""
        self.in_use -= 1
        for level in self._levels.values():
            while level.waiting and level._has_room():
                level._seat_next()

    def _has_room(self) -> bool:
        own = self.settings.seats
        if self.in_use < own:
            return True
        borrowed = self.in_use - own
        limit = self.settings.borrowed
        if limit is not None and borrowed >= limit:
            return False
        spare = 0
        for other in self._levels.values():
            if other is not self and not other.settings.is_exempt:
                free = other.settings.seats - other.in_use
                spare += min(other.settings.lendable, free)  # below 0: it has borrowed that many itself
        return borrowed < spare

    def _queue_for(self, flow: str) -> int:
        """Return the shortest queue of the flow's hand."""
        count, size = self.settings.queues, min(self.settings.hand_size, 16)
        digest = blake2b(flow.encode(), digest_size=4 * size).digest()
        hand = {int.from_bytes(digest[4 * card : 4 * card + 4], "big") % count for card in range(size)}
        return min(hand, key=lambda queue: (len(self._queues.get(queue, ())), queue))

    def _seat_next(self) -> None:
        queue = next(iter(self._queues))
        waiting = self._queues.pop(queue)
        seat = waiting.popleft()
        if waiting:
            self._queues[queue] = waiting  # its next turn is after all others'
        self.waiting -= 1
        self.in_use += 1
        seat.set_result(None)

    def _leave(self, seat: asyncio.Future[None], queue: int) -> bool:
        """Stop waiting; tell whether there was a seat after all."""
        if seat.done() and not seat.cancelled():
            return True
        self._queues[queue].remove(seat)
        self.waiting -= 1
        self._drop_empty(queue)
        self.rejected += 1
        return False

    def _drop_empty(self, queue: int) -> None:
        if not self._queues[queue]:
            del self._queues[queue]
