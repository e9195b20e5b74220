"""Say what is wrong with a CronJob (pkg/apis/batch/validation ValidateCronJobCreate and ValidateCronJobUpdate)."""

from __future__ import annotations

import re

from proa.apiserver.resources.batch.job_rules import validate_job_spec
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import Verbatim, invalid, not_supported, required, validate_non_negative

POLICIES = ("Allow", "Forbid", "Replace")
LONGEST_NAME = 63 - 11
"""The controller appends a hyphen and ten digits."""
_ZONE_PART = re.compile(r"[A-Za-z._\-0-9+]{1,14}\Z", re.ASCII)


def validate_create(cron_job: Object) -> list[Cause]:
    """Check a new CronJob, and that its name leaves room for the names of its jobs."""
    causes = _validate_spec(cron_job["spec"], None)
    name = cron_job["metadata"].get("name") or ""
    if len(name) > LONGEST_NAME:
        causes.append(invalid("metadata.name", name, f"must be no more than {LONGEST_NAME} characters"))
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check what the update makes of it; what was said of time zones before may stay."""
    return _validate_spec(new["spec"], old["spec"])


def _validate_spec(spec: Object, old: Object | None) -> list[Cause]:
    causes = _validate_schedule(spec, old)
    if "startingDeadlineSeconds" in spec:
        causes += validate_non_negative(spec["startingDeadlineSeconds"], "spec.startingDeadlineSeconds")
    zone = spec.get("timeZone")
    if zone is not None and (old is None or old.get("timeZone") != zone):
        causes += validate_time_zone(zone, "spec.timeZone")
    policy = spec.get("concurrencyPolicy", "")
    if policy not in POLICIES:
        causes.append(not_supported("spec.concurrencyPolicy", policy, POLICIES))
    causes += _validate_job(spec["jobTemplate"]["spec"], "spec.jobTemplate.spec")
    for key in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        causes += validate_non_negative(spec.get(key, 0), f"spec.{key}")
    return causes


def _validate_schedule(spec: Object, old: Object | None) -> list[Cause]:
    from proa.objects.cron import CronError, parse_schedule  # not before there is a CronJob

    field, schedule = "spec.schedule", spec.get("schedule", "")
    if not schedule:
        return [required(field)]
    causes: list[Cause] = []
    try:
        zone = parse_schedule(schedule).zone
    except CronError as error:
        causes.append(invalid(field, schedule, str(error)))
    else:
        if zone and not _is_known_zone(zone):
            causes.append(invalid(field, schedule, f"provided bad location {zone}: unknown time zone {zone}"))
    if "TZ" in schedule:
        if old is None or "TZ" not in old.get("schedule", ""):
            detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            causes.append(invalid(field, schedule, detail))
        elif spec.get("timeZone") is not None:
            detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
            causes.append(invalid(field, schedule, detail))
    return causes


def validate_time_zone(zone: str, field: str) -> list[Cause]:
    """Check that the IANA's database knows a time zone of that name."""
    if not zone:
        return [invalid(field, zone, "timeZone must be nil or non-empty string")]
    unknown = [invalid(field, zone, f"unknown time zone {zone}")]
    for part in zone.split("/"):
        if part in (".", "..") or part.startswith("-") or not _ZONE_PART.match(part):
            return unknown
    if zone.lower() == "local":
        where = "https://www.iana.org/time-zones"
        return [invalid(field, zone, f"timeZone must be an explicit time zone as defined in {where}")]
    return [] if _is_known_zone(zone) else unknown


def _is_known_zone(zone: str) -> bool:
    from proa.objects.time_zones import (
        UnknownTimeZone,
        find_time_zone,
    )  # only CronJobs with time zones need it

    try:
        find_time_zone(zone)
    except UnknownTimeZone:
        return False
    return True


def _validate_job(spec: Object, path: str) -> list[Cause]:
    causes = validate_job_spec(spec, path)
    if spec.get("selector") is not None:
        causes.append(invalid(f"{path}.selector", spec["selector"], "`selector` will be auto-generated"))
    if spec.get("manualSelector"):
        causes.append(not_supported(f"{path}.manualSelector", Verbatim("true"), ("nil", "false")))
    return causes
