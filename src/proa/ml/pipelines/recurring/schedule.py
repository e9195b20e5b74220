"""Say which time a recurring run is to be run for next.

Follows upstream's backend/src/crd/controller/scheduledworkflow/util (cron_schedule.go, periodic_schedule.go,
scheduled_workflow.go): a cron schedule of six fields, an interval, or, with neither, once. Times are epoch seconds.
"""

from __future__ import annotations

from proa.ml.pipelines.records import RecurringRun
from proa.objects.cron import parse_schedule_with_seconds
from proa.objects.cron_times import last_moment, next_moment
from proa.objects.time_zones import UTC_ZONE, TimeZone


def next_time(recurring: RecurringRun, now: float, zone: TimeZone = UTC_ZONE) -> int | None:
    """Return the time of its next run, which may have passed; None where there is none any more.

    With `no_catchup` that is the latest of those that have passed. `zone` is that of a cron schedule which names none.
    Raises CronError and UnknownTimeZone for a schedule that was never checked.
    """
    if recurring.cron:
        return _next_by_cron(recurring, int(now), zone)
    if recurring.interval_seconds:
        return _next_by_interval(recurring, int(now))
    return None if recurring.last_scheduled_at else int(recurring.created_at)


def _since(recurring: RecurringRun) -> int:
    """Return the time after which to look: that of the last run, else of the start, else of the creation."""
    return int(recurring.last_scheduled_at or recurring.start_time or recurring.created_at)


def _next_by_cron(recurring: RecurringRun, now: int, zone: TimeZone) -> int | None:
    schedule = parse_schedule_with_seconds(recurring.cron)
    since = max(_since(recurring), int(recurring.start_time))
    found = next_moment(schedule, since, zone)
    if found is None or (recurring.end_time and found > recurring.end_time):
        return None
    if not recurring.no_catchup or found > now:
        return found
    until = min(now, int(recurring.end_time)) if recurring.end_time else now
    return last_moment(schedule, since, until, zone)


def _next_by_interval(recurring: RecurringRun, now: int) -> int | None:
    """A run that is late by an interval or more, and need not catch up, is for now: the beat starts anew."""
    since, interval = _since(recurring), recurring.interval_seconds
    if recurring.start_time > since:
        return int(recurring.start_time)
    found = since + interval
    if recurring.end_time and found > recurring.end_time:
        return None
    if recurring.no_catchup and now >= found + interval:
        return min(now, int(recurring.end_time)) if recurring.end_time else now
    return found
