"""Delete a finished Job ttlSecondsAfterFinished after it ended, its pods with it.

Watches and deletes jobs. Follows upstream's pkg/controller/ttlafterfinished/ttlafterfinished_controller.go.
"""

from __future__ import annotations

from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import JOBS
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

NAME = "ttl-after-finished"
WATCHES = (Watch(JOBS),)


class Plan(NamedTuple):
    """Delete now, or look again in `wait_seconds` (0: nothing to wait for)."""

    delete: bool = False
    wait_seconds: float = 0.0


def plan(job: Object, now: float) -> Plan:
    """Decide from the time of the condition Complete or Failed."""
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    end = meta.find_condition(job, "Complete") or meta.find_condition(job, "Failed")
    if ttl is None or end is None or end.get("status") != "True" or meta.is_deleting(job):
        return Plan()
    left = meta.parse_time(end["lastTransitionTime"]) + float(ttl) - now
    return Plan(delete=True) if left <= 0 else Plan(wait_seconds=left)


async def reconcile(context: Context, key: Key) -> Result:
    """Delete the Job if its time has come; its ttl is read from the server again, lest it was just raised."""
    cached = context.caches(JOBS).get(key.name, key.namespace)
    if cached is None:
        return DONE
    decided = plan(cached, context.now())
    if not decided.delete:
        return Result(requeue_after=decided.wait_seconds)
    try:
        fresh = await context.client.get(JOBS, key.name, key.namespace)
        if plan(fresh, context.now()).delete:
            await context.client.delete(
                JOBS, key.name, key.namespace, propagation_policy="Foreground", uid=meta.uid(fresh)
            )
    except NotFound:
        return DONE
    return DONE
