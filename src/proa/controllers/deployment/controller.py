"""Roll a Deployment's pods over to its present template, through ReplicaSets, as its strategy allows.

Watches deployments, their replica sets, and (for Recreate) their pods; writes replica sets, the revision
annotation and the status. Follows upstream's pkg/controller/deployment/deployment_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.controllers.deployment import history, rollout, status
from proa.controllers.deployment.rollback import plan_rollback
from proa.controllers.deployment.rollout import replicas_of
from proa.objects import meta
from proa.objects.errors import AlreadyExists, ApiError, Conflict, NotFound
from proa.objects.pods import is_terminated
from proa.objects.resource import DEPLOYMENTS, PODS, REPLICA_SETS
from proa.reconcile.ownership import (
    apply_claims,
    candidates,
    claimant_keys,
    owner_keys,
    plan_claims,
    selector_of,
)
from proa.reconcile.pod_control import is_namespace_terminating
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "deployment"


def _keys_of_replica_set(replica_set: Object, caches: Caches) -> Iterable[Key]:
    return claimant_keys(replica_set, "Deployment", caches(DEPLOYMENTS))


def _keys_of_pod(pod: Object, caches: Caches) -> Iterable[Key]:
    """Name the Recreate Deployment that may be waiting for this pod's end."""
    for owner in owner_keys(pod, "ReplicaSet"):
        replica_set = caches(REPLICA_SETS).get(owner.name, owner.namespace)
        for key in owner_keys(replica_set, "Deployment") if replica_set is not None else ():
            deployment = caches(DEPLOYMENTS).get(key.name, key.namespace)
            if deployment is not None and not rollout.is_rolling(deployment):
                yield key


WATCHES = (
    Watch(DEPLOYMENTS),
    Watch(REPLICA_SETS, find_keys=_keys_of_replica_set),
    Watch(PODS, find_keys=_keys_of_pod),
)


class Plan(NamedTuple):
    """What to do next. `update` are changed copies; `news` is for the Progressing condition.

    While the Deployment is paused or scaled, progress is not judged (`is_resizing`).
    """

    new: Object | None = None
    old: tuple[Object, ...] = ()
    create: Object | None = None
    update: tuple[Object, ...] = ()
    delete: tuple[Object, ...] = ()
    news: tuple[str, str] | None = None
    is_resizing: bool = False


def plan(deployment: Object, replica_sets: Sequence[Object], is_old_running: bool) -> Plan:
    """Decide the next step from the Deployment and all ReplicaSets that it owns.

    `is_old_running` tells whether any pod of another ReplicaSet than the new one has not ended yet.
    """
    new = history.find_new(deployment, replica_sets)
    old = tuple(rs for rs in replica_sets if new is None or meta.uid(rs) != meta.uid(new))
    decided = Plan(new=new, old=old)
    if meta.is_deleting(deployment):
        return decided
    paused = deployment["spec"].get("paused", False)
    revision = history.next_revision(old)
    is_resizing = paused or rollout.is_scaling(deployment, replica_sets)
    if is_resizing:
        sizes = rollout.plan_scaling(deployment, new, old)
    elif new is None and (rollout.is_rolling(deployment) or not _is_emptying(old, is_old_running)):
        return decided._replace(create=_make_new(deployment, old, revision))
    elif not rollout.is_rolling(deployment):
        sizes = rollout.plan_recreate(deployment, new, old, is_old_running)
    else:
        sizes = rollout.plan_rolling(deployment, new, old) if new is not None else {}
    return decided._replace(
        update=_updates(deployment, new, old, revision, sizes),
        delete=history.plan_cleanup(deployment, old) if paused or _was_complete(deployment) else (),
        news=_news_of_found(deployment, new),
        is_resizing=is_resizing,
    )


def _is_emptying(old: Iterable[Object], is_old_running: bool) -> bool:
    return is_old_running or any(replicas_of(rs) > 0 for rs in old)


def _make_new(deployment: Object, old: Sequence[Object], revision: int) -> Object:
    size = rollout.size_of_new(deployment, old, 0)
    return history.make_replica_set(deployment, size, rollout.bounds_of(deployment).most, revision)


def _updates(
    deployment: Object, new: Object | None, old: Sequence[Object], revision: int, sizes: rollout.Sizes
) -> tuple[Object, ...]:
    """Return the ReplicaSets that change: their size, the annotations that note it, the new one's revision."""
    changed = []
    for before in [*([new] if new is not None else []), *old]:
        after = history.with_revision(deployment, before, revision) if before is new else before
        size = sizes.get(meta.uid(before))
        after = after if size is None else _sized(deployment, after, size)
        if after is not before:
            changed.append(after)
    return tuple(changed)


def _sized(deployment: Object, replica_set: Object, size: int) -> Object:
    bounds = rollout.bounds_of(deployment)
    before = meta.annotations(replica_set)
    after = {**before, **history.replica_annotations(bounds.replicas, bounds.most)}
    if size == replicas_of(replica_set) and after == before:
        return replica_set
    return {
        **replica_set,
        "metadata": {**replica_set["metadata"], "annotations": after},
        "spec": {**replica_set["spec"], "replicas": size},
    }


def _was_complete(deployment: Object) -> bool:
    return status.is_complete(deployment, deployment.get("status") or {})


def _news_of_found(deployment: Object, new: Object | None) -> tuple[str, str] | None:
    if new is None or meta.find_condition(deployment, "Progressing") is not None:
        return None
    return "FoundNewReplicaSet", f'Found new replica set "{meta.name(new)}"'


async def reconcile(context: Context, key: Key) -> Result:
    """Claim the replica sets, take the next step, write revision and status."""
    deployment = context.caches(DEPLOYMENTS).get(key.name, key.namespace)
    if deployment is None:
        return DONE
    selector = selector_of(deployment)
    if selector.is_everything:
        message = "This deployment is selecting all pods. A non-empty selector is required."
        context.events.event(deployment, "Warning", "SelectingAll", message)
        return DONE
    claims = plan_claims(deployment, selector, candidates(context.caches(REPLICA_SETS), deployment, selector))
    replica_sets = await apply_claims(context.client, deployment, DEPLOYMENTS, REPLICA_SETS, claims)
    if not deployment["spec"].get("paused") and not meta.is_deleting(deployment):
        rollback = plan_rollback(deployment, replica_sets)
        if rollback is not None:
            context.events.event(deployment, *rollback.event)
            await context.client.update(DEPLOYMENTS, rollback.deployment)
            return DONE  # the change brings us back, with another template
    decided = plan(deployment, replica_sets, _is_old_running(context, deployment, replica_sets))
    try:
        decided = await _apply(context, deployment, decided)
    except _HashCollisionError:
        counted = {**(deployment.get("status") or {}), "collisionCount": _collisions(deployment) + 1}
        await context.client.update(DEPLOYMENTS, {**deployment, "status": counted}, subresource="status")
        return DONE  # the status change brings us back, with another hash
    except ApiError as error:
        if decided.create is None or isinstance(error, Conflict):
            raise
        if is_namespace_terminating(error):
            return DONE
        failed = f'Failed to create new replica set "{meta.name(decided.create)}": {error.message}'
        context.events.event(deployment, "Warning", "ReplicaSetCreateError", failed)
        await _write_status(context, deployment, decided._replace(news=("ReplicaSetCreateError", failed)))
        raise
    return await _write_status(context, deployment, decided)


class _HashCollisionError(Exception):
    """Another ReplicaSet has the name that the template's hash gives."""


def _collisions(deployment: Object) -> int:
    return int((deployment.get("status") or {}).get("collisionCount", 0))


def _is_old_running(context: Context, deployment: Object, replica_sets: Sequence[Object]) -> bool:
    if rollout.is_rolling(deployment):
        return False
    new = history.find_new(deployment, replica_sets)
    old = [rs for rs in replica_sets if new is None or meta.uid(rs) != meta.uid(new)]
    pods = context.caches(PODS)
    return any(not is_terminated(pod) for rs in old for pod in pods.by_index("controller", meta.uid(rs)))


async def _apply(context: Context, deployment: Object, decided: Plan) -> Plan:
    """Do it; return the plan with the replica sets as they are now."""
    new, old, news = decided.new, list(decided.old), decided.news
    if decided.create is not None:
        new = await _create(context, deployment, decided.create)
        news = ("NewReplicaSetCreated", f'Created new replica set "{meta.name(new)}"')
    for changed in decided.update:
        updated = await _update(context, deployment, changed)
        if new is not None and meta.uid(updated) == meta.uid(new):
            new = updated
        old = [updated if meta.uid(rs) == meta.uid(updated) else rs for rs in old]
    for surplus in decided.delete:
        try:
            await context.client.delete(
                REPLICA_SETS, meta.name(surplus), meta.namespace(surplus), uid=meta.uid(surplus)
            )
        except NotFound:
            continue
    return decided._replace(new=new, old=tuple(old), news=news)


async def _create(context: Context, deployment: Object, wanted: Object) -> Object:
    """Create the new ReplicaSet. One of that name that is ours and has the template is as good."""
    try:
        created = await context.client.create(REPLICA_SETS, wanted, meta.namespace(deployment))
    except AlreadyExists:
        existing = await context.client.get(REPLICA_SETS, meta.name(wanted), meta.namespace(wanted))
        if meta.is_controlled_by(existing, deployment) and history.find_new(deployment, [existing]):
            return existing
        raise _HashCollisionError from None
    if size := replicas_of(created):
        _tell_scaled(context, deployment, meta.name(created), 0, size)
    return created


async def _update(context: Context, deployment: Object, changed: Object) -> Object:
    before = context.caches(REPLICA_SETS).get(meta.name(changed), meta.namespace(changed))
    updated = await context.client.update(REPLICA_SETS, changed)
    if before is not None and replicas_of(before) != replicas_of(updated):
        _tell_scaled(context, deployment, meta.name(updated), replicas_of(before), replicas_of(updated))
    return updated


def _tell_scaled(context: Context, deployment: Object, name: str, before: int, after: int) -> None:
    direction = "up" if after > before else "down"
    message = f"Scaled {direction} replica set {name} from {before} to {after}"
    context.events.event(deployment, "Normal", "ScalingReplicaSet", message)


async def _write_status(context: Context, deployment: Object, decided: Plan) -> Result:
    """Write the revision and the status, where they differ; say when progress must be looked at again."""
    now = context.now()
    try:
        if decided.new is not None and not meta.is_deleting(deployment):
            deployment = await _write_revision(context, deployment, decided.new)
        observed = status.status_of(
            deployment, decided.new, decided.old, decided.news, now, judges=not decided.is_resizing
        )
        if observed != deployment.get("status"):
            changed = {**deployment, "status": observed}
            await context.client.update(DEPLOYMENTS, changed, subresource="status")
    except NotFound:
        return DONE
    return Result(requeue_after=status.seconds_until_deadline(deployment, observed, now))


async def _write_revision(context: Context, deployment: Object, new: Object) -> Object:
    revision = meta.annotations(new).get(history.REVISION)
    if revision is None or meta.annotations(deployment).get(history.REVISION) == revision:
        return deployment
    patch = {"metadata": {"uid": meta.uid(deployment), "annotations": {history.REVISION: revision}}}
    name, namespace = meta.name(deployment), meta.namespace(deployment)
    # As upstream, through the status: a write of annotations to the object itself would count as a generation.
    return await context.client.patch(DEPLOYMENTS, name, patch, namespace, subresource="status")
