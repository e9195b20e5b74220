"""Make the runs of recurring runs when they are due, each exactly once.

What was made is noted in the database (its number and scheduled time) after the run is there, and the run's id is made
of that number: whoever was cut off in between asks for the same run again, and gets the one that is there. A recurring
run that has as many runs under way as it may is looked at when one of them ends (`look_at`), and all of them at each
start. Upstream: backend/src/crd/controller/scheduledworkflow/controller.go.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from proa.ml.pipelines.records import RecurringRun, Run
from proa.ml.pipelines.recurring.plan import RunToMake, plan, with_made
from proa.ml.pipelines.recurring.schedule import next_time
from proa.objects.errors import ApiError
from proa.objects.time_zones import TimeZone, find_time_zone
from proa.reconcile.clock_jumps import watch_clock

logger = logging.getLogger(__name__)

ZONE_VARIABLE = "CRON_SCHEDULE_TIMEZONE"
"""The environment's variable, as upstream's, that names the time zone of cron schedules; UTC without it."""
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 10.0, 360.0
AT_ONCE = 100
"""So many recurring runs that are due are read at once."""


class RecurringStore(Protocol):
    """What the loop needs of the database."""

    async def find_recurring_run(self, recurring_run_id: str) -> RecurringRun | None:
        """Return one, None where it is gone."""

    def enabled_recurring_runs(self) -> AsyncIterator[RecurringRun]:
        """Yield all that are enabled."""

    async def due_recurring_runs(self, now: float, limit: int) -> Sequence[RecurringRun]:
        """Return those that are enabled and whose due_at is not later than `now`, the earliest first."""

    async def next_due_at(self) -> float | None:
        """Return the earliest due_at of those that are enabled, None where none has one."""

    async def count_active_runs(self, recurring_run_id: str) -> int:
        """Return how many of its runs are in no final state."""

    async def note_recurring_run(self, recurring: RecurringRun) -> None:
        """Store last_scheduled_at, last_index, due_at and error, nothing else; nothing where it is gone."""


CreateRun = Callable[[RecurringRun, RunToMake], Awaitable[Run]]
"""Makes a recurring run's run as the API makes runs, or returns the one that has its id. Raises ApiError."""


def find_zone(environment: Mapping[str, str] = os.environ) -> TimeZone:
    """Return the zone of cron schedules that name none; raise UnknownTimeZone."""
    return find_time_zone(environment.get(ZONE_VARIABLE, "UTC"))


class RecurringRuns:
    """The loop; one of it works on a database."""

    def __init__(
        self,
        store: RecurringStore,
        create_run: CreateRun,
        zone: TimeZone,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._create_run = create_run
        self._zone = zone
        self._now = now
        self._asked: set[str] = set()
        self._failures: dict[str, int] = {}
        self._woken = asyncio.Event()

    def look_at(self, recurring_run_id: str) -> None:
        """Look at it soon: it is new or has changed, or a run of it has ended."""
        self._asked.add(recurring_run_id)
        self._woken.set()

    async def run(self) -> None:
        """Work for ever."""
        clock = asyncio.create_task(watch_clock(self._woken.set, now=self._now), name="recurring runs' clock")
        try:
            await self.look_at_all()
            while True:
                self._woken.clear()
                next_at = await self.step()
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if next_at is None else max(0.0, next_at - self._now())):
                        await self._woken.wait()
        finally:
            clock.cancel()

    async def look_at_all(self) -> None:
        """Look at each that is enabled: one may have waited for a run that has ended meanwhile."""
        async for recurring in self._store.enabled_recurring_runs():
            self._asked.add(recurring.id)

    async def step(self) -> float | None:
        """Make what is due; return when something is due next, None for not before `look_at`."""
        asked, self._asked = self._asked, set()
        for recurring_run_id in asked:
            recurring = await self._store.find_recurring_run(recurring_run_id)
            if recurring is None:
                self._failures.pop(recurring_run_id, None)
            else:
                await self._look(recurring)
        for recurring in await self._store.due_recurring_runs(self._now(), AT_ONCE):
            if recurring.id not in asked:
                await self._look(recurring)
        return self._now() if self._asked else await self._store.next_due_at()

    async def _look(self, recurring: RecurringRun) -> None:
        try:
            after = await self._carry_out(recurring)
            self._failures.pop(recurring.id, None)
        except ApiError as error:
            after = self._put_off(recurring, error.message)
        except Exception as error:
            logger.exception("recurring run %s (%s)", recurring.id, recurring.display_name)
            after = self._put_off(recurring, f"{type(error).__name__}: {error}")
        if after != recurring:
            await self._store.note_recurring_run(after)

    async def _carry_out(self, recurring: RecurringRun) -> RecurringRun:
        """Make the run that is due, if any; return the recurring run as it is then."""
        active = await self._store.count_active_runs(recurring.id)
        decided = plan(recurring, active, self._now(), self._zone)
        if decided.make is None:
            return replace(recurring, due_at=decided.due_at)
        run = await self._create_run(recurring, decided.make)
        made = with_made(recurring, decided.make.index, run.scheduled_at or decided.make.scheduled_at)
        return replace(made, due_at=next_time(made, self._now(), self._zone))

    def _put_off(self, recurring: RecurringRun, why: str) -> RecurringRun:
        failures = self._failures.get(recurring.id, 0)
        self._failures[recurring.id] = failures + 1
        seconds = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 10), LAST_BACKOFF_SECONDS)
        return replace(recurring, error=why, due_at=self._now() + seconds)
