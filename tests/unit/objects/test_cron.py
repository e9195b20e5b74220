"""Schedules of CronJobs are read as robfig/cron reads them."""

from __future__ import annotations

import pytest

from proa.objects.cron import CronError, parse_schedule, parse_schedule_with_seconds


def test_fields_are_lists_ranges_steps_and_names() -> None:
    schedule = parse_schedule("*/20 1-3,5 1 jan-MAR/2 mon,fri")
    assert (schedule.minutes, schedule.hours) == ({0, 20, 40}, {1, 2, 3, 5})
    assert (schedule.days, schedule.months, schedule.weekdays) == ({1}, {1, 3}, {1, 5})
    assert not schedule.has_star_day


def test_a_number_with_a_step_goes_on_to_the_end() -> None:
    assert parse_schedule("50/5 * * * *").minutes == {50, 55}


@pytest.mark.parametrize("text", ["0 0 * * 1", "0 0 1 * ?", "@daily"])
def test_a_star_for_the_day_is_remembered(text: str) -> None:
    assert parse_schedule(text).has_star_day


@pytest.mark.parametrize(
    ("text", "seconds"), [("@every 1h30m", 5400), ("@every 1500ms", 1), ("@every 10ms", 1), ("@every 0", 1)]
)
def test_every_says_how_many_seconds(text: str, seconds: float) -> None:
    assert parse_schedule(text).every_seconds == seconds


def test_a_time_zone_may_come_first() -> None:
    schedule = parse_schedule("CRON_TZ=Europe/Paris  0 6 * * *")
    assert (schedule.zone, schedule.hours) == ("Europe/Paris", {6})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty spec string"),
        ("whenever", "expected exactly 5 fields, found 1: [whenever]"),
        ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("*/1/2 * * * *", "too many slashes: */1/2"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@often", "unrecognized descriptor: @often"),
        ("@every x", 'failed to parse duration @every x: time: invalid duration "x"'),
        ("@every 5", 'failed to parse duration @every 5: time: missing unit in duration "5"'),
        ("@every 5d", 'failed to parse duration @every 5d: time: unknown unit "d" in duration "5d"'),
    ],
)
def test_what_cannot_be_read_is_refused_in_the_librarys_words(text: str, message: str) -> None:
    with pytest.raises(CronError) as caught:
        parse_schedule(text)
    assert str(caught.value) == message


def test_seconds_come_first_where_there_are_six_fields() -> None:
    schedule = parse_schedule_with_seconds("*/20 5 1 * * mon-wed")
    assert (schedule.seconds, schedule.minutes, schedule.hours) == ({0, 20, 40}, {5}, {1})
    assert schedule.weekdays == {1, 2, 3}


def test_with_seconds_the_weekday_may_be_left_out() -> None:
    schedule = parse_schedule_with_seconds("0 0 * * *")
    assert (schedule.seconds, schedule.minutes, len(schedule.hours), len(schedule.weekdays)) == (
        {0},
        {0},
        24,
        7,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Empty spec string"),
        ("1 * * ", "Expected 5 to 6 fields, found 3: 1 * * "),
        ("60 * * * * *", "End of range (60) above maximum (59): 60"),
        ("@often", "Unrecognized descriptor: @often"),
    ],
)
def test_what_is_no_schedule_with_seconds_is_refused_in_the_older_librarys_words(
    text: str, message: str
) -> None:
    with pytest.raises(CronError) as caught:
        parse_schedule_with_seconds(text)
    assert str(caught.value) == message
