"""Say which scheduled moment a CronJob is due for, and how long until the next one.

Follows upstream's pkg/controller/cronjob/utils.go (mostRecentScheduleTime, nextScheduleTimeDuration): how many
moments were missed is estimated from the distance of the first two. Moments are epoch seconds.
"""

from __future__ import annotations

from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.cron import CronError, Schedule, parse_schedule
from proa.objects.cron_times import last_moment, next_moment
from proa.objects.time_zones import TimeZone, UnknownTimeZone, find_time_zone

MANY = 100
"""So many missed moments are worth a warning."""
LATE_SECONDS = 0.1
"""A CronJob is looked at a moment after it is due, lest clocks differ."""


class Due(NamedTuple):
    """`moment` is the last one that is due, None where none is; `missed` is about how many were."""

    since: int
    moment: int | None
    missed: int


class ImpossibleSchedule(Exception):
    """The schedule names no moment, or none after the first."""


def zone_of(cron_job: Object) -> TimeZone | None:
    """Return spec.timeZone's zone, None where it names none; raise UnknownTimeZone."""
    name = cron_job["spec"].get("timeZone")
    return None if name is None else find_time_zone(name)


def schedule_of(cron_job: Object) -> Schedule:
    """Return the schedule; raise CronError where it, or the zone in its text, cannot be read."""
    schedule = parse_schedule(cron_job["spec"].get("schedule") or "")
    try:
        find_time_zone(schedule.zone)
    except UnknownTimeZone as error:
        raise CronError(f"provided bad location {schedule.zone}: {error}") from None
    return schedule


def find_due(cron_job: Object, schedule: Schedule, now: float, *, within_deadline: bool = True) -> Due:
    """Look for the last moment since the last start (else since the CronJob's creation).

    With `within_deadline` nothing older than startingDeadlineSeconds is looked at. Raises ImpossibleSchedule.
    """
    last = (cron_job.get("status") or {}).get("lastScheduleTime")
    since = int(meta.parse_time(last or cron_job["metadata"]["creationTimestamp"]))
    deadline = cron_job["spec"].get("startingDeadlineSeconds")
    if within_deadline and deadline is not None:
        since = max(since, int(now - deadline))
    zone = zone_of(cron_job)
    first = next_moment(schedule, since, zone)
    second = None if first is None else next_moment(schedule, first, zone)
    if first is not None and now < first:
        return Due(since, None, 0)
    if first is not None and second is not None and now < second:
        return Due(since, first, 0)
    if first is None or second is None:
        raise ImpossibleSchedule("time difference between two schedules is less than 1 second")
    between = second - first
    missed = (int(now) - first) // between + 1
    from_when = first + (missed - 2) * between
    return Due(since, last_moment(schedule, from_when, int(now), zone), missed)


def seconds_until_next(cron_job: Object, schedule: Schedule, now: float) -> float:
    """Return when to look again, 0 where there is no moment any more."""
    try:
        due = find_due(cron_job, schedule, now, within_deadline=False)
    except ImpossibleSchedule:
        start = int(now)
    else:
        start = due.moment or (int(now) if due.missed else due.since)
    found = next_moment(schedule, start, zone_of(cron_job))
    return 0.0 if found is None else max(found - now, 0.0) + LATE_SECONDS
