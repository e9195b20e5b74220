"""Pods are bounded, and shared out between runs."""

from __future__ import annotations

import asyncio

import pytest

from proa.ml.pipelines.operator.slots import PodSlots


def test_a_large_run_leaves_room_for_a_small_one():
    async def share() -> list[str]:
        slots, order = PodSlots(total=4, per_run=3), []

        async def take(run: str) -> None:
            await slots.take(run)
            order.append(run)

        jobs = [asyncio.create_task(take("large")) for _ in range(10)]
        await asyncio.sleep(0)
        assert order == ["large"] * 3
        jobs += [asyncio.create_task(take("small")) for _ in range(2)]
        await asyncio.sleep(0)
        for _ in range(4):
            slots.give("large")
            await asyncio.sleep(0)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        return order[3:]

    assert asyncio.run(share())[:2] == ["small", "small"]


def test_one_that_waits_in_vain_takes_nothing():
    async def leave() -> int:
        slots = PodSlots(total=1, per_run=1)
        await slots.take("a")
        waiting = [asyncio.create_task(slots.take("b")) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.gather(waiting[0], return_exceptions=True)
        slots.give("a")
        await waiting[1]
        return slots.taken

    assert asyncio.run(leave()) == 1


def test_one_that_is_cancelled_when_its_turn_has_come_gives_it_back():
    async def leave() -> int:
        slots = PodSlots(total=1, per_run=1)
        await slots.take("a")
        waiting = asyncio.create_task(slots.take("b"))
        await asyncio.sleep(0)
        slots.give("a")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return slots.taken

    assert asyncio.run(leave()) == 0


@pytest.mark.parametrize("per_run", [1, 5])
def test_no_run_has_more_than_its_share(per_run: int):
    async def take() -> int:
        slots = PodSlots(total=100, per_run=per_run)
        jobs = [asyncio.create_task(slots.take("a")) for _ in range(20)]
        await asyncio.sleep(0)
        taken = slots.taken
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        return taken

    assert asyncio.run(take()) == per_run
