"""A CronJob makes Jobs of its template by a schedule.

Follows pkg/apis/batch/v1/defaults.go (SetDefaults_CronJob), pkg/registry/batch/cronjob/strategy.go and printCronJob.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.batch.cronjob_rules import validate_create, validate_update
from proa.apiserver.resources.batch.job import default_failure_policy
from proa.apiserver.resources.batch.job_warnings import job_spec_warnings
from proa.apiserver.resources.core.pod_defaults import default_template
from proa.apiserver.resources.core.pod_warnings import name_warnings
from proa.apiserver.resources.printing import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    NONE,
    age,
    container_cells,
    doc,
    selector_cell,
    since,
)
from proa.client.protocol import Object
from proa.objects.resource import CRON_JOBS


def default(cron_job: Object) -> None:
    """Fill in policy, limits and the pod template; the rest of the job's defaults come when there is a job."""
    spec = cron_job.setdefault("spec", {})
    spec["concurrencyPolicy"] = spec.get("concurrencyPolicy") or "Allow"
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.setdefault("jobTemplate", {})
    template.setdefault("metadata", {})
    job = template.setdefault("spec", {})
    default_failure_policy(job)
    default_template(job.setdefault("template", {}))


def prepare_create(cron_job: Object) -> None:
    """Start with an empty status."""
    cron_job["status"] = {}


def warnings(new: Object, old: Object | None) -> list[str]:
    """Warn of a name that no pod can have, and of what is deprecated in the template."""
    said = name_warnings(new) if old is None else []
    return said + job_spec_warnings(_job_spec(new), "spec.jobTemplate.spec", _job_spec(old) if old else None)


def _job_spec(cron_job: Object) -> Object:
    spec: Object = (cron_job["spec"].get("jobTemplate") or {}).get("spec") or {}
    return spec


def cells(cron_job: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec, status = cron_job["spec"], cron_job.get("status") or {}
    last = status.get("lastScheduleTime")
    return (
        cron_job["metadata"]["name"],
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        "True" if spec.get("suspend") else "False",
        len(status.get("active") or ()),
        since(last, now) if last else NONE,
        age(cron_job, now),
        *container_cells(_job_spec(cron_job).get("template") or {}),
        selector_cell(_job_spec(cron_job).get("selector")),
    )


DEFINITION = ResourceDefinition(
    resource=CRON_JOBS,
    singular="cronjob",
    schema="io.k8s.api.batch.v1.CronJob",
    short_names=("cj",),
    categories=("all",),
    subresources=(Subresource("status", "CronJob", ("get", "patch", "update")),),
    default=default,
    prepare_create=prepare_create,
    validate_create=validate_create,
    validate_update=validate_update,
    warnings=warnings,
    columns=(
        NAME,
        Column("Schedule", description=doc("batch.v1.CronJobSpec.schedule")),
        Column("Timezone", description=doc("batch.v1.CronJobSpec.timeZone")),
        Column("Suspend", "boolean", description=doc("batch.v1.CronJobSpec.suspend")),
        Column("Active", "integer", description=doc("batch.v1.CronJobStatus.active")),
        Column("Last Schedule", description=doc("batch.v1.CronJobStatus.lastScheduleTime")),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", description=doc("batch.v1.JobSpec.selector"), priority=1),
    ),
    cells=cells,
    tracks_generation=True,
)
