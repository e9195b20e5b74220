from __future__ import annotations

import pytest

from proa.scheduler.framework import Event, Profile
from proa.scheduler.plugins.node_affinity import NodeAffinity
from proa.scheduler.plugins.node_resources_fit import NodeResourcesFit
from proa.scheduler.pod_info import make_pod_info
from proa.scheduler.queue import EARLY_A_SECOND, SchedulingQueue

FIT = frozenset({"NodeResourcesFit"})
AFFINITY = frozenset({"NodeAffinity"})


class FakeTimer:
    def __init__(self, due, callback):
        self.due, self.callback, self.is_over = due, callback, False

    def when(self):
        return self.due

    def cancel(self):
        self.is_over = True


class FakeTimers:
    def __init__(self):
        self.now, self.timers = 0.0, []

    def time(self):
        return self.now

    def call_later(self, delay, callback, *args):
        self.timers.append(FakeTimer(self.now + delay, lambda: callback(*args)))
        return self.timers[-1]

    def advance(self, seconds):
        until = self.now + seconds
        while due := [timer for timer in self.timers if not timer.is_over and timer.due <= until]:
            first = min(due, key=lambda timer: timer.due)
            first.is_over, self.now = True, first.due
            first.callback()
        self.now = until

    def has_any(self):
        return any(not timer.is_over for timer in self.timers)


@pytest.fixture
def timers():
    return FakeTimers()


@pytest.fixture
def queue(timers):
    profile = Profile("default-scheduler", [NodeResourcesFit(), NodeAffinity()])
    return SchedulingQueue(lambda pod: -pod.priority, lambda pod: profile, lambda: None, timers)


def names(queue):
    found = []
    while (queued := queue.pop()) is not None:
        found.append(queued.info.name)
    return found


def test_pods_come_by_priority_and_then_by_age(queue, pod):
    for name, priority in (("old", 0), ("young", 0), ("vital", 10)):
        queue.add(make_pod_info(pod(name, priority=priority)))
    assert names(queue) == ["vital", "old", "young"]


def test_a_rejected_pod_waits_for_what_can_help_it_and_for_its_back_off(queue, timers, pod):
    queue.add(make_pod_info(pod("p")))
    queue.reject(queue.pop(), FIT)
    timers.advance(100)
    assert names(queue) == []
    queue.move(Event.NODE_LABELS)
    assert names(queue) == []
    queue.move(Event.POD_REMOVED)
    assert names(queue) == ["p"]


def test_help_that_comes_soon_waits_for_the_back_off_while_others_are_to_be_tried(queue, timers, pod):
    queue.add(make_pod_info(pod("p")))
    queued = queue.pop()
    for seconds in (1, 2, 4, 8, 10, 10):
        queue.reject(queued, FIT)
        queue.move(Event.POD_REMOVED)
        timers.advance(seconds - 0.5)
        queue.add(make_pod_info(pod("other", priority=-1)))
        assert queue.pop().info.name == "other"
        timers.advance(0.5)
        queue.add(make_pod_info(pod("other", priority=-1)))
        queued = queue.pop()
        assert (queued.info.name, queue.pop().info.name) == ("p", "other")


def test_where_nothing_else_is_to_be_tried_the_back_off_is_cut_short_for_some(queue, timers, pod):
    for index in range(EARLY_A_SECOND + 5):
        queue.add(make_pod_info(pod(f"p{index}")))
    rejected = [queue.pop() for _ in range(EARLY_A_SECOND + 5)]
    for queued in rejected:
        queue.reject(queued, FIT)
    assert names(queue) == []
    queue.move(Event.POD_REMOVED)
    assert len(names(queue)) == EARLY_A_SECOND
    timers.advance(1)
    assert len(names(queue)) == 5


def test_an_event_moves_only_the_pods_that_it_can_help(queue, timers, pod):
    for name, plugins in (("a", FIT), ("b", AFFINITY)):
        queue.add(make_pod_info(pod(name)))
        queue.reject(queue.pop(), plugins)
    timers.advance(20)
    queue.move(Event.POD_REMOVED)
    assert names(queue) == ["a"]
    queue.move(Event.NODE_ADDED)
    assert names(queue) == ["b"]


def test_every_pod_is_tried_again_after_five_minutes(queue, timers, pod):
    queue.add(make_pod_info(pod("p")))
    queue.reject(queue.pop(), AFFINITY)
    timers.advance(299)
    assert queue.pop() is None
    timers.advance(1)
    assert names(queue) == ["p"]


def test_a_pod_that_failed_otherwise_is_tried_after_its_back_off(queue, timers, pod):
    queue.add(make_pod_info(pod("p")))
    queue.retry(queue.pop())
    assert queue.pop() is None
    timers.advance(1)
    assert names(queue) == ["p"]


def test_a_pod_that_changed_is_tried_at_once(queue, pod):
    queue.add(make_pod_info(pod("p")))
    queue.reject(queue.pop(), FIT)
    queue.add(make_pod_info(pod("p", cpu="1")))
    assert names(queue) == ["p"]


def test_a_pod_that_is_gone_leaves_nothing_behind(queue, timers, pod):
    for name, leave in (("a", lambda q: queue.reject(q, FIT)), ("b", queue.retry), ("c", None)):
        queue.add(make_pod_info(pod(name)))
        if leave:
            leave(queue.pop())
    for name in "abc":
        queue.remove(f"uid-{name}")
    timers.advance(1000)
    assert (len(queue), queue.pop(), timers.has_any()) == (0, None, False)


def test_an_empty_or_closed_queue_has_no_timers(queue, timers, pod):
    queue.add(make_pod_info(pod("p")))
    queue.reject(queue.pop(), FIT)
    queue.close()
    assert not timers.has_any()
