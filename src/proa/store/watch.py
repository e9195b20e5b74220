"""Bring each change to every watcher whose prefix it has, once, in order, and never to any other.

Watchers are indexed by prefix. A change looks only at the prefixes that its own key has: those that end at one
of its slashes, and the few watched lengths that do not end in a slash. All that becomes durable together is
one burst, and the watchers of one prefix share one list of it. All have it at once, but where there are very many
they are woken some at a time, so that the event loop serves others between. A watcher that does not keep up has
its buffer taken away and gets WatchOverflow: memory is bounded, and it must read and watch again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence

from proa.store.protocol import Change, WatchOverflow

MAX_BUFFERED_CHANGES = 10_000
MAX_BUFFERED_BYTES = 64 * 1024 * 1024
MAX_SIFTED = 20
"""Changes of a burst of more are not looked at one by one for each watcher."""
WAKES_A_TURN = 200
"""Encrypting and sending a small event takes some 40 microseconds a watcher."""
Wants = Callable[[Change], bool]


class Subscription:
    """One watcher's buffer of bursts: a `protocol.Watch`."""

    def __init__(self, watchers: Watchers, prefix: str, after_revision: int, wants: Wants | None) -> None:
        self.prefix = prefix
        self._wants = wants
        self._watchers = watchers
        self._after_revision = after_revision
        self._bursts: deque[Sequence[Change]] = deque()
        self._buffered_changes = 0
        self._buffered_bytes = 0
        self._overflowed = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    def deliver(self, burst: Sequence[Change], size_bytes: int) -> None:
        """Buffer a burst, or give up on a watcher that has too much waiting."""
        if burst[0].revision <= self._after_revision:
            burst = [change for change in burst if change.revision > self._after_revision]
            if not burst:
                return
        if self._wants is not None and len(burst) <= MAX_SIFTED and not any(map(self._wants, burst)):
            return
        waiting = bool(self._bursts)
        self._bursts.append(burst)
        self._buffered_changes += len(burst)
        self._buffered_bytes += size_bytes
        if waiting and (
            self._buffered_changes > MAX_BUFFERED_CHANGES or self._buffered_bytes > MAX_BUFFERED_BYTES
        ):
            self.drop()
        if self._waiter is not None:
            self._watchers.wake(self, self._waiter)

    def drop(self) -> None:
        """Give up: the watcher has to read again."""
        self._overflowed = True
        self._forget()
        self.wake()

    def __aiter__(self) -> AsyncIterator[Sequence[Change]]:
        return self

    async def __anext__(self) -> Sequence[Change]:
        while not self._bursts:
            if self._overflowed:
                raise WatchOverflow(self.prefix)
            if self._closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        burst = self._bursts.popleft()
        if self._bursts:
            self._buffered_changes -= len(burst)
            self._buffered_bytes -= burst_bytes(burst)
        else:
            self._buffered_changes = self._buffered_bytes = 0
        return burst

    def take(self) -> Sequence[Change]:
        """See `Watch.take`."""
        if not self._bursts:
            if self._overflowed:
                raise WatchOverflow(self.prefix)
            return ()
        changes = [change for burst in self._bursts for change in burst]
        self._bursts.clear()
        self._buffered_changes = self._buffered_bytes = 0
        return changes

    def has_arrived(self) -> bool:
        """See `Watch.has_arrived`."""
        return bool(self._bursts)

    def close(self) -> None:
        """Stop; the iterator ends."""
        self._closed = True
        self._forget()
        self.wake()

    def end(self) -> None:
        """Stop after what is buffered."""
        self._closed = True
        self.wake()

    def _forget(self) -> None:
        self._bursts.clear()
        self._watchers.remove(self)

    def wake(self) -> None:
        """Let who iterates go on."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Watchers:
    """Every subscription, by prefix, and the burst being gathered for each."""

    def __init__(self) -> None:
        self._by_prefix: dict[str, dict[Subscription, None]] = {}
        self._odd_lengths: Counter[int] = Counter()
        self._gathered: dict[str, list[Change]] = {}
        self._woken = 0
        self._asleep: deque[Subscription] = deque()
        self._waking: asyncio.AbstractEventLoop | None = None
        """The loop in whose next turn more are woken."""

    def subscribe(
        self, prefix: str, after_revision: int, backlog: Sequence[Change], wants: Wants | None = None
    ) -> Subscription:
        """Add a watcher that starts with `backlog`."""
        subscription = Subscription(self, prefix, after_revision, wants)
        if backlog:
            subscription.deliver(backlog, burst_bytes(backlog))
        self._by_prefix.setdefault(prefix, {})[subscription] = None
        if not prefix.endswith("/"):
            self._odd_lengths[len(prefix)] += 1
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Forget a watcher; harmless when it is already gone."""
        prefix = subscription.prefix
        subscriptions = self._by_prefix.get(prefix, {})
        if subscription not in subscriptions:
            return
        del subscriptions[subscription]
        if not subscriptions:
            del self._by_prefix[prefix]
        if not prefix.endswith("/"):
            self._odd_lengths[len(prefix)] -= 1
            if not self._odd_lengths[len(prefix)]:
                del self._odd_lengths[len(prefix)]

    def prefixes_of(self, key: str) -> list[str]:
        """Return the watched prefixes that `key` has; most keys have none."""
        watched = self._by_prefix
        if not watched:
            return []
        found = [
            key[:length] for length in self._odd_lengths if length <= len(key) and key[:length] in watched
        ]
        slash = key.find("/")
        while slash >= 0:
            prefix = key[: slash + 1]
            if prefix in watched:
                found.append(prefix)
            slash = key.find("/", slash + 1)
        return found

    def gather(self, prefixes: Sequence[str], change: Change) -> None:
        """Add a change to the burst of each of `prefixes`."""
        for prefix in prefixes:
            self._gathered.setdefault(prefix, []).append(change)

    def drop(self, prefixes: Sequence[str]) -> None:
        """Give up on every watcher of `prefixes`."""
        for prefix in prefixes:
            for subscription in tuple(self._by_prefix.get(prefix, ())):
                subscription.drop()

    def drop_all(self) -> None:
        """Give up on every watcher."""
        self.drop(tuple(self._by_prefix))

    def deliver(self) -> None:
        """Hand the gathered bursts over."""
        self._woken = 0
        gathered, self._gathered = self._gathered, {}
        for prefix, burst in gathered.items():
            size_bytes = burst_bytes(burst)
            for subscription in tuple(self._by_prefix.get(prefix, ())):
                subscription.deliver(burst, size_bytes)

    def wake(self, subscription: Subscription, waiter: asyncio.Future[None]) -> None:
        """Wake a watcher that waits: now, or in one of the next turns of the loop."""
        self._woken += 1
        if self._woken <= WAKES_A_TURN:
            subscription.wake()
            return
        self._asleep.append(subscription)
        loop = waiter.get_loop()
        if self._waking is not loop:
            self._waking = loop
            loop.call_soon(self._wake_more)

    def _wake_more(self) -> None:
        for _ in range(min(WAKES_A_TURN, len(self._asleep))):
            self._asleep.popleft().wake()
        if self._asleep and self._waking is not None:
            self._waking.call_soon(self._wake_more)
        else:
            self._waking = None

    def end(self) -> None:
        """End every watcher, after what it has buffered."""
        for subscriptions in tuple(self._by_prefix.values()):
            for subscription in subscriptions:
                subscription.end()
        self._by_prefix.clear()
        self._odd_lengths.clear()


def burst_bytes(burst: Sequence[Change]) -> int:
    """Return about what a burst holds in memory."""
    return sum(len(change.value or b"") + len(change.previous or b"") for change in burst)
