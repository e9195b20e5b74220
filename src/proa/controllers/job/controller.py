"""Run a Job's pods until as many have succeeded as it asks for, or too many have failed.

Watches jobs and pods; writes pods and the Job's status. Follows upstream's
pkg/controller/job/job_controller.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from proa.client.protocol import STRATEGIC_MERGE_PATCH, Client, Object
from proa.controllers.job.backoff import Record
from proa.controllers.job.indexes import NewPod, with_index
from proa.controllers.job.outcome import is_finished, is_suspended
from proa.controllers.job.plan import Plan, plan
from proa.controllers.job.status import status_of
from proa.controllers.job.tally import FINALIZER, has_failed, tally, track
from proa.objects import meta
from proa.objects.errors import ApiError, NotFound
from proa.objects.pods import phase
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

MANAGER = "kubernetes.io/job-controller"
"""Jobs whose spec.managedBy names anybody else are left alone."""
POD = "pod/"
"""Before the name in the key of a pod that no Job counts any more; no Job's name has a slash."""
MODES = (None, "NonIndexed", "Indexed")


def _keys_of_pod(pod: Object, caches: Caches) -> Iterable[Key]:
    yield from claimant_keys(pod, "Job", caches(JOBS))
    if FINALIZER in meta.finalizers(pod) and is_stray(pod, caches):
        yield Key(meta.namespace(pod), POD + meta.name(pod))


def _keys_of_job(job: Object, caches: Caches) -> Iterable[Key]:
    yield Key(meta.namespace(job), meta.name(job))
    live = caches(JOBS).get(meta.name(job), meta.namespace(job))
    if live is None or meta.uid(live) != meta.uid(job) or is_finished(live):
        for pod in caches(PODS).by_index("controller", meta.uid(job)):
            if FINALIZER in meta.finalizers(pod):
                yield Key(meta.namespace(pod), POD + meta.name(pod))


def is_stray(pod: Object, caches: Caches) -> bool:
    """Tell whether no Job will count the pod: it has none, or one that is gone or finished."""
    owner = meta.controller_of(pod)
    if owner is None:
        return True
    if (owner.get("apiVersion"), owner.get("kind")) != (JOBS.api_version, JOBS.kind):
        return False
    job = caches(JOBS).get(owner["name"], meta.namespace(pod))
    if job is None or meta.uid(job) != owner.get("uid"):
        return True
    return is_finished(job) and _is_ours(job)


def _is_ours(job: Object) -> bool:
    return bool(job["spec"].get("managedBy", MANAGER) == MANAGER)


class JobController:
    """`reconcile.protocol.Controller`; remembers how often the pods of a Job have failed since a success."""

    NAME = "job"
    WATCHES: Sequence[Watch] = (Watch(JOBS, find_keys=_keys_of_job), Watch(PODS, find_keys=_keys_of_pod))

    def __init__(self) -> None:
        self._records: dict[Key, tuple[str, Record]] = {}

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Count, decide, create and delete pods, write the status, and only then let go of counted pods."""
        if key.name.startswith(POD):
            pod = context.caches(PODS).get(key.name.removeprefix(POD), key.namespace)
            if pod is not None and FINALIZER in meta.finalizers(pod) and is_stray(pod, context.caches):
                await _take_finalizer(context.client, pod)
            return DONE
        job = context.caches(JOBS).get(key.name, key.namespace)
        if job is None or is_finished(job) or not _is_ours(job):
            self._records.pop(key, None)
            return DONE
        if job["spec"].get("completionMode") not in MODES:
            message = "Skipped Job sync because completion mode is unknown"
            context.events.event(job, "Warning", "UnknownCompletionMode", message)
            return DONE
        return await self._sync(context, key, job)

    async def _sync(self, context: Context, key: Key, job: Object) -> Result:
        pods = await _claim_pods(context, job)
        counted = tally(job, pods)
        record = self._record(key, job, pods).after(counted.new_succeeded, counted.new_failed)
        decided = plan(job, pods, counted, record, context.now())
        error = await _apply(context, job, decided)
        if error is not None:
            decided = decided._replace(outcome=None, is_managed=False)
        ends = decided.outcome.type if decided.outcome is not None else ""
        tracked = track(job, pods, counted, ends)
        if decided.create or decided.delete or decided.kill:
            pods = list(context.caches(PODS).by_index("controller", meta.uid(job)))
        await _write_status(context, job, status_of(job, pods, counted, tracked, decided, context.now()))
        self._records[key] = (meta.uid(job), record)
        await _take_finalizers(context.client, tracked.release)
        if error is not None and not is_namespace_terminating(error):
            raise error
        return Result(requeue_after=decided.requeue_after)

    def _record(self, key: Key, job: Object, pods: Iterable[Object]) -> Record:
        """Return what is remembered; after a restart, what the pods tell that are counted already."""
        uid, record = self._records.get(key, ("", Record()))
        if uid == meta.uid(job):
            return record
        lists = (job.get("status") or {}).get("uncountedTerminatedPods") or {}
        listed = {*(lists.get("succeeded") or ()), *(lists.get("failed") or ())}
        old = [p for p in pods if FINALIZER not in meta.finalizers(p) or meta.uid(p) in listed]
        succeeded = [pod for pod in old if phase(pod) == "Succeeded"]
        return Record().after(succeeded, [pod for pod in old if has_failed(job, pod)])


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


def make_pod(job: Object, new: NewPod) -> Object:
    """Return a pod of the Job, to be tracked until it is counted."""
    pod = pod_from_template(job["spec"]["template"], job, JOBS)
    given = [entry for entry in pod["metadata"].get("finalizers") or () if entry != FINALIZER]
    pod["metadata"]["finalizers"] = [*given, FINALIZER]
    return pod if new.number is None else with_index(pod, job, new)


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
            _tell(context, {**job, "status": status}, condition)


def _tell(context: Context, job: Object, condition: Object) -> None:
    match condition["type"], condition["status"]:
        case "Complete", "True":
            completions = job["spec"].get("completions")
            if completions is not None and job["status"].get("succeeded", 0) > completions:
                message = "Too many succeeded pods running after completion count reached"
                context.events.event(job, "Warning", "TooManySucceededPods", message)
            context.events.event(job, "Normal", "Completed", "Job completed")
        case "Failed", "True":
            context.events.event(job, "Warning", condition["reason"], condition["message"])
        case "Suspended", "True" if is_suspended(job):
            context.events.event(job, "Normal", "Suspended", "Job suspended")
        case "Suspended", "False":
            context.events.event(job, "Normal", "Resumed", "Job resumed")


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
