"""A clock that was set, or a machine that has slept, is noticed; one that is slewed is not."""

from __future__ import annotations

import asyncio

import pytest

from proa.reconcile.clock_jumps import PERIOD_SECONDS, watch_clock
from proa.reconcile.workqueue import WorkQueue


@pytest.mark.parametrize(
    ("changes", "jumps"),
    [([0.0, 0.1, -0.1], 0), ([7200.0], 1), ([-7200.0, 7200.0], 2), ([1.0, 1.0, 1.0], 0)],
    ids=["as it goes", "it has slept", "set back and again", "slewed"],
)
def test_jumps_are_counted(changes: list[float], jumps: int) -> None:
    seen: list[float] = []
    uptime, offset = 100.0, 1.7e9

    async def sleep(seconds: float) -> None:
        nonlocal uptime, offset
        if not changes:
            raise asyncio.CancelledError
        uptime += seconds
        offset += changes.pop(0)

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await watch_clock(
                lambda: seen.append(uptime),
                now=lambda: uptime + offset,
                monotonic=lambda: uptime,
                sleep=sleep,
            )

    asyncio.run(main())
    assert len(seen) == jumps
    assert all(moment % PERIOD_SECONDS == 0 for moment in seen)


def test_what_waits_for_its_time_is_looked_at_when_the_clock_has_jumped() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add_after("noon", 3600)
        queue.add_after("midnight", 7200)
        assert len(queue) == 0
        queue.add_delayed_now()
        assert [await queue.get(), await queue.get()] == ["noon", "midnight"]
        queue.done("noon")
        queue.add_after("noon", 3600)
        assert len(queue) == 0, "its next time is waited for again"

    asyncio.run(main())
