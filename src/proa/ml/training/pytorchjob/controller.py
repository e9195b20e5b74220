"""Keep the pods of each PyTorchJob, and the Services by which they find one another, as the job asks for.

Watches PyTorchJobs and what they own; writes pods, Services, a HorizontalPodAutoscaler, a PodGroup and the job's
status. Source: pkg/controller.v1/pytorch/pytorchjob_controller.go of kubeflow/training-operator 1.9.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

from proa.client.protocol import Client, Object
from proa.ml.definitions import covers
from proa.ml.training.kinds import POD_GROUPS, PYTORCH_JOBS
from proa.ml.training.pytorchjob.plan import Plan, Snapshot, plan, refused, stalled
from proa.ml.training.pytorchjob.roles import is_ours
from proa.ml.training.pytorchjob.troubles import Note
from proa.ml.training.pytorchjob.words import OPERATOR
from proa.objects import meta
from proa.objects.errors import AlreadyExists, ApiError, BadRequest, Conflict, Invalid, NotFound
from proa.objects.resource import HORIZONTAL_POD_AUTOSCALERS, PODS, SERVICES, Resource
from proa.reconcile.ownership import owner_keys
from proa.reconcile.pod_control import is_namespace_terminating, slow_start
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch


def _keys_of(obj: Object) -> Iterable[Key]:
    return owner_keys(obj, PYTORCH_JOBS.kind)


class PyTorchJobController:
    """`reconcile.protocol.Controller`; remembers what it has told of each job, to tell it once."""

    NAME = OPERATOR
    ACCOUNT = "training-operator"
    WATCHES: Sequence[Watch] = (
        Watch(PYTORCH_JOBS),
        Watch(PODS, keys_of=_keys_of),
        Watch(SERVICES, keys_of=_keys_of),
        Watch(HORIZONTAL_POD_AUTOSCALERS, keys_of=_keys_of),
    )

    def __init__(self) -> None:
        self._told: dict[Key, set[Note]] = {}

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Read, decide, act; write the status last, so that what was not done is decided again."""
        job = context.caches(PYTORCH_JOBS).get(key.name, key.namespace)
        if job is None or meta.is_deleting(job) or not is_ours(job):
            self._told.pop(key, None)
            return DONE
        decided = plan(_read(context, job), context.now())
        if decided.delete_job:
            await _delete_job(context, job)
            return DONE
        try:
            await _apply(context, job, decided)
        except (Invalid, BadRequest) as error:
            decided = refused(_read(context, job), decided.status, _why(job, error), context.now())
            await _apply(context, job, decided)
        except ApiError as error:
            if not isinstance(error, Conflict) and not is_namespace_terminating(error):
                why = f"It is tried again: {error.message}"
                await _write_status(context, job, stalled(job, why, context.now()))
            raise
        self._tell(context, key, job, decided.notes)
        await _write_status(context, job, decided.status)
        return Result(requeue_after=decided.requeue_after)

    def _tell(self, context: Context, key: Key, job: Object, notes: Iterable[Note]) -> None:
        """Send events: of those that are true still, only what was not told before."""
        told = self._told.get(key, set())
        wanted = set(notes)
        for note in notes:
            if note not in told:
                context.events.event(job, *note)
        if wanted:
            self._told[key] = wanted
        else:
            self._told.pop(key, None)


def _read(context: Context, job: Object) -> Snapshot:
    def owned(resource: Resource) -> list[Object]:
        found = context.caches(resource).by_index("controller", meta.uid(job))
        return sorted(found, key=meta.name)

    autoscalers = owned(HORIZONTAL_POD_AUTOSCALERS)
    return Snapshot(job, owned(PODS), owned(SERVICES), autoscalers[0] if autoscalers else None)


async def _apply(context: Context, job: Object, decided: Plan) -> None:
    """Do what is planned; raise the first refusal, but for those of what is gone already."""
    client = context.client
    await _delete_all(context, job, PODS, decided.delete_pods)
    await _delete_all(context, job, SERVICES, decided.delete_services)
    if decided.delete_group:
        await _delete_own(client, POD_GROUPS, job)
    if decided.delete_autoscaler:
        await _delete_own(client, HORIZONTAL_POD_AUTOSCALERS, job)
    if decided.group is not None:
        await _ensure(client, POD_GROUPS, decided.group)
    await _create_all(context, job, SERVICES, decided.create_services)
    await _create_all(context, job, PODS, decided.create_pods)
    if decided.autoscaler is not None:
        await _ensure(client, HORIZONTAL_POD_AUTOSCALERS, decided.autoscaler)


async def _delete_own(client: Client, resource: Resource, job: Object) -> None:
    """Delete what is named as the job, if it is the job's."""
    with suppress(NotFound, Conflict):
        there = await client.get(resource, meta.name(job), meta.namespace(job))
        if meta.is_controlled_by(there, job):
            await client.delete(resource, meta.name(job), meta.namespace(job), uid=meta.uid(there))


async def _delete_all(context: Context, job: Object, resource: Resource, found: Sequence[Object]) -> None:
    async def delete(position: int) -> None:
        one = found[position]
        try:
            await context.client.delete(resource, meta.name(one), meta.namespace(one), uid=meta.uid(one))
        except NotFound:
            return
        message = f"Deleted {resource.kind.lower()}: {meta.name(one)}"
        context.events.event(job, "Normal", f"SuccessfulDelete{resource.kind}", message)

    await _each(context, job, f"FailedDelete{resource.kind}", "Error deleting", len(found), delete)


async def _create_all(context: Context, job: Object, resource: Resource, wanted: Sequence[Object]) -> None:
    async def create(position: int) -> None:
        made = await context.client.create(resource, wanted[position], meta.namespace(job))
        message = f"Created {resource.kind.lower()}: {meta.name(made)}"
        context.events.event(job, "Normal", f"SuccessfulCreate{resource.kind}", message)

    await _each(context, job, f"FailedCreate{resource.kind}", "Error creating", len(wanted), create)


async def _each(
    context: Context, job: Object, reason: str, what: str, count: int, act: Callable[[int], Awaitable[None]]
) -> None:
    _, error = await slow_start(count, act)
    if error is not None:
        if not is_namespace_terminating(error):
            context.events.event(job, "Warning", reason, f"{what}: {error.message}")
        raise error


async def _ensure(client: Client, resource: Resource, wanted: Object) -> None:
    """Make an object, or give the one that is there this spec. Raise AlreadyExists where it is somebody else's."""
    try:
        await client.create(resource, wanted, meta.namespace(wanted))
    except AlreadyExists:
        found = await client.get(resource, meta.name(wanted), meta.namespace(wanted))
        if (meta.controller_of(found) or {}).get("uid") != wanted["metadata"]["ownerReferences"][0]["uid"]:
            raise AlreadyExists(
                f"{resource.plural} {meta.key_of(wanted)!r} belongs to something else: delete it, or rename the job"
            ) from None
        if not covers(found["spec"], wanted["spec"]):
            await client.update(resource, {**found, "spec": {**found["spec"], **wanted["spec"]}})


async def _write_status(context: Context, job: Object, status: Object | None) -> None:
    if status is not None:
        with suppress(NotFound):
            await context.client.update(PYTORCH_JOBS, {**job, "status": status}, "status")


async def _delete_job(context: Context, job: Object) -> None:
    """Delete a job whose time is over."""
    with suppress(NotFound):
        await context.client.delete(
            PYTORCH_JOBS,
            meta.name(job),
            meta.namespace(job),
            propagation_policy="Background",
            uid=meta.uid(job),
        )


def _why(job: Object, error: ApiError) -> str:
    return f"PyTorchJob {meta.name(job)} has failed because the API server refuses what it asks for: {error.message}"
