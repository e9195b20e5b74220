"""Whatever is made at once is made, or not begun."""

from __future__ import annotations

import asyncio
import gc

import pytest

from proa.ml.training.jobset.making import PARALLEL_WRITES, each


def test_writes_that_have_not_begun_when_it_is_cancelled_are_never_begun() -> None:
    begun = []

    async def write(number: int) -> None:
        begun.append(number)
        await asyncio.Event().wait()

    async def scenario() -> None:
        early = asyncio.create_task(each(write(number) for number in range(3)))
        await asyncio.sleep(0)
        early.cancel()  # its writes have no turn before they are cancelled
        with pytest.raises(asyncio.CancelledError):
            await early

        late = asyncio.create_task(each(write(number) for number in range(PARALLEL_WRITES + 10)))
        while len(begun) < PARALLEL_WRITES:
            await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late

    asyncio.run(scenario())
    gc.collect()  # a coroutine that was never awaited is told of here, and fails the test
    assert begun == [*range(PARALLEL_WRITES)]
