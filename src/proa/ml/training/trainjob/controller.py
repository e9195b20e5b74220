"""Keep a JobSet for each TrainJob, made from it and its runtime, and the TrainJob's status true.

Watches trainjobs, jobsets, jobs and pods; reads runtimes; writes jobsets, podgroups, configmaps (snapshots of
runtimes), trainjobs/status. A JobSet is changed only while it rests. Follows pkg/controller/trainjob_controller.go of
kubeflow/trainer. What can never be carried out is the condition Failed, what may pass the condition Stalled.
"""

from __future__ import annotations

from contextlib import suppress

from proa.client.protocol import Object
from proa.ml.training.kinds import JOB_SET_NAME, JOB_SETS, POD_GROUPS, TRAIN_JOBS
from proa.ml.training.trainjob.building import Built, build
from proa.ml.training.trainjob.snapshot import NoRuntime, get_runtime
from proa.ml.training.trainjob.status import Problem, Seen, make_status, seconds_left, seconds_to_wait
from proa.ml.training.trainjob.words import (
    CONTROLLER_NAME,
    FAILED,
    STALLED,
    SUPPORT,
    Unfit,
    is_finished,
    is_suspended,
)
from proa.objects import meta
from proa.objects.errors import AlreadyExists, ApiError, BadRequest, Forbidden, Invalid, NotFound
from proa.objects.resource import JOBS, PODS
from proa.reconcile.ownership import owner_keys
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch, no_keys

NAME = "trainjob"
ACCOUNT = "training-operator"
COMPONENT = "trainjob-controller"
PATIENCE_SECONDS = 10.0
"""For a runtime that is made after its TrainJob."""


def _keys_of_pod(pod: Object) -> list[Key]:
    jobset = meta.labels(pod).get(JOB_SET_NAME)
    return [Key(meta.namespace(pod), jobset)] if jobset else []


WATCHES = (
    Watch(TRAIN_JOBS),
    Watch(JOB_SETS, keys_of=lambda jobset: owner_keys(jobset, TRAIN_JOBS.kind)),
    Watch(JOBS, keys_of=no_keys),
    Watch(PODS, keys_of=_keys_of_pod),
)


async def reconcile(context: Context, key: Key) -> Result:
    """Look at one TrainJob, do what is due, and say so."""
    trainjob = context.caches(TRAIN_JOBS).get(key.name, key.namespace)
    if trainjob is None or meta.is_deleting(trainjob) or is_finished(trainjob):
        return DONE
    if trainjob["spec"].get("managedBy") not in (None, CONTROLLER_NAME):
        return DONE
    problem = await _make_in_words(context, trainjob)
    now = context.now()
    seen = Seen(_own_jobset(context, trainjob), _pods(context, trainjob), problem)
    status = make_status(trainjob, seen, now)
    await _write_status(context, trainjob, status)
    waits = (
        seconds_to_wait(status, now) if problem is not None else None,
        seconds_left({**trainjob, "status": status}, now),
    )
    return Result(requeue_after=min(filter(None, waits), default=0.0))


async def _make_in_words(context: Context, trainjob: Object) -> Problem | None:
    """Make what is due; return what keeps it from being made."""
    try:
        await _make(context, trainjob)
    except Unfit as unfit:
        return Problem(unfit.reason, unfit.message, is_final=True)
    except NoRuntime as missing:
        age_seconds = context.now() - meta.parse_time(trainjob["metadata"]["creationTimestamp"])
        return Problem("TrainingRuntimeNotFound", missing.message, is_final=age_seconds > PATIENCE_SECONDS)
    except (Invalid, BadRequest, Forbidden, _Taken) as refusal:
        message = f"TrainJob resources reconciliation failed: {refusal.message}"
        is_final = isinstance(refusal, Invalid | BadRequest)
        return Problem("TrainJobResourcesCreationFailed", message, is_final=is_final)
    return None


class _Taken(ApiError):
    """Another object has the name that a TrainJob's own must have."""

    reason = "AlreadyExists"


async def _make(context: Context, trainjob: Object) -> None:
    """See that the JobSet is there, and, while it rests, that it is as the TrainJob has it now."""
    there = context.caches(JOB_SETS).get(meta.name(trainjob), meta.namespace(trainjob))
    if there is not None and not meta.is_controlled_by(there, trainjob):
        raise _Taken(
            f"JobSet {meta.key_of(there)} exists and is not of this TrainJob; delete it, or give the TrainJob another "
            "name"
        )
    if there is not None and not is_suspended(trainjob) and not is_suspended(there):
        return
    runtime = await get_runtime(context.client, trainjob)
    built = build(trainjob, runtime)
    await _ensure_group(context, trainjob, built)
    if there is None:
        _tell_of_deprecation(context, trainjob, runtime)
        await context.client.create(JOB_SETS, built.jobset, meta.namespace(trainjob))
    else:
        await _renew(context, there, built)


def _tell_of_deprecation(context: Context, trainjob: Object, runtime: Object) -> None:
    if meta.labels(runtime).get(SUPPORT) == "deprecated":
        message = f"{runtime['kind']} {meta.name(runtime)} is deprecated and may be gone one day; use another"
        context.events.event(trainjob, "Warning", "RuntimeDeprecated", message)


async def _renew(context: Context, there: Object, built: Built) -> None:
    """Have a JobSet that rests be as it would be made now; where it cannot be changed so far, it is made anew."""
    wanted = {
        **there,
        "metadata": {
            **there["metadata"],
            "labels": {**meta.labels(there), **meta.labels(built.jobset)},
            "annotations": {**meta.annotations(there), **meta.annotations(built.jobset)},
        },
        "spec": built.jobset["spec"],
    }
    try:
        await context.client.update(JOB_SETS, wanted)
    except Invalid:
        await _delete_jobset(context, there)


async def _ensure_group(context: Context, trainjob: Object, built: Built) -> None:
    if built.pod_group is None:
        return
    try:
        await context.client.create(POD_GROUPS, built.pod_group, meta.namespace(trainjob))
    except AlreadyExists:
        there = await context.client.get(POD_GROUPS, meta.name(trainjob), meta.namespace(trainjob))
        if not meta.is_controlled_by(there, trainjob):
            raise _Taken(
                f"PodGroup {meta.key_of(there)} exists and is not of this TrainJob; delete it, or give the TrainJob "
                "another name"
            ) from None
        await context.client.update(POD_GROUPS, {**there, "spec": built.pod_group["spec"]})


def _own_jobset(context: Context, trainjob: Object) -> Object | None:
    found = context.caches(JOB_SETS).get(meta.name(trainjob), meta.namespace(trainjob))
    return found if found is not None and meta.is_controlled_by(found, trainjob) else None


def _pods(context: Context, trainjob: Object) -> list[Object]:
    jobset = _own_jobset(context, trainjob)
    if jobset is None:
        return []
    jobs = context.caches(JOBS).by_index("controller", meta.uid(jobset))
    return [pod for job in jobs for pod in context.caches(PODS).by_index("controller", meta.uid(job))]


async def _write_status(context: Context, trainjob: Object, status: Object) -> None:
    before = trainjob.get("status") or {}
    if {**before, "conditions": before.get("conditions") or []} == status:
        return
    await context.client.update(TRAIN_JOBS, {**trainjob, "status": status}, subresource="status")
    told = {(entry["type"], entry.get("reason")) for entry in before.get("conditions") or ()}
    for entry in status["conditions"]:
        if (entry["type"], entry.get("reason")) not in told:
            kind = "Warning" if entry["type"] in (FAILED, STALLED) else "Normal"
            context.events.event(trainjob, kind, entry["reason"], entry["message"])
    if any(entry.get("reason") == "DeadlineExceeded" for entry in status["conditions"]):
        found = _own_jobset(context, trainjob)
        if found is not None:
            await _delete_jobset(context, found)


async def _delete_jobset(context: Context, jobset: Object) -> None:
    name, namespace, uid = meta.name(jobset), meta.namespace(jobset), meta.uid(jobset)
    with suppress(NotFound):
        await context.client.delete(JOB_SETS, name, namespace, propagation_policy="Background", uid=uid)
