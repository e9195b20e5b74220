"""When recurring runs are due, and what is made then, is upstream's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.ml.pipelines.records import RecurringRun
from proa.ml.pipelines.recurring.checks import check_recurring_run
from proa.ml.pipelines.recurring.plan import plan, run_id, with_made
from proa.ml.pipelines.recurring.schedule import next_time
from proa.objects.errors import BadRequest
from proa.objects.meta import parse_time
from proa.objects.time_zones import UTC_ZONE, find_time_zone

ID = "5b0d3b9e-5f8a-4b7e-9d6c-0a1b2c3d4e5f"
HOURLY = "0 0 * * * *"
BERLIN = find_time_zone("Europe/Berlin")


def at(text: str) -> float:
    return parse_time(text if "T" in text else f"2026-05-01T{text}Z")


def make_recurring(created: str = "09:30:00", **fields: Any) -> RecurringRun:
    return RecurringRun(ID, "My nightly Run!", "kubeflow", at(created), **fields)


def times(recurring: RecurringRun, now: str, most: int = 5) -> list[str]:
    """Return for which times runs are made at a moment, one after the other."""
    found: list[str] = []
    while len(found) < most:
        made = plan(recurring, 0, at(now)).make
        if made is None:
            break
        found.append(UTC_ZONE.format(made.scheduled_at)[11:19])
        recurring = with_made(recurring, made.index, made.scheduled_at)
    return found


@pytest.mark.parametrize(
    ("fields", "now", "expected"),
    [
        pytest.param({"cron": HOURLY}, "09:59:59", [], id="not yet"),
        pytest.param({"cron": HOURLY}, "10:00:00", ["10:00:00"], id="at its time"),
        pytest.param({"cron": HOURLY}, "12:10:00", ["10:00:00", "11:00:00", "12:00:00"], id="caught up"),
        pytest.param({"cron": HOURLY, "no_catchup": True}, "12:10:00", ["12:00:00"], id="only the latest"),
        pytest.param({"cron": HOURLY, "start_time": at("11:00:00")}, "12:10:00", ["12:00:00"], id="start"),
        pytest.param({"cron": HOURLY, "end_time": at("10:59:59")}, "12:10:00", ["10:00:00"], id="end"),
        pytest.param(
            {"cron": HOURLY, "end_time": at("11:30:00"), "no_catchup": True},
            "14:00:00",
            ["11:00:00"],
            id="the latest before its end",
        ),
        pytest.param({"cron": "@every 1h"}, "11:30:00", ["10:30:00", "11:30:00"], id="every"),
        pytest.param(
            {"interval_seconds": 1800}, "10:59:59", ["10:00:00", "10:30:00"], id="from its creation"
        ),
        pytest.param(
            {"interval_seconds": 1800, "start_time": at("10:00:00")},
            "10:31:00",
            ["10:30:00"],
            id="from start",
        ),
        pytest.param({"interval_seconds": 1800, "no_catchup": True}, "10:10:00", ["10:00:00"], id="late"),
        pytest.param({"interval_seconds": 1800, "no_catchup": True}, "12:10:00", ["12:10:00"], id="too late"),
        pytest.param(
            {"interval_seconds": 1800, "no_catchup": True, "end_time": at("11:00:00")},
            "12:10:00",
            ["11:00:00"],
            id="too late and over",
        ),
        pytest.param({"interval_seconds": 3600, "end_time": at("10:00:00")}, "12:10:00", [], id="over"),
        pytest.param({}, "09:30:00", ["09:30:00"], id="once"),
        pytest.param({"cron": HOURLY, "is_enabled": False}, "12:00:00", [], id="disabled"),
        pytest.param({"cron": "0 0 0 31 2 *"}, "12:00:00", [], id="never"),
    ],
)
def test_runs_are_made_for(fields: dict[str, Any], now: str, expected: list[str]) -> None:
    assert times(make_recurring(**fields), now) == expected


def test_it_is_looked_at_again_when_it_is_due_next() -> None:
    recurring = make_recurring(cron=HOURLY)
    assert plan(recurring, 0, at("09:40:00")).due_at == at("10:00:00")
    assert plan(with_made(recurring, 1, at("10:00:00")), 0, at("10:00:01")).due_at == at("11:00:00")


def test_at_its_limit_it_waits_for_one_of_its_runs_to_end() -> None:
    recurring = make_recurring(cron=HOURLY, max_concurrency=2)
    blocked = plan(recurring, 2, at("10:00:00"))
    assert (blocked.make, blocked.due_at) == (None, None)
    assert plan(recurring, 1, at("10:00:00")).make is not None


def test_a_runs_id_and_name_are_the_same_however_often_it_is_planned() -> None:
    recurring = make_recurring(interval_seconds=60, no_catchup=True)
    first, later = plan(recurring, 0, at("12:00:00")).make, plan(recurring, 0, at("13:00:00")).make
    assert first is not None
    assert later is not None
    assert first.id == later.id == run_id(ID, 1)
    assert first.name == later.name == "mynightlyrun5b0d3-1-2091321981"


def test_a_schedule_is_read_in_its_own_zone_else_in_the_given_one() -> None:
    noon = "0 0 12 * * *"
    assert next_time(make_recurring(cron=noon), at("09:40:00"), BERLIN) == at("10:00:00")
    own = make_recurring(cron=f"CRON_TZ=America/New_York {noon}")
    assert next_time(own, at("09:40:00"), BERLIN) == at("16:00:00")


def test_clocks_that_jump_leave_out_no_day_and_do_none_twice() -> None:
    recurring = make_recurring(cron="0 30 2 * * *", created="2026-03-27T12:00:00Z")
    found = []
    while len(found) < 3:
        made = plan(recurring, 0, at("2026-04-02T00:00:00Z"), BERLIN).make
        assert made is not None
        found.append(BERLIN.format(made.scheduled_at))
        recurring = with_made(recurring, made.index, made.scheduled_at)
    # 02:30 does not exist on the 29th, as robfig/cron has it
    assert found == ["2026-03-28T02:30:00+01:00", "2026-03-30T02:30:00+02:00", "2026-03-31T02:30:00+02:00"]


def test_a_clock_that_is_set_back_makes_no_run_again() -> None:
    recurring = with_made(make_recurring(cron=HOURLY), 1, at("10:00:00"))
    planned = plan(recurring, 0, at("09:45:00"))
    assert (planned.make, planned.due_at) == (None, at("11:00:00"))


SCHEDULES = st.one_of(
    st.sampled_from([HOURLY, "*/7 * * * * *", "0 */5 8-17 * * mon-fri", "@every 90s"]).map(
        lambda c: {"cron": c}
    ),
    st.integers(1, 5000).map(lambda seconds: {"interval_seconds": seconds}),
)


@given(SCHEDULES, st.booleans(), st.lists(st.integers(-4000, 9000), max_size=30))
def test_no_time_gets_two_runs_whatever_the_clock_does(
    schedule: dict[str, Any], no_catchup: bool, jumps: list[int]
) -> None:
    recurring = make_recurring(no_catchup=no_catchup, **schedule)
    now, seen = recurring.created_at, [0.0]
    for jump in jumps:
        now += jump
        planned = plan(recurring, 0, now)
        if planned.make is not None:
            assert planned.make.scheduled_at <= now
            assert planned.make.scheduled_at > seen[-1]
            seen.append(planned.make.scheduled_at)
            recurring = with_made(recurring, planned.make.index, planned.make.scheduled_at)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_concurrency": 11}, "at least 1 and at most 10. Received 11"),
        ({"max_concurrency": 0}, "at least 1 and at most 10. Received 0"),
        ({"cron": "1 * * "}, "Error: Expected 5 to 6 fields, found 3: 1 * * "),
        ({"cron": "TZ=Nowhere/Else 0 0 * * * *"}, "unknown time zone Nowhere/Else"),
        ({"interval_seconds": -1}, "Found invalid period schedule interval -1"),
        ({"start_time": 10.0, "end_time": 5.0}, "trigger.end_time: is before trigger.start_time"),
    ],
)
def test_what_could_never_be_carried_out_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_recurring_run(replace(make_recurring(), **fields))
    assert message in caught.value.message
