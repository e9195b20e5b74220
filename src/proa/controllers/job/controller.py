"""Run a Job's pods until as many have succeeded as it asks for, or too many have failed.

Watches jobs and pods; writes pods and the Job's status. Follows upstream's
pkg/controller/job/job_controller.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from proa.client.protocol import STRATEGIC_MERGE_PATCH, Client, Object
from proa.controllers.job.indexes import with_index
from proa.controllers.job.plan import Plan, is_finished, is_suspended, plan, status_of, unsupported_field
from proa.controllers.job.tally import FINALIZER, tally
from proa.objects import meta
from proa.objects.errors import ApiError, NotFound
from proa.objects.resource import JOBS, PODS
from proa.reconcile.ownership import apply_claims, candidates, claimant_keys, plan_claims, selector_of
from proa.reconcile.pod_control import (
    create_pod,
    delete_pod,
    is_namespace_terminating,
    pod_from_template,
    slow_start,
)
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "job"
MANAGER = "kubernetes.io/job-controller"
"""Jobs whose spec.managedBy names anybody else are left alone."""
JOB_NAME_LABEL = "batch.kubernetes.io/job-name"


def _keys_of_pod(pod: Object, caches: Caches) -> Iterable[Key]:
    yield from claimant_keys(pod, "Job", caches(JOBS))
    if FINALIZER in meta.finalizers(pod) and meta.controller_of(pod) is None:
        yield Key(meta.namespace(pod), meta.labels(pod).get(JOB_NAME_LABEL, ""))


WATCHES = (Watch(JOBS), Watch(PODS, find_keys=_keys_of_pod))


async def reconcile(context: Context, key: Key) -> Result:
    """Count, decide, create and delete pods, write the status, and only then let go of counted pods."""
    job = context.caches(JOBS).get(key.name, key.namespace)
    await _release_strays(context, key, job)
    if job is None or job["spec"].get("managedBy", MANAGER) != MANAGER:
        return DONE
    if field := unsupported_field(job):
        message = f"{field} is not supported: the Job gets no pods"
        context.events.event(job, "Warning", "NotSupported", message)
        return DONE
    pods = await _claim_pods(context, job)
    if is_finished(job):
        await _take_finalizers(context.client, (pod for pod in pods if FINALIZER in meta.finalizers(pod)))
        return DONE
    counted = tally(job, pods)
    decided = plan(job, pods, counted, context.now())
    error = await _apply(context, job, decided)
    if decided.create or decided.delete or decided.kill:
        pods = list(context.caches(PODS).by_index("controller", meta.uid(job)))
    status = status_of(job, pods, counted, decided, context.now())
    await _write_status(context, job, status)
    await _take_finalizers(context.client, counted.release)
    if error is not None and not is_namespace_terminating(error):
        raise error
    return Result(requeue_after=decided.requeue_after)


async def _claim_pods(context: Context, job: Object) -> list[Object]:
    selector = selector_of(job)
    claims = plan_claims(job, selector, candidates(context.caches(PODS), job, selector))
    return await apply_claims(context.client, job, JOBS, PODS, claims, finalizer=FINALIZER)


async def _apply(context: Context, job: Object, decided: Plan) -> ApiError | None:
    """Create and delete pods; return the first refusal."""

    async def create(position: int) -> None:
        await create_pod(context, job, make_pod(job, decided.create[position]))

    async def delete(position: int) -> None:
        await _take_finalizers(context.client, [decided.delete[position]])
        await delete_pod(context, job, decided.delete[position])

    async def kill(position: int) -> None:
        await delete_pod(context, job, decided.kill[position])

    for count, act in (
        (len(decided.kill), kill),
        (len(decided.delete), delete),
        (len(decided.create), create),
    ):
        _, error = await slow_start(count, act)
        if error is not None:
            return error
    return None


def make_pod(job: Object, index: int | None) -> Object:
    """Return a pod of the Job, to be tracked until it is counted."""
    pod = pod_from_template(job["spec"]["template"], job, JOBS)
    given = pod["metadata"].get("finalizers") or []
    pod["metadata"]["finalizers"] = [*given, FINALIZER]
    return pod if index is None else with_index(pod, meta.name(job), index)


async def _write_status(context: Context, job: Object, status: Object) -> None:
    before = job.get("status") or {}
    if status == before:
        return
    try:
        await context.client.update(JOBS, {**job, "status": status}, subresource="status")
    except NotFound:
        return
    known = {(c["type"], c["status"]) for c in before.get("conditions") or ()}
    for condition in status.get("conditions") or ():
        if (condition["type"], condition["status"]) not in known:
            _tell(context, job, condition)


def _tell(context: Context, job: Object, condition: Object) -> None:
    match condition["type"], condition["status"]:
        case "Complete", "True":
            context.events.event(job, "Normal", "Completed", "Job completed")
        case "Failed", "True":
            context.events.event(job, "Warning", condition["reason"], condition["message"])
        case "Suspended", "True" if is_suspended(job):
            context.events.event(job, "Normal", "Suspended", "Job suspended")
        case "Suspended", "False":
            context.events.event(job, "Normal", "Resumed", "Job resumed")


async def _release_strays(context: Context, key: Key, job: Object | None) -> None:
    """Let go of pods that are tracked for a Job of this name which is gone: nobody will count them."""
    strays = [
        pod
        for pod in context.caches(PODS).by_index("label", f"{JOB_NAME_LABEL}={key.name}")
        if meta.namespace(pod) == key.namespace and FINALIZER in meta.finalizers(pod) and _is_stray(pod, job)
    ]
    await _take_finalizers(context.client, strays)


def _is_stray(pod: Object, job: Object | None) -> bool:
    controller = meta.controller_of(pod)
    if controller is None:  # an orphan, which a Job that is there may adopt
        return job is None
    return controller.get("kind") == "Job" and (job is None or controller.get("uid") != meta.uid(job))


async def _take_finalizers(client: Client, pods: Iterable[Object]) -> None:
    await asyncio.gather(*(_take_finalizer(client, pod) for pod in pods))


async def _take_finalizer(client: Client, pod: Object) -> None:
    """Take it off whatever else has changed of the pod meanwhile: nothing else may hold up the count."""
    metadata = {"uid": meta.uid(pod), "$deleteFromPrimitiveList/finalizers": [FINALIZER]}
    try:
        await client.patch(
            PODS,
            meta.name(pod),
            {"metadata": metadata},
            meta.namespace(pod),
            patch_type=STRATEGIC_MERGE_PATCH,
        )
    except NotFound:
        return
