"""Hold back requests that are more than may be answered at once: so many more wait for their turn, others get 503.

Of Knative Serving's pkg/queue/breaker.go. What waits counts as in hand.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from proa.ml.serving.server.exchange import Exchange
from proa.ml.serving.wire.load_counter import LoadCounter
from proa.ml.serving.wire.refusals import Refused

Work = Callable[[Exchange], None]


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
        self._load.arrived()
        if not self._concurrency:
            exchange.on_end = self._load.left
            work(exchange)
        elif self._running < self._concurrency:
            self._run(exchange, work)
        else:
            exchange.on_end = self._load.left
            self._waiting.append((exchange, work))

    async def hold(self) -> None:
        """Begin a call that is no exchange, when it is its turn; raise Refused where too many wait. See release."""
        if self._load.in_hand >= self._most:
            raise _too_many()
        self._load.arrived()
        if self._concurrency and self._running >= self._concurrency:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except BaseException:
                self._load.left()
                if turn.done() and not turn.cancelled():
                    self._next()
                raise
        else:
            self._running += 1

    def release(self) -> None:
        """End such a call."""
        self._load.left()
        self._next()

    def _run(self, exchange: Exchange, work: Work) -> None:
        self._running += 1
        exchange.on_end = self._leave
        work(exchange)

    def _leave(self) -> None:
        self._load.left()
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
