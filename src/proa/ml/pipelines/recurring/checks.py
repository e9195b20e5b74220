"""Refuse a recurring run that could never be carried out, in upstream's words (apiserver/server/api_converter.go)."""

from __future__ import annotations

from proa.ml.pipelines.records import RecurringRun
from proa.objects.cron import CronError, parse_schedule_with_seconds
from proa.objects.errors import BadRequest
from proa.objects.time_zones import UnknownTimeZone, find_time_zone

MOST_AT_ONCE = 10


def check_recurring_run(recurring: RecurringRun) -> None:
    """Raise BadRequest for a schedule that cannot be read, or limits that are none."""
    if not recurring.display_name:
        raise BadRequest("Recurring run's name cannot be empty")
    if not 1 <= recurring.max_concurrency <= MOST_AT_ONCE:
        raise BadRequest(
            f"Max concurrency of a recurring run must be at least 1 and at most {MOST_AT_ONCE}."
            f" Received {recurring.max_concurrency}"
        )
    if recurring.interval_seconds < 0:
        raise BadRequest(
            f"Found invalid period schedule interval {recurring.interval_seconds}."
            " Set at interval to least 1 second"
        )
    if recurring.cron:
        try:
            find_time_zone(parse_schedule_with_seconds(recurring.cron).zone)
        except (CronError, UnknownTimeZone) as error:
            raise BadRequest(
                "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron)."
                f" Error: {error}"
            ) from None
    if recurring.start_time and recurring.end_time and recurring.end_time < recurring.start_time:
        raise BadRequest("trigger.end_time: is before trigger.start_time: there would never be a run")
