"""History keeps at least five minutes or 10,000 changes, and never above 50,000 or 256 MiB."""

from __future__ import annotations

import pytest

from proa.store.history import (
    HISTORY_CHANGES,
    HISTORY_MAX_BYTES,
    HISTORY_MAX_CHANGES,
    HISTORY_SECONDS,
    History,
)
from proa.store.protocol import Compacted, Entry


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def write(history: History[Entry], count: int) -> None:
    for _ in range(count):
        revision = history.revision + 1
        history.apply("a", revision, Entry("a", b"", revision))
        history.trim()


def make_history() -> tuple[History[Entry], Clock]:
    clock = Clock()
    return History(lambda key, entry: entry, clock=clock), clock


def test_old_changes_are_forgotten_beyond_the_newest_ten_thousand() -> None:
    history, clock = make_history()
    write(history, HISTORY_CHANGES + 5)
    assert history.oldest == 0
    clock.now = HISTORY_SECONDS + 1
    write(history, 1)
    assert history.oldest == 1, "the mark of the first write is what has aged"
    clock.now *= 2
    write(history, 1)
    assert history.revision - history.oldest == HISTORY_CHANGES
    with pytest.raises(Compacted):
        history.changes("", 0)


def test_a_burst_cannot_hold_more_than_the_maximum() -> None:
    history, _ = make_history()
    write(history, HISTORY_MAX_CHANGES + 10)
    assert history.revision - history.oldest == HISTORY_MAX_CHANGES


def test_large_values_leave_sooner() -> None:
    history, _ = make_history()
    for revision in range(1, 301):
        history.apply("a", revision, Entry("a", b"", revision), size_bytes=1 << 20)
        history.trim()
    assert history.revision - history.oldest == HISTORY_MAX_BYTES >> 20
    assert history.range("a", "", 0, history.oldest).entries


def test_few_changes_are_kept_however_old() -> None:
    history, clock = make_history()
    for _ in range(10):
        write(history, 1)
        clock.now += HISTORY_SECONDS
    assert [change.revision for change in history.changes("", 0)] == list(range(1, 11))
