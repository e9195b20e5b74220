"""Keep for each ordinal of a StatefulSet one pod with a name, a hostname and claims that stay its own.

Watches stateful sets, their pods, claims and revisions; writes pods, claims, revisions and the status. Follows
upstream's pkg/controller/statefulset/stateful_set.go and stateful_pod_control.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.client.protocol import Object
from proa.controllers.statefulset.identity import find_member, is_member, revision_name
from proa.controllers.statefulset.plan import Birth, Plan, Revisions, plan
from proa.controllers.statefulset.status import status_of
from proa.objects import meta
from proa.objects.errors import AlreadyExists, ApiError, NotFound
from proa.objects.resource import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from proa.reconcile.controller_revisions import (
    claim_revisions,
    delete_revisions,
    ensure_revision,
    find_revision,
    not_live,
)
from proa.reconcile.ownership import apply_claims, candidates, claimant_keys, plan_claims, selector_of
from proa.reconcile.pod_control import is_namespace_terminating, seconds_until_available, slow_start
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch, no_keys

NAME = "statefulset"
HASH_LABEL = "controller.kubernetes.io/hash"
"""What tells revisions apart; their pods name the whole revision."""


def _keys_of_pod(pod: Object, caches: Caches) -> Iterable[Key]:
    return claimant_keys(pod, "StatefulSet", caches(STATEFUL_SETS))


def _keys_of_claim(claim: Object, caches: Caches) -> Iterable[Key]:
    """Name the sets whose claim it may be: of `data-my-db-0` those called `my-db` and `db`."""
    member = find_member(meta.name(claim))
    rest = member.set_name if member is not None else ""
    while "-" in rest:
        _, _, rest = rest.partition("-")
        if caches(STATEFUL_SETS).get(rest, meta.namespace(claim)) is not None:
            yield Key(meta.namespace(claim), rest)


WATCHES = (
    Watch(STATEFUL_SETS),
    Watch(PODS, find_keys=_keys_of_pod),
    Watch(PERSISTENT_VOLUME_CLAIMS, find_keys=_keys_of_claim),
    Watch(CONTROLLER_REVISIONS, keys_of=no_keys),
)


async def reconcile(context: Context, key: Key) -> Result:
    """Claim pods and revisions, take the next step, write the status, forget old revisions."""
    stateful_set = context.caches(STATEFUL_SETS).get(key.name, key.namespace)
    if stateful_set is None:
        return DONE
    history = await claim_revisions(context, stateful_set, STATEFUL_SETS)
    pods = await _claim_pods(context, stateful_set)
    if meta.is_deleting(stateful_set) and find_revision(stateful_set, history)[0] is None:
        return DONE  # its revisions are going already: make no others
    update, collisions = await ensure_revision(
        context.client, stateful_set, STATEFUL_SETS, history, HASH_LABEL
    )
    revisions = Revisions(_current(stateful_set, history, update), update)
    claims = context.caches(PERSISTENT_VOLUME_CLAIMS)
    now = context.now()  # one moment: what is not available yet must be looked at again
    decided = plan(stateful_set, pods, revisions, lambda name: claims.get(name, key.namespace), now)
    error = await _apply(context, stateful_set, decided)
    if decided != Plan():
        pods = [*context.caches(PODS).by_index("controller", meta.uid(stateful_set))]
    status = status_of(stateful_set, pods, revisions, collisions, now)
    await _write_status(context, stateful_set, status)
    if not meta.is_deleting(stateful_set):
        await _forget(context, stateful_set, pods, revisions, history)
    if error is not None and not is_namespace_terminating(error):
        raise error
    minimum = int(stateful_set["spec"].get("minReadySeconds") or 0)
    return Result(requeue_after=seconds_until_available(pods, minimum, now))


async def _claim_pods(context: Context, stateful_set: Object) -> list[Object]:
    """Return the pods that the set owns; orphans are adopted where their names are of the set too."""
    selector = selector_of(stateful_set)
    found = [
        pod
        for pod in candidates(context.caches(PODS), stateful_set, selector)
        if is_member(stateful_set, pod)
    ]
    claims = plan_claims(stateful_set, selector, found)
    return await apply_claims(context.client, stateful_set, STATEFUL_SETS, PODS, claims)


def _current(stateful_set: Object, history: Iterable[Object], update: Object) -> Object:
    """Return the revision that the status calls current, or else the one to update to."""
    name = (stateful_set.get("status") or {}).get("currentRevision")
    return next((revision for revision in history if meta.name(revision) == name), update)


async def _apply(context: Context, stateful_set: Object, decided: Plan) -> ApiError | None:
    """Do it, in the plan's order, until something is refused; return the first refusal."""

    async def create(index: int) -> None:
        await _create(context, stateful_set, decided.create[index])

    async def furnish(index: int) -> None:
        await _create_claims(context, stateful_set, decided.furnish[index])

    async def reown(index: int) -> None:
        await _reown(context, stateful_set, decided.reown[index])

    async def correct(index: int) -> None:
        await _correct(context, stateful_set, decided.correct[index])

    async def delete(index: int) -> None:
        await _delete(context, stateful_set, decided.delete[index])

    for items, act in zip(decided, (create, furnish, reown, correct, delete), strict=True):
        _, error = await slow_start(len(items), act)
        if error is not None:
            return error
    return None


async def _create(context: Context, stateful_set: Object, birth: Birth) -> None:
    try:
        await _create_claims(context, stateful_set, birth)
        await context.client.create(PODS, birth.pod, meta.namespace(stateful_set))
        _tell_conflicts(context, stateful_set, birth)
    except AlreadyExists:
        raise
    except ApiError as error:
        _tell_pod(context, stateful_set, "create", birth.pod, error)
        raise
    _tell_pod(context, stateful_set, "create", birth.pod)


def _tell_conflicts(context: Context, stateful_set: Object, birth: Birth) -> None:
    for name in birth.conflicts:
        message = (
            f"PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging controller, "
            "the retention policy is ignored for this claim"
        )
        context.events.event(stateful_set, "Warning", "ConflictingController", message)


async def _create_claims(context: Context, stateful_set: Object, birth: Birth) -> None:
    """Make the claims that a pod lacks; raise ApiError where one is refused, or going."""
    for claim in birth.claims:
        try:
            await context.client.create(PERSISTENT_VOLUME_CLAIMS, claim, meta.namespace(stateful_set))
        except AlreadyExists:
            continue
        except ApiError as error:
            _tell_claim(context, stateful_set, birth.pod, claim, error)
            error.message = f"failed to create PVC {meta.name(claim)}: {error.message}"
            raise
        _tell_claim(context, stateful_set, birth.pod, claim)
    if birth.refusal:
        raise ApiError(birth.refusal)


async def _reown(context: Context, stateful_set: Object, claim: Object) -> None:
    try:
        await context.client.update(PERSISTENT_VOLUME_CLAIMS, claim)
    except NotFound:
        return


async def _correct(context: Context, stateful_set: Object, pod: Object) -> None:
    try:
        await context.client.update(PODS, pod)
    except ApiError as error:
        _tell_pod(context, stateful_set, "update", pod, error)
        raise
    _tell_pod(context, stateful_set, "update", pod)


async def _delete(context: Context, stateful_set: Object, pod: Object) -> None:
    try:
        await context.client.delete(PODS, meta.name(pod), meta.namespace(pod), uid=meta.uid(pod))
    except NotFound:
        return
    except ApiError as error:
        _tell_pod(context, stateful_set, "delete", pod, error)
        raise
    _tell_pod(context, stateful_set, "delete", pod)


def _tell_pod(
    context: Context, stateful_set: Object, verb: str, pod: Object, error: ApiError | None = None
) -> None:
    what = f"{verb} Pod {meta.name(pod)} in StatefulSet {meta.name(stateful_set)}"
    _tell(context, stateful_set, verb, f"{what} successful", what, error)


def _tell_claim(
    context: Context, stateful_set: Object, pod: Object, claim: Object, error: ApiError | None = None
) -> None:
    of = f"Pod {meta.name(pod)} in StatefulSet {meta.name(stateful_set)}"
    success = f"create Claim {meta.name(claim)} {of} success"
    _tell(context, stateful_set, "create", success, f"create Claim {meta.name(claim)} for {of}", error)


def _tell(
    context: Context, stateful_set: Object, verb: str, success: str, what: str, error: ApiError | None
) -> None:
    if error is None:
        context.events.event(stateful_set, "Normal", f"Successful{verb.title()}", success)
    elif not is_namespace_terminating(error):
        message = f"{what} failed error: {error.message}"
        context.events.event(stateful_set, "Warning", f"Failed{verb.title()}", message)


async def _write_status(context: Context, stateful_set: Object, status: Object) -> None:
    if status == (stateful_set.get("status") or {}):
        return
    try:
        await context.client.update(STATEFUL_SETS, {**stateful_set, "status": status}, subresource="status")
    except NotFound:
        return


async def _forget(
    context: Context,
    stateful_set: Object,
    pods: Sequence[Object],
    revisions: Revisions,
    history: Sequence[Object],
) -> None:
    """Delete the oldest revisions of which nothing is left, beyond revisionHistoryLimit."""
    limit = stateful_set["spec"].get("revisionHistoryLimit")
    if limit is None or limit < 0:
        return
    live = {*map(meta.name, revisions), *map(revision_name, pods)}
    past = not_live(history, live)
    await delete_revisions(context.client, past[: max(0, len(past) - limit)])
