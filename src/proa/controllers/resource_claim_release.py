"""Give devices back: forget the pods that a claim was reserved for once they have ended, and free an unused claim.

A claim without consumers loses its devices, and then the finalizer that kept it; one that was made for a pod which
will not run again is deleted. Watches claims and pods; writes claims. Follows upstream's
pkg/controller/resourceclaim/controller.go (syncClaim).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import PODS, RESOURCE_CLAIMS
from proa.objects.resource_claims import FINALIZER, allocation_of, claim_names, consumers_of, is_done
from proa.reconcile.protocol import DONE, Context, Key, Result, TerminalError, Watch

NAME = "resourceclaim-release"
COMPONENT = "resource_claim"
ACCOUNT = "resource-claim-controller"


class Plan(NamedTuple):
    """What becomes of a claim: its new status and its new finalizers, None where they stay; `delete` it or not."""

    status: Object | None = None
    finalizers: list[str] | None = None
    delete: bool = False


def _keys_of_pod(pod: Object) -> Iterable[Key]:
    return (Key(meta.namespace(pod), name) for name, _ in claim_names(pod))


def _is_old(old: Object, new: Object) -> bool:
    return is_done(old) == is_done(new)


WATCHES: Sequence[Watch] = (
    Watch(RESOURCE_CLAIMS),
    Watch(PODS, keys_of=_keys_of_pod, ignores=_is_old),
)


def plan(claim: Object, gone: frozenset[str], owner: Object | None) -> Plan:
    """Decide about a claim. `gone` are the uids of consumers that have ended; `owner` the pod of that name."""
    consumers = consumers_of(claim)
    staying = [each for each in consumers if each["uid"] not in gone]
    finalizers = meta.finalizers(claim)
    is_ours = FINALIZER in finalizers
    status: Object | None = None
    is_freed = False
    if len(staying) < len(consumers):
        status = {**claim["status"], "reservedFor": staying}
        is_freed = not staying and is_ours
    elif is_ours and meta.is_deleting(claim) and not staying:
        is_freed = True
        status = claim["status"] if allocation_of(claim) is not None else None
    if is_freed and status is not None:
        status = {key: value for key, value in status.items() if key not in ("allocation", "reservedFor")}
    kept = [each for each in finalizers if each != FINALIZER] if is_freed else None
    return Plan(status, kept, not staying and _is_left_over(claim, owner))


def _is_left_over(claim: Object, owner: Object | None) -> bool:
    """Tell whether a claim was made for a pod that will not run again."""
    reference = meta.controller_of(claim)
    if reference is None or reference.get("kind") != "Pod" or owner is None or meta.is_deleting(claim):
        return False
    return meta.uid(owner) != reference["uid"] or is_done(owner)


async def reconcile(context: Context, key: Key) -> Result:
    """Bring one claim's consumers up to date."""
    claim = context.caches(RESOURCE_CLAIMS).get(key.name, key.namespace)
    if claim is None:
        return DONE
    gone = frozenset([each["uid"] for each in consumers_of(claim) if await _is_gone(context, claim, each)])
    reference = meta.controller_of(claim)
    owner = context.caches(PODS).get(reference["name"], key.namespace) if reference else None
    decided = plan(claim, gone, owner)
    try:
        if decided.status is not None:
            claim = await context.client.update(
                RESOURCE_CLAIMS, {**claim, "status": decided.status}, "status"
            )
        if decided.finalizers is not None:
            metadata = {**claim["metadata"], "finalizers": decided.finalizers}
            await context.client.update(RESOURCE_CLAIMS, {**claim, "metadata": metadata})
        if decided.delete:
            await context.client.delete(RESOURCE_CLAIMS, key.name, key.namespace, uid=meta.uid(claim))
    except NotFound:  # it went meanwhile
        return DONE
    return DONE


async def _is_gone(context: Context, claim: Object, consumer: Object) -> bool:
    """Tell whether a consumer has ended; a pod that the cache lacks may be newer than the cache."""
    if consumer.get("apiGroup") or consumer["resource"] != "pods":
        raise TerminalError(f"unsupported ReservedFor entry: {consumer} (ResourceClaim {meta.key_of(claim)})")
    pod = context.caches(PODS).get(consumer["name"], meta.namespace(claim))
    if pod is not None:
        return bool(meta.uid(pod) != consumer["uid"]) or is_done(pod)
    try:
        fresh = await context.client.get(PODS, consumer["name"], meta.namespace(claim))
    except NotFound:
        return True
    return bool(meta.uid(fresh) != consumer["uid"])
