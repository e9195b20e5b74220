"""Wherever an operator ends, the next one brings the experiment to the same end: no trial run twice, none lost."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path

import pytest

from proa.ml.tuning.kinds import TRIALS
from proa.objects import meta
from proa.objects.resource import JOBS
from support.tuning_operator import Counting, Crash, World, in_world

WORDS = ["score 0.5", "fail", "score 0.9", "nothing", "score 0.1"]
EXPECTED = {"trialsSucceeded": 3, "trialsFailed": 1, "trialMetricsUnavailable": 1, "trials": 5}


async def run_with_crash(world: World, at: int | None) -> bool:
    """Run with an operator that crashes at a moment, then with one that does not; tell whether it did crash."""
    crash = Crash(at)
    manager = world.make_manager(crash)
    starting = asyncio.create_task(manager.start())
    await world.apply(maxTrialCount=5, maxFailedTrialCount=5, resumePolicy="FromVolume")
    dying = asyncio.create_task(crash.happened.wait())
    ending = asyncio.create_task(world.until_condition("Succeeded"))
    await asyncio.wait({dying, ending}, return_when=asyncio.FIRST_COMPLETED)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await manager.stop()
    if crash.happened.is_set():
        async with world.operating():
            await ending
            await world.until(lambda: not world.client.all(JOBS))
    dying.cancel()
    await ending
    status = world.status()
    assert {key: status.get(key) for key in EXPECTED} == EXPECTED
    best = status["currentOptimalTrial"]
    assert best["parameterAssignments"] == [{"name": "x", "value": "score 0.9"}]
    names = [entry["name"] for entry in world.suggestion()["status"]["suggestions"]]
    assert sorted(names) == sorted(meta.name(trial) for trial in world.client.all(TRIALS))
    assert world.node.began == dict.fromkeys(names, 1)
    for trial, word in zip(world.trials(), WORDS, strict=True):
        points = await world.observations.read(meta.uid(trial))
        assert [point.value for point in points] == word.split(" ")[1:]
    return crash.happened.is_set()


def test_an_experiment_without_a_crash(tmp_path: Path):
    async def act(world: World) -> bool:
        return await run_with_crash(world, None)

    assert not asyncio.run(in_world(tmp_path, act, Counting(WORDS)))


@pytest.mark.parametrize("remainder", range(4))
def test_a_crash_at_any_moment(tmp_path: Path, remainder: int):
    """Every fourth moment, in four parts."""

    async def crash_everywhere() -> int:
        at = 4 * remainder + 1
        while True:
            folder = tmp_path / str(at)
            folder.mkdir()
            if not await in_world(folder, functools.partial(run_with_crash, at=at), Counting(WORDS)):
                return at
            at += 16

    assert asyncio.run(crash_everywhere()) > 50
