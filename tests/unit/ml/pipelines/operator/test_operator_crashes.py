"""Wherever an operator ends, the next one brings the run to the same end: no step done twice, none lost."""

from __future__ import annotations

import asyncio
import functools
import itertools
from pathlib import Path

import pytest

from proa.ml.pipelines.records import RunState
from proa.ml.pipelines.run_objects import RUNS
from proa.objects.resource import PODS
from support.pipelines_operator import Crash, World, add, add_to, end, in_world, make_spec, write

SPEC = make_spec(
    {
        "one": add(1, 2),
        "data": write(5, dependentTasks=["one"]),
        "two": add_to("one", 4),
    }
)


async def run_with_crash(world: World, at: int | None) -> bool:
    """Run the pipeline with an operator that crashes at a moment, then with one that does not; tell if it did crash."""
    run = await world.add_run(SPEC)
    crash = Crash(at)
    working = asyncio.create_task(world.make_operator(crash).run())
    dying = asyncio.create_task(crash.happened.wait())
    ending = asyncio.create_task(world.until_over(run))
    await asyncio.wait({working, dying, ending}, return_when=asyncio.FIRST_COMPLETED)
    await end(working)
    if crash.happened.is_set():
        working = asyncio.create_task(world.make_operator().run())
    dying.cancel()
    row = await ending
    if crash.happened.is_set():
        await end(working)
    assert (row.state, row.error) == (RunState.SUCCEEDED, "")
    tasks = await world.tasks_of(run)
    assert tasks["one"].outputs.parameters == {"sum": 3}
    assert tasks["two"].outputs.parameters == {"sum": 7}
    [artifact] = tasks["data"].outputs.artifacts["data"]
    assert world.store.objects[artifact.uri] == b"xxxxx"
    assert world.node.began == {(run.id, path, "0"): 1 for path in ("one", "data", "two")}
    assert len(world.client.all(PODS)) == 3
    assert world.client.all(RUNS)[0]["status"]["state"] == "SUCCEEDED"
    return crash.happened.is_set()


def test_a_run_without_a_crash(tmp_path: Path):
    assert not asyncio.run(in_world(tmp_path, lambda world: run_with_crash(world, None)))


@pytest.mark.parametrize("remainder", range(8))
def test_a_crash_at_any_call(tmp_path: Path, remainder: int):
    """Every third moment, in eight parts."""

    async def crash_everywhere() -> int:
        for at in itertools.count(3 * remainder + 1, 24):
            act = functools.partial(run_with_crash, at=at)
            if not await in_world(make_folder(tmp_path, at), act):
                return at
        raise AssertionError

    assert asyncio.run(crash_everywhere()) > 40


def make_folder(parent: Path, at: int) -> Path:
    folder = parent / str(at)
    folder.mkdir()
    return folder
