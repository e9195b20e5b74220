"""Hand out keys to work on: each at most once at a time, never lost, later when it keeps failing.

A key added while it waits is not added twice; one added while it is worked on comes again afterwards.
Failures back off exponentially per key, and all together pass one token bucket. Follows client-go's
util/workqueue (queue.go, delaying_queue.go, default_rate_limiters.go).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

K = TypeVar("K")

BASE_DELAY_SECONDS = 0.005
MAX_DELAY_SECONDS = 1000.0
RETRIES_PER_SECOND = 10.0
RETRY_BURST = 100


class Timers(Protocol):
    """What the queue needs of an event loop; tests give one whose time they set."""

    def time(self) -> float: ...

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any
    ) -> asyncio.TimerHandle: ...


class ShutDown(Exception):
    """The queue takes and gives no more keys."""


class WorkQueue(Generic[K]):
    """See the module's docstring. All methods but `get` return at once; use from one event loop."""

    def __init__(self, timers: Timers | None = None) -> None:
        self._timers = timers or asyncio.get_running_loop()
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._running: set[K] = set()
        self._delayed: dict[K, asyncio.TimerHandle] = {}
        self._resting: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._bucket = TokenBucket(RETRIES_PER_SECOND, RETRY_BURST, self._timers.time)
        self._getters: deque[asyncio.Future[None]] = deque()
        self._shut_down = False

    def __len__(self) -> int:
        """Return how many keys are ready to be worked on."""
        return len(self._ready)

    @property
    def has_work(self) -> bool:
        """Tell whether a key is ready, or will be when it has rested."""
        return bool(self._dirty)

    def add(self, key: K) -> None:
        """Ask for `key` to be worked on."""
        if self._shut_down or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._running:
            self._ready.append(key)
            self._wake()

    def add_after(self, key: K, seconds: float) -> None:
        """Add `key` in a while; of several delays asked for at once, the one that ends first counts."""
        if self._shut_down:
            return
        if seconds <= 0:
            self.add(key)
            return
        waiting = self._delayed.get(key)
        if waiting is not None:
            if waiting.when() <= self._timers.time() + seconds:
                return
            waiting.cancel()
        self._delayed[key] = self._timers.call_later(seconds, self._delay_over, key)

    def add_delayed_now(self) -> None:
        """Add every key that waits for its time: the time of day has jumped, and may have come."""
        for key, timer in [*self._delayed.items()]:
            timer.cancel()
            self._delay_over(key)

    def add_rate_limited(self, key: K) -> float:
        """Add `key` when its back-off is over, and return that delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(BASE_DELAY_SECONDS * 2.0 ** min(failures, 64), MAX_DELAY_SECONDS)
        delay = max(delay, self._bucket.reserve())
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Start the key's back-off anew: it has succeeded, or is given up."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Return how often the key has been retried since it was last forgotten."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """Return the next key, to be ended with `done(key)`; raise ShutDown."""
        while not self._ready:
            if self._shut_down:
                raise ShutDown
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()
                raise
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._running.add(key)
        return key

    def done(self, key: K, rest_seconds: float = 0.0) -> None:
        """End the work on `key`; if it was added meanwhile it is ready again, once it has rested for so long."""
        if rest_seconds > 0 and not self._shut_down:
            self._resting[key] = self._timers.call_later(rest_seconds, self._rest_over, key)
            return
        self._running.discard(key)
        if key in self._dirty:
            self._ready.append(key)
            self._wake()

    def shut_down(self) -> None:
        """Drop what waits and end every `get`."""
        self._shut_down = True
        for timer in (*self._delayed.values(), *self._resting.values()):
            timer.cancel()
        self._delayed.clear()
        self._resting.clear()
        self._ready.clear()
        self._dirty.clear()
        while self._getters:
            self._wake()

    def _rest_over(self, key: K) -> None:
        del self._resting[key]
        self.done(key)

    def _delay_over(self, key: K) -> None:
        self._delayed.pop(key, None)
        self.add(key)

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return


class TokenBucket:
    """Allow `burst` at once and `per_second` in the long run; `now` returns seconds."""

    def __init__(self, per_second: float, burst: int, now: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._now = now
        self._tokens = float(burst)
        self._filled_at = now()

    def reserve(self) -> float:
        """Take a token, in advance if need be, and return the seconds until it is due."""
        self._fill()
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._per_second)

    def try_take(self) -> bool:
        """Take a token if there is one."""
        self._fill()
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _fill(self) -> None:
        now = self._now()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
