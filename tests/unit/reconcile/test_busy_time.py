"""Only the steps of a coroutine count as busy, and it behaves as if nobody looked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.reconcile import busy_time
from proa.reconcile.busy_time import BusyTime


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: Any) -> Clock:
    made = Clock()
    monkeypatch.setattr(busy_time, "perf_counter", made)
    return made


def test_waiting_is_not_busy(clock: Clock) -> None:
    async def work() -> str:
        clock.now += 1
        await asyncio.sleep(0)
        clock.now += 2
        return "done"

    async def scenario() -> None:
        other = asyncio.create_task(idle())
        busy = BusyTime(work())
        assert await busy == "done"
        assert busy.seconds == 3
        await other

    async def idle() -> None:
        clock.now += 100

    asyncio.run(scenario())


def test_errors_and_cancellation_pass(clock: Clock) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def catches() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            clock.now += 5
            return "ended"
        return "never"

    async def scenario() -> None:
        with pytest.raises(ValueError, match="no"):
            await BusyTime(fails())
        busy = BusyTime(catches())

        async def run() -> str:
            return await busy

        task = asyncio.create_task(run())
        await asyncio.sleep(0)
        task.cancel()
        assert await task == "ended"
        assert busy.seconds == 5

    asyncio.run(scenario())
