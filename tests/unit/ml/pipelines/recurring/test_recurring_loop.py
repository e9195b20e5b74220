"""The loop of recurring runs makes each run exactly once, whenever it is cut off and whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from proa.ml.pipelines.records import FINAL_RUN_STATES, RecurringRun, Run, RunState
from proa.ml.pipelines.recurring.loop import RecurringRuns, find_zone
from proa.ml.pipelines.recurring.plan import RunToMake
from proa.objects.errors import ServiceUnavailable
from proa.objects.time_zones import UTC_ZONE, UnknownTimeZone

ID = "5b0d3b9e-5f8a-4b7e-9d6c-0a1b2c3d4e5f"


class CutOff(BaseException):
    """The process was killed here."""


class Tables:
    """`RecurringStore` in memory, and the runs that were made. `fails` says what the next calls do instead."""

    def __init__(self, *recurring: RecurringRun) -> None:
        self.recurring = {one.id: one for one in recurring}
        self.runs: dict[str, Run] = {}
        self.asked = 0
        self.fails: list[BaseException] = []
        self.dies_before_noting = False
        self.now = 1000.0

    async def find_recurring_run(self, recurring_run_id: str) -> RecurringRun | None:
        return self.recurring.get(recurring_run_id)

    async def enabled_recurring_runs(self) -> AsyncIterator[RecurringRun]:
        for one in list(self.recurring.values()):
            if one.is_enabled:
                yield one

    async def due_recurring_runs(self, now: float, limit: int) -> Sequence[RecurringRun]:
        due = [
            r for r in self.recurring.values() if r.is_enabled and r.due_at is not None and r.due_at <= now
        ]
        return sorted(due, key=lambda one: one.due_at or 0.0)[:limit]

    async def next_due_at(self) -> float | None:
        return min(
            (r.due_at for r in self.recurring.values() if r.is_enabled and r.due_at is not None), default=None
        )

    async def count_active_runs(self, recurring_run_id: str) -> int:
        mine = [run for run in self.runs.values() if run.recurring_run_id == recurring_run_id]
        return sum(run.state not in FINAL_RUN_STATES for run in mine)

    async def note_recurring_run(self, recurring: RecurringRun) -> None:
        if self.dies_before_noting:
            raise CutOff
        if recurring.id in self.recurring:
            self.recurring[recurring.id] = recurring

    async def create_run(self, recurring: RecurringRun, made: RunToMake) -> Run:
        self.asked += 1
        if self.fails:
            raise self.fails.pop(0)
        run = Run(
            made.id,
            made.name,
            recurring.namespace,
            made.name,
            RunState.PENDING,
            self.now,
            recurring_run_id=recurring.id,
            scheduled_at=made.scheduled_at,
        )
        return self.runs.setdefault(made.id, run)

    def loop(self) -> RecurringRuns:
        return RecurringRuns(self, self.create_run, UTC_ZONE, lambda: self.now)

    def end_all(self) -> None:
        self.runs = {key: replace(run, state=RunState.SUCCEEDED) for key, run in self.runs.items()}

    def times(self) -> list[float]:
        return sorted(run.scheduled_at for run in self.runs.values())


def each(seconds: int, *, most: int = 10) -> RecurringRun:
    return RecurringRun(
        ID,
        "often",
        "kubeflow",
        1000.0,
        interval_seconds=seconds,
        max_concurrency=most,
        due_at=1000.0 + seconds,
    )


async def look_until(tables: Tables, loop: RecurringRuns, now: float) -> float | None:
    """Step until nothing is due any more at that time."""
    tables.now = now
    while True:
        next_at = await loop.step()
        if next_at is None or next_at > now:
            return next_at


def test_runs_are_made_when_they_are_due() -> None:
    tables = Tables(each(60))
    loop = tables.loop()
    assert asyncio.run(look_until(tables, loop, 1030.0)) == 1060.0
    assert asyncio.run(look_until(tables, loop, 1130.0)) == 1180.0
    assert tables.times() == [1060.0, 1120.0]
    assert tables.recurring[ID].last_index == 2


def test_one_that_was_cut_off_before_it_noted_its_run_makes_no_second_one() -> None:
    tables = Tables(replace(each(60), no_catchup=True))
    tables.dies_before_noting = True
    with pytest.raises(CutOff):
        asyncio.run(look_until(tables, tables.loop(), 1070.0))
    tables.dies_before_noting = False
    asyncio.run(look_until(tables, tables.loop(), 5000.0))  # much later: its time would be another
    assert tables.times() == [1060.0, 5000.0]
    assert tables.recurring[ID].last_index == 2


def test_what_waits_for_a_run_to_end_goes_on_when_it_has_ended() -> None:
    tables = Tables(each(60, most=1))
    loop = tables.loop()
    assert asyncio.run(look_until(tables, loop, 1130.0)) is None
    assert tables.times() == [1060.0]
    tables.end_all()
    loop.look_at(ID)
    asyncio.run(look_until(tables, loop, 1130.0))
    assert tables.times() == [1060.0, 1120.0]


def test_a_run_that_ended_while_nobody_looked_is_noticed_at_the_next_start() -> None:
    tables = Tables(each(60, most=1))
    asyncio.run(look_until(tables, tables.loop(), 1130.0))
    tables.end_all()

    async def start_again() -> None:
        loop = tables.loop()
        await loop.look_at_all()
        await look_until(tables, loop, 1130.0)

    asyncio.run(start_again())
    assert tables.times() == [1060.0, 1120.0]


def test_what_cannot_be_made_is_tried_again_and_says_why() -> None:
    tables = Tables(each(60))
    tables.fails = [ServiceUnavailable("the pipeline is gone"), RuntimeError("odd")]
    loop = tables.loop()
    assert asyncio.run(look_until(tables, loop, 1060.0)) == 1070.0
    assert tables.recurring[ID].error == "the pipeline is gone"
    assert asyncio.run(look_until(tables, loop, 1070.0)) == 1090.0
    assert tables.recurring[ID].error == "RuntimeError: odd"
    asyncio.run(look_until(tables, loop, 1090.0))
    assert (tables.times(), tables.recurring[ID].error) == ([1060.0], "")


def test_it_works_by_itself_and_is_woken_by_changes() -> None:
    tables = Tables()

    async def work() -> None:
        loop = tables.loop()
        task = asyncio.create_task(loop.run())
        await asyncio.sleep(0)
        tables.recurring[ID] = replace(each(60), created_at=900.0)
        loop.look_at(ID)
        while not tables.runs:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(asyncio.wait_for(work(), 60))
    assert tables.times() == [960.0]


def test_the_zone_is_the_environments() -> None:
    assert find_zone({}).name == "UTC"
    assert find_zone({"CRON_SCHEDULE_TIMEZONE": "Europe/Berlin"}).name == "Europe/Berlin"
    with pytest.raises(UnknownTimeZone):
        find_zone({"CRON_SCHEDULE_TIMEZONE": "Nowhere"})
