"""Keep a JobSet's Jobs, Service and claims as its spec, its policies and its Jobs' ends say, and its status true.

Watches jobsets, jobs and services; writes jobs, services, persistentvolumeclaims, jobsets/status. Follows
pkg/controllers/jobset_controller.go of kubernetes-sigs/jobset.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from proa.client.protocol import Object
from proa.ml.training.jobset.conditions import Told
from proa.ml.training.jobset.making import Refused, delete_job, each, ensure_claim, ensure_service, make_job
from proa.ml.training.jobset.manifests import make_claims
from proa.ml.training.jobset.names import CONTROLLER_NAME
from proa.ml.training.jobset.plan import Plan, fail, make_plan, seconds_to_wait, stall
from proa.ml.training.jobset.resuming import resumed
from proa.ml.training.kinds import JOB_SETS
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import JOBS, SERVICES
from proa.reconcile.ownership import owner_keys
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

NAME = "jobset"
ACCOUNT = "training-operator"
COMPONENT = "jobset-controller"


def _keys_of_owner(obj: Object) -> list[Key]:
    return owner_keys(obj, JOB_SETS.kind)


WATCHES = (
    Watch(JOB_SETS),
    Watch(JOBS, keys_of=_keys_of_owner),
    Watch(SERVICES, keys_of=_keys_of_owner),
)


async def reconcile(context: Context, key: Key) -> Result:
    """Look at one JobSet, do what is due, and say so."""
    jobset = context.caches(JOB_SETS).get(key.name, key.namespace)
    if jobset is None or meta.is_deleting(jobset):
        return DONE
    if jobset["spec"].get("managedBy") not in (None, CONTROLLER_NAME):
        return DONE
    now = context.now()
    plan = make_plan(jobset, context.caches(JOBS).by_index("controller", meta.uid(jobset)), now)
    if plan.expire:
        await _delete(context, jobset)
        return DONE
    try:
        await _act(context, jobset, plan)
    except Refused as refusal:
        before = (jobset.get("status") or {}).get("conditions") or []
        say = fail if refusal.is_final else stall
        status, events = say({**plan.status, "conditions": before}, refusal.reason, refusal.message, now)
        await _write_status(context, jobset, status, events)
        return DONE if refusal.is_final else Result(requeue_after=seconds_to_wait(status, now))
    await _write_status(context, jobset, plan.status, plan.events)
    return Result(requeue_after=plan.wait_seconds)


async def _act(context: Context, jobset: Object, plan: Plan) -> None:
    client = context.client
    if plan.needs_network:
        await ensure_service(context, jobset)
        await each(ensure_claim(context, claim) for claim in make_claims(jobset))
    await each(delete_job(context, job) for job in plan.delete)
    await each(make_job(context, jobset, job) for job in plan.create)
    await each(client.update(JOBS, {**job, "spec": {**job["spec"], "suspend": True}}) for job in plan.suspend)
    await each(client.update(JOBS, resumed(*pair)) for pair in plan.resume)


async def _write_status(context: Context, jobset: Object, status: Object, events: Sequence[Told]) -> None:
    if status != (jobset.get("status") or {}):
        await context.client.update(JOB_SETS, {**jobset, "status": status}, subresource="status")
    for told in events:
        context.events.event(jobset, *told)


async def _delete(context: Context, jobset: Object) -> None:
    with suppress(NotFound):
        await context.client.delete(
            JOB_SETS,
            meta.name(jobset),
            meta.namespace(jobset),
            propagation_policy="Foreground",
            uid=meta.uid(jobset),
        )
