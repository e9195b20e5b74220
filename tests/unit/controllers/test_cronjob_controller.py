"""A CronJob run against a fake API with the real manager; its jobs end as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proa.controllers.cronjob.controller import CronJobController
from proa.controllers.cronjob.missed import ImpossibleSchedule, find_due, schedule_of, seconds_until_next
from proa.controllers.cronjob.plan import Plan, plan
from proa.objects import meta
from proa.objects.errors import ServiceUnavailable
from proa.objects.meta import parse_time
from proa.objects.resource import CRON_JOBS, JOBS

CREATED = "2025-06-15T15:00:10Z"
NOON = parse_time("2025-06-15T15:06:40Z")
"""What the world's clock shows at first."""


def make_cron_job(schedule: str = "*/10 * * * *", status: Any = None, **spec: Any) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": "tick"}, "annotations": {"note": "x"}},
        "spec": {"parallelism": 1},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "tick", "namespace": "default", "uid": "u", "creationTimestamp": CREATED},
        "spec": {
            "schedule": schedule,
            "concurrencyPolicy": "Allow",
            "suspend": False,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": template,
            **spec,
        },
        "status": status or {},
    }


def make_job(name: str, ends: str = "", start: str = CREATED, **status: Any) -> dict[str, Any]:
    conditions = [{"type": ends, "status": "True"}] if ends else []
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "uid": "u", "controller": True}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "ownerReferences": [owner]},
        "status": {"startTime": start, "conditions": conditions, **status},
    }


def active(*names: str) -> dict[str, Any]:
    return {"active": [{"kind": "Job", "name": name, "namespace": "default", "uid": name} for name in names]}


def decide(cron_job: Any, at: str, jobs: Any = (), gone: Any = ()) -> Plan:
    return plan(cron_job, jobs, gone, parse_time(at))


def reasons(decided: Plan) -> list[str]:
    return [reason for _, reason, _ in decided.events]


@pytest.mark.parametrize(
    ("schedule", "spec", "at", "due", "missed"),
    [
        ("*/10 * * * *", {}, "2025-06-15T15:09:59Z", None, 0),
        ("*/10 * * * *", {}, "2025-06-15T15:10:00Z", "2025-06-15T15:10:00Z", 0),
        ("*/10 * * * *", {}, "2025-06-15T15:25:00Z", "2025-06-15T15:20:00Z", 2),
        ("*/10 * * * *", {}, "2025-06-16T15:25:00Z", "2025-06-16T15:20:00Z", 146),
        ("*/10 * * * *", {"startingDeadlineSeconds": 60}, "2025-06-16T15:20:30Z", "2025-06-16T15:20:00Z", 0),
        ("*/10 * * * *", {"startingDeadlineSeconds": 60}, "2025-06-16T15:25:00Z", None, 0),
        ("@every 7m", {}, "2025-06-15T15:22:00Z", "2025-06-15T15:21:10Z", 3),
        # Friday's last run is too far back for an estimate by the distance of the first two
        ("30 6-16/4 * * 1-5", {}, "2025-06-23T06:00:00Z", None, 42),
        ("30 6-16/4 * * 1-5", {}, "2025-06-20T16:00:00Z", "2025-06-20T14:30:00Z", 27),
    ],
)
def test_the_last_missed_moment_is_due(
    schedule: str, spec: Any, at: str, due: str | None, missed: int
) -> None:
    cron_job = make_cron_job(schedule, **spec)
    found = find_due(cron_job, schedule_of(cron_job), parse_time(at))
    assert found[1:] == (int(parse_time(due)) if due else None, missed)


@pytest.mark.parametrize(
    ("schedule", "last", "at", "seconds"),
    [
        ("*/10 * * * *", None, "2025-06-15T15:09:00Z", 60.1),
        ("*/10 * * * *", "2025-06-15T15:10:00Z", "2025-06-15T15:10:00Z", 600.1),
        ("*/10 * * * *", None, "2025-06-18T15:09:00Z", 60.1),
        ("30 6-16/4 * * 1-5", None, "2025-06-23T06:00:00Z", 1800.1),
        ("0 0 31 2 *", None, "2025-06-18T15:09:00Z", 0.0),
    ],
)
def test_it_is_looked_at_again_when_the_next_moment_has_come(
    schedule: str, last: str | None, at: str, seconds: float
) -> None:
    cron_job = make_cron_job(schedule, {"lastScheduleTime": last} if last else None)
    assert seconds_until_next(cron_job, schedule_of(cron_job), parse_time(at)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("spec", "status", "at", "starts", "said"),
    [
        ({}, {}, "2025-06-15T15:10:00Z", True, []),
        ({}, {}, "2025-06-15T15:09:00Z", False, []),
        ({"suspend": True}, {}, "2025-06-15T15:10:00Z", False, []),
        ({}, {"lastScheduleTime": "2025-06-15T15:10:00Z"}, "2025-06-15T15:10:00Z", False, []),
        ({}, active("tick-29166670"), "2025-06-15T15:10:00Z", False, []),
        ({"startingDeadlineSeconds": 0}, {}, "2025-06-15T15:10:01Z", False, []),
        ({}, {}, "2025-06-16T15:10:00Z", True, ["TooManyMissedTimes"]),
        ({"schedule": "0 0 31 2 *"}, {}, "2025-06-15T15:10:00Z", False, ["InvalidSchedule"]),
        ({"schedule": "whenever"}, {}, "2025-06-15T15:10:00Z", False, ["UnparseableSchedule"]),
        ({"schedule": "TZ=UTC */10 * * * *"}, {}, "2025-06-15T15:10:00Z", True, ["UnsupportedSchedule"]),
        ({"timeZone": "Moon/Base"}, {}, "2025-06-15T15:10:00Z", False, ["UnknownTimeZone"]),
        ({"timeZone": "Moon/Base", "suspend": True}, {}, "2025-06-15T15:10:00Z", False, ["UnknownTimeZone"]),
    ],
)
def test_a_job_is_started_when_it_is_due(spec: Any, status: Any, at: str, starts: bool, said: Any) -> None:
    decided = decide(make_cron_job(status=status, **spec), at)
    assert (decided.start == int(parse_time(at)), reasons(decided)) == (starts, said)


def test_what_cannot_be_scheduled_is_told_in_upstreams_words() -> None:
    found = decide(make_cron_job(timeZone="Moon/Base"), "2025-06-15T15:10:00Z").events
    assert found == (
        ("Warning", "UnknownTimeZone", 'invalid timeZone: "Moon/Base": unknown time zone Moon/Base'),
    )
    found = decide(make_cron_job("0 0 31 2 *"), "2025-06-15T15:10:00Z").events
    why = "time difference between two schedules is less than 1 second"
    assert found == (("Warning", "InvalidSchedule", f"invalid schedule: 0 0 31 2 * : {why}"),)


@pytest.mark.parametrize(
    ("policy", "starts", "replaced", "said"),
    [
        ("Allow", True, [], []),
        ("Forbid", False, [], ["JobAlreadyActive"]),
        ("Replace", True, ["tick-1"], []),
    ],
)
def test_the_concurrency_policy_says_what_a_running_job_means(
    policy: str, starts: bool, replaced: Any, said: Any
) -> None:
    cron_job = make_cron_job(concurrencyPolicy=policy, status=active("tick-1"))
    decided = decide(cron_job, "2025-06-15T15:10:00Z", [make_job("tick-1")])
    assert decided.start is not None if starts else decided.start is None
    assert ([r["name"] for r in decided.replace], reasons(decided)) == (replaced, said)


def test_jobs_that_have_ended_leave_the_status() -> None:
    jobs = [
        make_job("ok", "Complete", completionTime="2025-06-15T15:05:00Z"),
        make_job("bad", "Failed"),
        make_job("stranger"),
        make_job("running"),
    ]
    cron_job = make_cron_job(status=active("ok", "bad", "running", "lost"), suspend=True)
    decided = decide(cron_job, "2025-06-15T15:06:00Z", jobs, {"lost"})
    assert decided.status == {**active("running"), "lastSuccessfulTime": "2025-06-15T15:05:00Z"}
    assert [message for _, _, message in decided.events] == [
        "Saw completed job: ok, condition: Complete",
        "Saw completed job: bad, condition: Failed",
        "Saw a job that the controller did not create or forgot: stranger",
        "Active job went missing: lost",
    ]


def test_a_schedule_without_moments_is_impossible() -> None:
    cron_job = make_cron_job("0 0 30 2 *")
    with pytest.raises(ImpossibleSchedule):
        find_due(cron_job, schedule_of(cron_job), NOON)


def run(world: Any, scenario: Callable[[Any], Any]) -> None:
    async def all_of_it() -> None:
        async with world([CronJobController()]) as w:
            await scenario(w)

    asyncio.run(all_of_it())


async def tick(w: Any, seconds: float = 600) -> None:
    w.advance(seconds)
    await w.reconcile_all()


def jobs_of(w: Any) -> list[str]:
    return sorted(meta.name(job) for job in w.client.all(JOBS))


def stored(w: Any) -> Any:
    return w.client.peek(CRON_JOBS, "tick", "default")


def end(w: Any, name: str, how: str = "Complete") -> None:
    moment = meta.format_time(w.time)
    status = {"conditions": [{"type": how, "status": "True"}], "startTime": moment}
    if how == "Complete":
        status["completionTime"] = moment
    w.client.add(JOBS, {**w.client.peek(JOBS, name, "default"), "status": status})


def test_a_job_is_named_after_its_minute_and_noted_in_the_status(world: Any) -> None:
    async def scenario(w: Any) -> None:
        await w.client.create(CRON_JOBS, make_cron_job(timeZone="Asia/Kolkata"), "default")
        await w.settle()
        assert jobs_of(w) == []
        await tick(w)
        (job,) = w.client.all(JOBS)
        minute = int(parse_time("2025-06-15T15:10:00Z")) // 60
        assert meta.name(job) == f"tick-{minute}"
        assert meta.labels(job) == {"app": "tick"}
        assert meta.annotations(job) == {
            "note": "x",
            "batch.kubernetes.io/cronjob-scheduled-timestamp": "2025-06-15T20:40:00+05:30",
        }
        assert meta.is_controlled_by(job, stored(w))
        status = stored(w)["status"]
        assert status["lastScheduleTime"] == "2025-06-15T15:10:00Z"
        assert [r["uid"] for r in status["active"]] == [meta.uid(job)]
        assert ("Normal", "SuccessfulCreate", f"Created job tick-{minute}") in w.events
        calls = len(w.client.calls)
        await w.reconcile_all()
        assert w.client.calls[calls:] == []

    run(world, scenario)


def test_a_job_that_was_created_before_a_crash_is_taken_up(world: Any) -> None:
    async def scenario(w: Any) -> None:
        await w.client.create(CRON_JOBS, make_cron_job(), "default")
        await w.settle()
        w.client.fail_next(ServiceUnavailable("down"), "update", CRON_JOBS)
        await tick(w)
        await w.reconcile_all()
        assert len(jobs_of(w)) == 1 == len(stored(w)["status"]["active"])

    run(world, scenario)


def test_history_keeps_the_newest(world: Any) -> None:
    async def scenario(w: Any) -> None:
        await w.client.create(CRON_JOBS, make_cron_job(), "default")
        await w.settle()
        made = []
        for how in ("Complete", "Failed", "Complete", "Complete", "Failed", "Complete"):
            await tick(w)
            (name,) = set(jobs_of(w)) - set(made)
            made.append(name)
            end(w, name, how)
            await w.settle()
        assert jobs_of(w) == sorted(made[2:])
        assert "active" not in stored(w)["status"]
        assert ("Normal", "SuccessfulDelete", f"Deleted job {made[0]}") in w.events

    run(world, scenario)


def test_a_replaced_job_is_deleted_before_the_next_begins(world: Any) -> None:
    async def scenario(w: Any) -> None:
        await w.client.create(CRON_JOBS, make_cron_job(concurrencyPolicy="Replace"), "default")
        await w.settle()
        await tick(w)
        first = jobs_of(w)
        await tick(w)
        assert len(jobs_of(w)) == 1
        assert jobs_of(w) != first
        assert [r["name"] for r in stored(w)["status"]["active"]] == jobs_of(w)

    run(world, scenario)


def test_a_new_schedule_begins_with_its_next_moment(world: Any) -> None:
    async def scenario(w: Any) -> None:
        await w.client.create(CRON_JOBS, make_cron_job("0 0 1 1 *"), "default")
        await w.settle()
        w.advance(3600)
        await w.client.patch(CRON_JOBS, "tick", {"spec": {"schedule": "*/10 * * * *"}}, "default")
        await w.settle()
        assert jobs_of(w) == []
        await tick(w)
        assert len(jobs_of(w)) == 1

    run(world, scenario)


def test_one_that_is_resumed_makes_up_for_the_last_moment_alone(world: Any) -> None:
    async def scenario(w: Any) -> None:
        await w.client.create(CRON_JOBS, make_cron_job(suspend=True), "default")
        await tick(w, 86400 * 2)
        assert jobs_of(w) == []
        await w.client.patch(CRON_JOBS, "tick", {"spec": {"suspend": False}}, "default")
        await w.settle()
        assert len(jobs_of(w)) == 1
        assert [r for _, r, _ in w.events] == ["TooManyMissedTimes", "SuccessfulCreate"]

    run(world, scenario)
