"""Carry out a CronJob's plan: delete what is history, create the job that is due, write the status.

Follows upstream's pkg/controller/cronjob/cronjob_controllerv2.go (sync).
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.client.protocol import Object
from proa.controllers.cronjob.missed import schedule_of, seconds_until_next
from proa.controllers.cronjob.plan import active_uids, ended, history, make_job, plan, with_started, without
from proa.objects import meta
from proa.objects.cron import CronError
from proa.objects.errors import AlreadyExists, ApiError, NotFound
from proa.objects.resource import CRON_JOBS, JOBS
from proa.objects.time_zones import UnknownTimeZone
from proa.reconcile.pod_control import is_namespace_terminating
from proa.reconcile.protocol import DONE, Context, Result


def wait_for_new_schedule(context: Context, cron_job: Object) -> Result:
    """Return when to look again at a CronJob whose schedule has changed."""
    text = cron_job["spec"].get("schedule") or ""
    try:
        seconds = seconds_until_next(cron_job, schedule_of(cron_job), context.now())
    except (CronError, UnknownTimeZone):
        message = f"unparseable schedule for cronjob: {text}"
        context.events.event(cron_job, "Warning", "UnParseableCronJobSchedule", message)
        return DONE
    return Result(requeue_after=seconds)


async def sync(context: Context, cron_job: Object) -> Result:
    """Clean up, start what is due, write the status."""
    jobs = context.caches(JOBS).by_index("controller", meta.uid(cron_job))
    cron_job = await _with_known_jobs(context, cron_job, jobs)
    before = cron_job.get("status") or {}
    deleted = [job for job in history(cron_job, jobs) if await _delete(context, cron_job, job)]
    removed = {meta.uid(job) for job in deleted}
    cron_job = {**cron_job, "status": without(cron_job.get("status") or {}, removed)}
    gone = await _find_gone(context, cron_job, jobs)
    decided = plan(cron_job, jobs, gone, context.now())
    for event in decided.events:
        context.events.event(cron_job, *event)
    status, error = decided.status, None
    if decided.start is not None:
        status, error = await _start(context, cron_job, decided.start, decided.replace, status)
    if status != before:
        await _write_status(context, {**cron_job, "status": status})
    if error is not None and not is_namespace_terminating(error):
        raise error
    return Result(requeue_after=decided.requeue_after)


async def _with_known_jobs(context: Context, cron_job: Object, jobs: Sequence[Object]) -> Object:
    """Return the CronJob as the server has it, where the cached one does not know of a job that runs."""
    known = active_uids(cron_job)
    if all(ended(job) or meta.uid(job) in known for job in jobs):
        return cron_job
    fresh = await context.client.get(CRON_JOBS, meta.name(cron_job), meta.namespace(cron_job))
    return fresh if meta.uid(fresh) == meta.uid(cron_job) else cron_job


async def _find_gone(context: Context, cron_job: Object, jobs: Sequence[Object]) -> set[str]:
    """Return the uids of active jobs that the server does not have."""
    known = {meta.uid(job) for job in jobs}
    gone = set()
    for reference in (cron_job.get("status") or {}).get("active") or ():
        if reference.get("uid") not in known:
            try:
                await context.client.get(JOBS, reference["name"], meta.namespace(cron_job))
            except NotFound:
                gone.add(reference.get("uid", ""))
    return gone


async def _start(
    context: Context, cron_job: Object, moment: int, replace: Sequence[Object], status: Object
) -> tuple[Object, ApiError | None]:
    """Delete the jobs to be replaced and create the next one; return the status then, and a refusal."""
    for reference in replace:
        try:
            job = await context.client.get(JOBS, reference["name"], meta.namespace(cron_job))
        except ApiError as error:
            context.events.event(cron_job, "Warning", "FailedGet", f"Get job: {error.message}")
            return status, error
        if not await _delete(context, cron_job, job):
            return status, ApiError(f"could not replace job {meta.key_of(job)}")
        status = without(status, {meta.uid(job)})
    try:
        job = await _create(context, cron_job, moment)
    except ApiError as error:
        if not is_namespace_terminating(error):
            message = f"Error creating job: {error.message}"
            context.events.event(cron_job, "Warning", "FailedCreate", message)
        return status, error
    if not meta.is_controlled_by(job, cron_job):  # somebody else's, who has taken the name
        return status, None
    return with_started(status, job, moment), None


async def _create(context: Context, cron_job: Object, moment: int) -> Object:
    """Create the job, or return the one that has its name: we may have been cut off after creating it."""
    job = make_job(cron_job, moment)
    try:
        created = await context.client.create(JOBS, job, meta.namespace(cron_job))
    except AlreadyExists:
        return await context.client.get(JOBS, meta.name(job), meta.namespace(cron_job))
    context.events.event(cron_job, "Normal", "SuccessfulCreate", f"Created job {meta.name(created)}")
    return created


async def _delete(context: Context, cron_job: Object, job: Object) -> bool:
    """Delete a job and, in the background, its pods; return whether that went well."""
    name = meta.name(job)
    try:
        await context.client.delete(JOBS, name, meta.namespace(job), propagation_policy="Background")
    except ApiError as error:
        context.events.event(cron_job, "Warning", "FailedDelete", f"Deleted job: {error.message}")
        return False
    context.events.event(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {name}")
    return True


async def _write_status(context: Context, cron_job: Object) -> None:
    try:
        await context.client.update(CRON_JOBS, cron_job, subresource="status")
    except NotFound:
        return
