"""The moments that schedules name are robfig/cron's, when clocks jump too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.objects.cron import parse_schedule, parse_schedule_with_seconds
from proa.objects.cron_times import last_moment, next_moment
from proa.objects.meta import parse_time
from proa.objects.time_zones import UTC_ZONE, UnknownTimeZone, find_time_zone

NEW_YORK, SAO_PAULO = "America/New_York", "America/Sao_Paulo"


def after(moment: str, schedule: str, zone: str = "UTC") -> str:
    found = next_moment(parse_schedule(schedule), int(parse_time(moment)), find_time_zone(zone))
    return find_time_zone(zone).format(found) if found is not None else "never"


@pytest.mark.parametrize(
    ("moment", "schedule", "expected"),
    [
        ("2012-07-09T14:45:00Z", "0/15 * * * *", "2012-07-09T15:00:00Z"),
        ("2012-07-09T14:59:59Z", "0/15 * * * *", "2012-07-09T15:00:00Z"),
        ("2012-07-09T15:45:00Z", "20-35/15 * * * *", "2012-07-09T16:20:00Z"),
        ("2012-07-09T23:46:00Z", "*/15 * * * *", "2012-07-10T00:00:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 9 Apr-Oct ?", "2012-08-09T00:00:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 */5 Apr,Aug,Oct Mon", "2012-08-01T00:00:00Z"),
        ("2012-12-31T23:59:45Z", "* * * * *", "2013-01-01T00:00:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 29 Feb ?", "2016-02-29T00:00:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 30 Feb ?", "never"),
        ("2012-07-09T23:35:00Z", "0 0 31 Apr ?", "never"),
        ("2012-07-09T23:35:00Z", "@hourly", "2012-07-10T00:00:00Z"),
        ("2012-07-09T23:35:10Z", "@every 90s", "2012-07-09T23:36:40Z"),
        ("2012-07-09T23:35:00Z", "0 12 13 * 5", "2012-07-13T12:00:00Z"),
        ("2012-07-14T00:00:00Z", "0 12 13 * 5", "2012-07-20T12:00:00Z"),  # the 13th or a Friday
        ("2012-07-09T23:35:00Z", "0 12 */2 * 5", "2012-07-11T12:00:00Z"),
        ("2012-07-09T23:35:00Z", "0 12 * * 5", "2012-07-13T12:00:00Z"),  # every day that is a Friday
    ],
)
def test_the_next_moment_is_the_first_that_fits_every_field(
    moment: str, schedule: str, expected: str
) -> None:
    assert after(moment, schedule) == expected


@pytest.mark.parametrize(
    ("moment", "schedule", "zone", "expected"),
    [
        # clocks go from 2 to 3 on 2012-03-11
        ("2012-03-11T00:00:00-05:00", "30 2 11 Mar ?", NEW_YORK, "2013-03-11T02:30:00-04:00"),
        ("2012-03-11T00:00:00-05:00", "0 * * * ?", NEW_YORK, "2012-03-11T01:00:00-05:00"),
        ("2012-03-11T01:00:00-05:00", "0 * * * ?", NEW_YORK, "2012-03-11T03:00:00-04:00"),
        ("2012-03-11T03:00:00-04:00", "0 * * * ?", NEW_YORK, "2012-03-11T04:00:00-04:00"),
        ("2012-03-11T00:00:00-05:00", "0 1 * * ?", NEW_YORK, "2012-03-11T01:00:00-05:00"),
        ("2012-03-11T01:00:00-05:00", "0 1 * * ?", NEW_YORK, "2012-03-12T01:00:00-04:00"),
        ("2012-03-11T00:00:00-05:00", "0 2 * * ?", NEW_YORK, "2012-03-12T02:00:00-04:00"),
        # and from 2 to 1 on 2012-11-04
        ("2012-11-04T00:00:00-04:00", "30 2 04 Nov ?", NEW_YORK, "2012-11-04T02:30:00-05:00"),
        ("2012-11-04T01:45:00-04:00", "30 1 04 Nov ?", NEW_YORK, "2012-11-04T01:30:00-05:00"),
        ("2012-11-04T00:00:00-04:00", "0 * * * ?", NEW_YORK, "2012-11-04T01:00:00-04:00"),
        ("2012-11-04T01:00:00-04:00", "0 * * * ?", NEW_YORK, "2012-11-04T01:00:00-05:00"),
        ("2012-11-04T01:00:00-05:00", "0 * * * ?", NEW_YORK, "2012-11-04T02:00:00-05:00"),
        ("2012-11-04T00:00:00-04:00", "0 1 * * ?", NEW_YORK, "2012-11-04T01:00:00-04:00"),
        ("2012-11-04T01:00:00-04:00", "0 1 * * ?", NEW_YORK, "2012-11-04T01:00:00-05:00"),
        ("2012-11-04T01:00:00-05:00", "0 1 * * ?", NEW_YORK, "2012-11-05T01:00:00-05:00"),
        ("2012-11-04T00:00:00-04:00", "0 2 * * ?", NEW_YORK, "2012-11-04T02:00:00-05:00"),
        ("2012-11-04T02:00:00-05:00", "0 2 * * ?", NEW_YORK, "2012-11-05T02:00:00-05:00"),
        ("2012-11-04T00:00:00-04:00", "0 3 3 * ?", NEW_YORK, "2012-12-03T03:00:00-05:00"),
        # there is no midnight on 2018-11-04
        ("2018-10-17T05:00:00-04:00", "0 9 10 * ?", SAO_PAULO, "2018-11-10T09:00:00-02:00"),
        ("2018-02-14T05:00:00-05:00", "0 9 22 * ?", SAO_PAULO, "2018-02-22T09:00:00-03:00"),
        # half an hour, from 2:00 to 2:30
        ("2024-10-06T01:30:00+10:30", "0 * * * *", "Australia/Lord_Howe", "2024-10-06T03:00:00+11:00"),
    ],
)
def test_clocks_that_jump_leave_a_time_out_or_show_it_twice(
    moment: str, schedule: str, zone: str, expected: str
) -> None:
    assert after(moment, schedule, zone) == expected
    assert after(moment, f"TZ={zone} {schedule}", "UTC") == UTC_ZONE.format(parse_time(expected))


def test_the_last_moment_is_the_latest_that_is_not_too_late() -> None:
    def last(schedule: str, since: str, until: str) -> str:
        found = last_moment(
            parse_schedule(schedule), int(parse_time(since)), int(parse_time(until)), UTC_ZONE
        )
        return UTC_ZONE.format(found) if found is not None else "none"

    assert last("30 6-16/4 * * 1-5", "2024-01-01T00:00:00Z", "2024-01-08T06:00:00Z") == "2024-01-05T14:30:00Z"
    assert last("0 0 * * *", "2024-01-01T00:00:00Z", "2024-01-01T23:00:00Z") == "none"
    assert last("0 0 * * *", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z") == "2024-01-02T00:00:00Z"
    assert last("@every 7m", "2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z") == "2024-01-01T00:56:00Z"


FIELDS = st.tuples(
    st.sampled_from(["*", "*/7", "0", "5,50", "10-20/3"]),
    st.sampled_from(["*", "*/5", "0", "1,13", "22-23"]),
    st.sampled_from(["*", "1", "*/10", "15,31"]),
    st.sampled_from(["*", "2", "*/3"]),
    st.sampled_from(["*", "0", "1-5"]),
)


@given(FIELDS, st.integers(1_600_000_000, 1_700_000_000))
def test_the_next_moment_is_what_a_search_minute_by_minute_finds(fields: tuple[str, ...], start: int) -> None:
    schedule = parse_schedule(" ".join(fields))
    found = next_moment(schedule, start, UTC_ZONE)
    moment = datetime.fromtimestamp(start - start % 60, UTC)
    for _ in range(3000):
        moment += timedelta(minutes=1)
        day, weekday = moment.day in schedule.days, moment.isoweekday() % 7 in schedule.weekdays
        fits = (day and weekday) if schedule.has_star_day else (day or weekday)
        if (
            fits
            and moment.month in schedule.months
            and moment.hour in schedule.hours
            and moment.minute in schedule.minutes
        ):
            assert found == moment.timestamp()
            return
    assert found is None or found > moment.timestamp()


def test_a_zone_that_nobody_knows_is_unknown() -> None:
    with pytest.raises(UnknownTimeZone, match=r"^unknown time zone Moon/Base$"):
        find_time_zone("Moon/Base")
    assert find_time_zone("").format(0) == "1970-01-01T00:00:00Z"
    assert find_time_zone("Asia/Kolkata").format(0) == "1970-01-01T05:30:00+05:30"


@pytest.mark.parametrize(
    ("moment", "schedule", "expected"),
    [
        ("2012-07-09T14:59:59Z", "*/15 * * * * *", "2012-07-09T15:00:00Z"),
        ("2012-07-09T14:59:00Z", "*/15 * * * * *", "2012-07-09T14:59:15Z"),
        ("2012-07-09T14:59:50Z", "5,30 * * * * *", "2012-07-09T15:00:05Z"),
        ("2012-07-09T14:59:50Z", "30 10 4 * * *", "2012-07-10T04:10:30Z"),
        ("2012-12-31T23:59:59Z", "59 59 23 31 dec *", "2013-12-31T23:59:59Z"),
    ],
)
def test_seconds_are_fields_too(moment: str, schedule: str, expected: str) -> None:
    found = next_moment(parse_schedule_with_seconds(schedule), int(parse_time(moment)), UTC_ZONE)
    assert found is not None
    assert UTC_ZONE.format(found) == expected
