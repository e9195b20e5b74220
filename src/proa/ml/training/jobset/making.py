"""Make and delete what a JobSet consists of, and say in a few words why something cannot be made.

What the API server says of a Job that can never be made is final; what may pass (a quota, a name that is still
taken) is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from itertools import islice
from typing import Any

from proa.client.protocol import Object
from proa.ml.training.jobset.manifests import make_service
from proa.ml.training.kinds import JOB_SET_NAME
from proa.objects import meta
from proa.objects.errors import AlreadyExists, BadRequest, Forbidden, Invalid, NotFound
from proa.objects.resource import JOBS, PERSISTENT_VOLUME_CLAIMS, SERVICES, Resource
from proa.reconcile.protocol import Context

PARALLEL_WRITES = 50


class Refused(Exception):
    """Something could not be made; `is_final` where trying again cannot help."""

    def __init__(self, reason: str, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.is_final = is_final


async def each(writes: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Do all, PARALLEL_WRITES at a time; raise the first error once all have ended.

    A generator makes those of later batches only when it is their turn.
    """
    rest = iter(writes)
    outcomes: list[object] = []
    while batch := [*islice(rest, PARALLEL_WRITES)]:
        outcomes += await asyncio.gather(*batch, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def make_job(context: Context, jobset: Object, job: Object) -> None:
    """Make a Job; raise Refused."""
    try:
        await _make(context, JOBS, job, "JobCreationFailed")
    except AlreadyExists:
        found = await _find(context, JOBS, job)
        if found is None or meta.is_controlled_by(found, jobset):
            return
        message = (
            f"Job {meta.key_of(job)} exists and is not of this JobSet; it is made anew once that one is gone"
        )
        raise Refused("JobCreationFailed", message, is_final=False) from None


async def delete_job(context: Context, job: Object) -> None:
    """Delete a Job, and its pods before it."""
    with suppress(NotFound):
        await context.client.delete(
            JOBS, meta.name(job), meta.namespace(job), propagation_policy="Foreground", uid=meta.uid(job)
        )


async def ensure_service(context: Context, jobset: Object) -> None:
    """See that pods find one another by name; raise Refused where another Service has taken the name."""
    service = make_service(jobset)
    if service is None:
        return
    found = context.caches(SERVICES).get(meta.name(service), meta.namespace(service))
    if found is None:
        with suppress(AlreadyExists):
            await _make(context, SERVICES, service, "HeadlessServiceCreationFailed")
            return
        found = await _find(context, SERVICES, service)
    if found is None or (jobset["spec"].get("network") or {}).get("subdomain"):
        return  # a subdomain that was chosen may be shared
    selector = (found.get("spec") or {}).get("selector") or {}
    if found["spec"].get("clusterIP") != "None" or selector.get(JOB_SET_NAME) != meta.name(jobset):
        message = (
            f"Service {meta.key_of(service)} exists and does not lead to this JobSet's pods, which would not find one "
            "another; delete it, or give this one another name or spec.network.subdomain"
        )
        raise Refused("HeadlessServiceCreationFailed", message, is_final=False)


async def ensure_claim(context: Context, claim: Object) -> None:
    """See that a claim is there; one of that name from before is used."""
    with suppress(AlreadyExists):
        await _make(context, PERSISTENT_VOLUME_CLAIMS, claim, "PVCCreationFailed")


async def _make(context: Context, resource: Resource, obj: Object, reason: str) -> None:
    try:
        await context.client.create(resource, obj, meta.namespace(obj))
    except (Invalid, BadRequest, Forbidden) as error:
        message = f'{resource.kind} "{meta.name(obj)}" creation failed with error: {error.message}'
        raise Refused(reason, message, is_final=not isinstance(error, Forbidden)) from None


async def _find(context: Context, resource: Resource, obj: Object) -> Object | None:
    with suppress(NotFound):
        return await context.client.get(resource, meta.name(obj), meta.namespace(obj))
    return None
