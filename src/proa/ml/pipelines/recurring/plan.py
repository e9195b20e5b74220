"""Decide what a recurring run needs now: a run for which time, and when to look again.

A run is known by its number (`index`, from 1), and its id is made of the recurring run's and that number. Whoever was
cut off after it had made the run, and before it had noted so, therefore makes the same again. Names are upstream's
(scheduled_workflow.go, NextResourceName).
"""

from __future__ import annotations

import re
import uuid
from dataclasses import replace

from proa.ml.pipelines.records import RecurringRun
from proa.ml.pipelines.recurring.schedule import next_time
from proa.objects.quick_dataclass import dataclass
from proa.objects.time_zones import UTC_ZONE, TimeZone

NAME_LENGTH = 25
"""So much of the recurring run's name is in the names of its runs."""


@dataclass(frozen=True, slots=True)
class RunToMake:
    """One run: its id and name are the same however often it is planned."""

    id: str
    name: str
    index: int
    scheduled_at: float


@dataclass(frozen=True, slots=True)
class Plan:
    """`make` is the run to make now, if any (plan again once it is made).

    `due_at` is when to look again, None for not before something changes.
    """

    make: RunToMake | None = None
    due_at: float | None = None


def plan(recurring: RecurringRun, active_runs: int, now: float, zone: TimeZone = UTC_ZONE) -> Plan:
    """Decide; `active_runs` is how many of its runs have not ended. At `max_concurrency` it waits for one of them."""
    if not recurring.is_enabled:
        return Plan()
    scheduled_at = next_time(recurring, now, zone)
    if scheduled_at is None or scheduled_at > now:
        return Plan(due_at=scheduled_at)
    if active_runs >= recurring.max_concurrency:
        return Plan()
    index = recurring.last_index + 1
    return Plan(
        RunToMake(run_id(recurring.id, index), run_name(recurring, index), index, float(scheduled_at))
    )


def with_made(recurring: RecurringRun, index: int, scheduled_at: float) -> RecurringRun:
    """Return the recurring run after its run of that number was made."""
    return replace(recurring, last_index=index, last_scheduled_at=float(scheduled_at), error="")


def run_id(recurring_id: str, index: int) -> str:
    """Return the id of a recurring run's run by its number."""
    return str(uuid.uuid5(uuid.UUID(recurring_id), str(index)))


def run_name(recurring: RecurringRun, index: int) -> str:
    """Return the display name of a run by its number."""
    words = re.sub("[^a-z0-9-]+", "", recurring.display_name.lower())[:NAME_LENGTH] or "job-"
    name = f"{words}{recurring.id[:5]}-{index}"
    return f"{name}-{_fnv32a(name.encode())}"


def _fnv32a(data: bytes) -> int:
    """Return the 32-bit FNV-1a hash."""
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value
