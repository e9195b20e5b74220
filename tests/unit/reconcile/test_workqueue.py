from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.reconcile.workqueue import ShutDown, TokenBucket, WorkQueue


class FakeTimer:
    def __init__(self, due: float, callback: Callable[[], object]) -> None:
        self.due, self.callback, self.is_over = due, callback, False

    def when(self) -> float:
        return self.due

    def cancel(self) -> None:
        self.is_over = True


class FakeTimers:
    """A clock that stands until it is told to `advance`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[FakeTimer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay, callback, *args):
        self.timers.append(FakeTimer(self.now + delay, lambda: callback(*args)))
        return self.timers[-1]

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [timer for timer in self.timers if not timer.is_over and timer.due <= until]:
            first = min(due, key=lambda timer: timer.due)
            first.is_over = True
            self.now = first.due
            first.callback()
        self.now = until


@pytest.fixture
def timers() -> FakeTimers:
    return FakeTimers()


@pytest.fixture
def queue(timers: FakeTimers) -> WorkQueue[str]:
    return WorkQueue(timers)


def take(queue: WorkQueue[str]) -> str:
    return asyncio.run(queue.get())


def test_a_key_that_waits_is_not_added_twice(queue):
    queue.add("a")
    queue.add("a")
    assert take(queue) == "a"
    assert len(queue) == 0


def test_a_key_that_is_worked_on_comes_again_when_that_is_done(queue):
    queue.add("a")
    take(queue)
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert take(queue) == "a"


def test_keys_come_in_the_order_in_which_they_were_added(queue):
    for key in "cab":
        queue.add(key)
    assert [take(queue) for _ in range(3)] == ["c", "a", "b"]


def test_a_delayed_key_comes_when_its_time_has_come(queue, timers):
    queue.add_after("a", 10)
    timers.advance(9)
    assert len(queue) == 0
    timers.advance(1)
    assert take(queue) == "a"


@pytest.mark.parametrize("delays", [(5, 20), (20, 5)])
def test_of_two_delays_the_one_that_ends_first_counts(queue, timers, delays):
    for delay in delays:
        queue.add_after("a", delay)
    timers.advance(5)
    assert len(queue) == 1
    queue.done(take(queue))
    timers.advance(20)
    assert len(queue) == 0


def test_failures_back_off_from_five_milliseconds_to_a_thousand_seconds(queue):
    delays = [queue.add_rate_limited("a") for _ in range(20)]
    assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
    assert delays[-1] == 1000.0


def test_a_forgotten_key_starts_its_back_off_anew(queue):
    queue.add_rate_limited("a")
    queue.add_rate_limited("a")
    assert queue.failures("a") == 2
    queue.forget("a")
    assert queue.failures("a") == 0
    assert queue.add_rate_limited("a") == 0.005


def test_all_retries_together_pass_one_bucket(queue):
    delays = [queue.add_rate_limited(str(index)) for index in range(120)]
    assert delays[:100] == [0.005] * 100
    assert delays[119] == pytest.approx(2.0)


def test_shutting_down_ends_whoever_waits_and_drops_the_rest(timers):
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue(timers)
        waiting = [asyncio.create_task(queue.get()) for _ in range(2)]
        await asyncio.sleep(0)
        queue.add_after("a", 1)
        queue.shut_down()
        for answer in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(answer, ShutDown)
        queue.add("b")
        timers.advance(5)
        assert len(queue) == 0

    asyncio.run(scenario())


def test_a_cancelled_getter_passes_its_key_on(timers):
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue(timers)
        first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()
        assert await asyncio.wait_for(second, 60) == "a"
        assert first.cancelled() or (await asyncio.gather(first, return_exceptions=True))

    asyncio.run(scenario())


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["add", "get", "done"]), st.sampled_from("abc")), max_size=40))
def test_no_key_is_lost_and_none_is_worked_on_twice_at_once(steps):
    queue: WorkQueue[str] = WorkQueue(FakeTimers())
    wanted: set[str] = set()
    running: set[str] = set()
    for step, key in steps:
        if step == "add":
            queue.add(key)
            wanted.add(key)
        elif step == "get" and len(queue):
            taken = take(queue)
            assert taken in wanted
            assert taken not in running
            wanted.discard(taken)
            running.add(taken)
        elif step == "done" and key in running:
            running.discard(key)
            queue.done(key)
        assert len(queue) == len(wanted - running)


def test_a_bucket_allows_its_burst_and_then_its_rate(timers):
    bucket = TokenBucket(2.0, 3, timers.time)
    assert [bucket.try_take() for _ in range(4)] == [True, True, True, False]
    timers.now = 0.5
    assert [bucket.try_take() for _ in range(2)] == [True, False]
    assert [bucket.reserve(), bucket.reserve()] == [0.5, 1.0]


def test_a_key_that_rests_comes_again_once_and_only_then(queue: WorkQueue[str], timers: FakeTimers) -> None:
    queue.add("a")
    assert take(queue) == "a"
    queue.done("a", 2.0)
    assert not queue.has_work
    queue.add("a")
    queue.add("a")
    assert (len(queue), queue.has_work) == (0, True)
    timers.advance(1.9)
    assert len(queue) == 0
    timers.advance(0.1)
    assert take(queue) == "a"
    queue.done("a")
    assert not queue.has_work
    queue.add("a")
    assert len(queue) == 1


def test_shutting_down_ends_rests(queue: WorkQueue[str], timers: FakeTimers) -> None:
    queue.add("a")
    take(queue)
    queue.done("a", 1.0)
    queue.shut_down()
    timers.advance(2.0)
    assert not queue.has_work
