"""Decide what a CronJob needs: which of its jobs are history, and whether one is to be started now.

Follows upstream's pkg/controller/cronjob/cronjob_controllerv2.go (cleanupFinishedJobs, syncCronJob).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.controllers.cronjob.missed import (
    MANY,
    ImpossibleSchedule,
    find_due,
    schedule_of,
    seconds_until_next,
    zone_of,
)
from proa.objects import meta
from proa.objects.cron import CronError
from proa.objects.resource import CRON_JOBS
from proa.objects.time_zones import UTC_ZONE, UnknownTimeZone

SCHEDULED_ANNOTATION = "batch.kubernetes.io/cronjob-scheduled-timestamp"
DOCUMENTATION = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/"

Event = tuple[str, str, str]
"""Type, reason and message."""


class Plan(NamedTuple):
    """`start` is the scheduled moment of the job to create now, after those of `replace` are deleted.

    `status` is what the CronJob's shall be when nothing is started or deleted.
    """

    status: Object
    events: tuple[Event, ...] = ()
    start: int | None = None
    replace: tuple[Object, ...] = ()
    requeue_after: float = 0.0


def ended(job: Object) -> str:
    """Return "Complete" or "Failed", "" for a job that has not ended."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return str(condition["type"])
    return ""


def active_uids(cron_job: Object) -> set[str]:
    """Return the uids of the jobs in status.active."""
    return {reference.get("uid", "") for reference in _active(cron_job.get("status") or {})}


def _active(status: Object) -> list[Object]:
    return status.get("active") or []


def history(cron_job: Object, jobs: Sequence[Object]) -> list[Object]:
    """Return the jobs beyond the history limits, of each sort those that began first."""
    spec = cron_job["spec"]
    found: list[Object] = []
    for how, limit in (
        ("Complete", spec.get("successfulJobsHistoryLimit")),
        ("Failed", spec.get("failedJobsHistoryLimit")),
    ):
        alike = sorted((job for job in jobs if ended(job) == how), key=_by_start)
        if limit is not None:
            found += alike[: max(0, len(alike) - limit)]
    return found


def _by_start(job: Object) -> tuple[bool, float, str]:
    start = (job.get("status") or {}).get("startTime")
    return start is None, meta.parse_time(start) if start else 0.0, meta.name(job)


def plan(cron_job: Object, jobs: Sequence[Object], gone: Collection[str], now: float) -> Plan:
    """Decide; `jobs` are those that the CronJob controls, `gone` the uids of active ones that are no more."""
    status, events = _look_at_jobs(cron_job, jobs, gone)
    if meta.is_deleting(cron_job):
        return Plan(status, tuple(events))
    cron_job = {**cron_job, "status": status}
    decided = _schedule(cron_job, now, events)
    return decided._replace(events=tuple(events))


def _look_at_jobs(
    cron_job: Object, jobs: Sequence[Object], gone: Collection[str]
) -> tuple[Object, list[Event]]:
    """Return the status without the jobs that have ended or are gone, and what there is to tell."""
    status: dict[str, Any] = dict(cron_job.get("status") or {})
    active = {reference.get("uid", ""): reference for reference in _active(status)}
    events: list[Event] = []
    for job in jobs:
        how = ended(job)
        if not how and meta.uid(job) not in active:
            message = f"Saw a job that the controller did not create or forgot: {meta.name(job)}"
            events.append(("Warning", "UnexpectedJob", message))
        elif how and active.pop(meta.uid(job), None) is not None:
            message = f"Saw completed job: {meta.name(job)}, condition: {how}"
            events.append(("Normal", "SawCompletedJob", message))
        if how == "Complete":
            _note_success(status, (job.get("status") or {}).get("completionTime"))
    for uid in [uid for uid in active if uid in gone]:
        events.append(("Normal", "MissingJob", f"Active job went missing: {active.pop(uid)['name']}"))
    status.pop("active", None)
    return (status | {"active": [*active.values()]} if active else status), events


def _note_success(status: dict[str, Any], moment: str | None) -> None:
    last = status.get("lastSuccessfulTime")
    if moment and (last is None or meta.parse_time(moment) > meta.parse_time(last)):
        status["lastSuccessfulTime"] = moment


def _schedule(cron_job: Object, now: float, events: list[Event]) -> Plan:
    spec, status = cron_job["spec"], cron_job["status"]
    idle, text = Plan(status), spec.get("schedule") or ""
    try:
        zone_of(cron_job)
    except UnknownTimeZone as error:
        events.append(("Warning", "UnknownTimeZone", f'invalid timeZone: "{spec["timeZone"]}": {error}'))
        return idle
    if spec.get("suspend"):
        return idle
    if "TZ" in text:
        message = f'CRON_TZ or TZ used in schedule "{text}" is not officially supported, see {DOCUMENTATION}'
        events.append(("Warning", "UnsupportedSchedule", f"{message} for more details"))
    try:
        schedule = schedule_of(cron_job)
    except CronError as error:
        events.append(("Warning", "UnparseableSchedule", f'unparseable schedule: "{text}" : {error}'))
        return idle
    try:
        due = find_due(cron_job, schedule, now)
    except ImpossibleSchedule as error:
        events.append(("Warning", "InvalidSchedule", f"invalid schedule: {text} : {error}"))
        return idle
    later = idle._replace(requeue_after=seconds_until_next(cron_job, schedule, now))
    if due.moment is None:
        return later
    if due.missed > MANY:
        message = (
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        )
        events.append(("Warning", "TooManyMissedTimes", message))
    return _start(cron_job, due.moment, now, later, events)


def _start(cron_job: Object, moment: int, now: float, later: Plan, events: list[Event]) -> Plan:
    """Return the plan that starts a job for `moment`, unless it is too late for it, or another one runs."""
    spec, status = cron_job["spec"], cron_job["status"]
    deadline, active = spec.get("startingDeadlineSeconds"), _active(status)
    if deadline is not None and moment + deadline < now:
        when = datetime.fromtimestamp(moment, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
        events.append(("Warning", "MissSchedule", f"Missed scheduled time to start a job: {when}"))
        return later
    last = status.get("lastScheduleTime")
    is_started = any(reference.get("name") == job_name(cron_job, moment) for reference in active)
    if is_started or (last and int(meta.parse_time(last)) == moment):
        return later
    if spec.get("concurrencyPolicy") == "Forbid" and active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        events.append(("Normal", "JobAlreadyActive", message))
        return later
    replaced = tuple(active) if spec.get("concurrencyPolicy") == "Replace" else ()
    return later._replace(start=moment, replace=replaced)


def job_name(cron_job: Object, moment: int) -> str:
    """Return the name of the job for a scheduled moment: the same one however often it is tried."""
    return f"{meta.name(cron_job)}-{moment // 60}"


def make_job(cron_job: Object, moment: int) -> Object:
    """Return the job of the template for a scheduled moment."""
    template = cron_job["spec"]["jobTemplate"]
    given = template.get("metadata") or {}
    when = (zone_of(cron_job) or UTC_ZONE).format(moment)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(cron_job, moment),
            "namespace": meta.namespace(cron_job),
            "labels": given.get("labels") or {},
            "annotations": {**(given.get("annotations") or {}), SCHEDULED_ANNOTATION: when},
            "ownerReferences": [meta.make_owner_reference(cron_job, CRON_JOBS)],
        },
        "spec": template.get("spec") or {},
    }


def without(status: Object, uids: Collection[str]) -> Object:
    """Return the status without these active jobs."""
    kept = [reference for reference in _active(status) if reference.get("uid") not in uids]
    rest = {key: value for key, value in status.items() if key != "active"}
    return {**rest, "active": kept} if kept else rest


def with_started(status: Object, job: Object, moment: int) -> Object:
    """Return the status with one more active job, the last that was scheduled."""
    metadata = job["metadata"]
    reference = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        **{key: metadata[key] for key in ("name", "namespace", "resourceVersion", "uid")},
    }
    return {**status, "active": [*_active(status), reference], "lastScheduleTime": meta.format_time(moment)}
