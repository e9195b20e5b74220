"""Count requests as those who scale want to know it, and hold back what is more than may be answered at once.

The counters only grow (records.Load): the mean of any time is the difference of two samples. What waits for its turn
counts as in hand. Source: Knative Serving's pkg/queue (breaker.go, stats).
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable

import orjson

from proa.ml.serving.records import Load
from proa.ml.serving.server.exchange import Exchange
from proa.ml.serving.wire.refusals import Refused

Work = Callable[[Exchange], None]


class LoadCounter:
    """What is in hand now, and what was."""

    def __init__(self) -> None:
        self.instance = uuid.uuid4().hex
        self.in_hand = 0
        self.requests = 0
        self._began = self._last = time.perf_counter()
        self._busy_seconds = 0.0

    def begin(self) -> None:
        """A request has come."""
        self._add_up()
        self.in_hand += 1
        self.requests += 1

    def end(self) -> None:
        """One is answered, or its client has gone."""
        self._add_up()
        self.in_hand -= 1

    def read(self) -> Load:
        """Return the counters as they are."""
        self._add_up()
        return Load(self.instance, self._last - self._began, self._busy_seconds, self.requests, self.in_hand)

    def write(self) -> bytes:
        """Return the counters as JSON."""
        return orjson.dumps(self.read()._asdict())

    def _add_up(self) -> None:
        now = time.perf_counter()
        self._busy_seconds += self.in_hand * (now - self._last)
        self._last = now


class Gate:
    """Lets so many requests be answered at once (0: any number), and so many more wait."""

    def __init__(self, load: LoadCounter, concurrency: int, depth: int) -> None:
        self._load = load
        self._concurrency = concurrency
        self._most = concurrency + depth
        self._running = 0
        self._waiting: deque[tuple[Exchange, Work] | asyncio.Future[None]] = deque()

    def enter(self, exchange: Exchange, work: Work) -> None:
        """Begin to answer a request, now or when it is its turn; raise Refused where too many wait."""
        if self._load.in_hand >= self._most:
            raise _too_many()
        self._load.begin()
        if not self._concurrency:
            exchange.on_end = self._load.end
            work(exchange)
        elif self._running < self._concurrency:
            self._run(exchange, work)
        else:
            exchange.on_end = self._load.end
            self._waiting.append((exchange, work))

    async def hold(self) -> None:
        """Begin a call that is no exchange, when it is its turn; raise Refused where too many wait. See release."""
        if self._load.in_hand >= self._most:
            raise _too_many()
        self._load.begin()
        if self._concurrency and self._running >= self._concurrency:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except BaseException:
                self._load.end()
                if turn.done() and not turn.cancelled():
                    self._next()
                raise
        else:
            self._running += 1

    def release(self) -> None:
        """End such a call."""
        self._load.end()
        self._next()

    def _run(self, exchange: Exchange, work: Work) -> None:
        self._running += 1
        exchange.on_end = self._leave
        work(exchange)

    def _leave(self) -> None:
        self._load.end()
        self._next()

    def _next(self) -> None:
        """One has ended: begin those whose turn it is."""
        self._running -= 1
        while self._waiting and self._running < self._concurrency:
            first = self._waiting.popleft()
            if isinstance(first, asyncio.Future):
                if not first.done():
                    self._running += 1
                    first.set_result(None)
            elif not first[0].is_done:
                self._run(*first)


def _too_many() -> Refused:
    return Refused(503, "too many requests wait for this model: try again", retry_after=1)
