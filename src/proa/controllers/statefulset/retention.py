"""Say who owns the claims of a StatefulSet, so that the garbage collector deletes them when the set wants it.

`whenDeleted: Delete` makes the set the owner of its claims, `whenScaled: Delete` makes a pod that is scaled away
the owner of its own. What others control is left alone. Follows upstream's
pkg/controller/statefulset/stateful_set_utils.go (isClaimOwnerUpToDate, updateClaimOwnerRefForSetAndPod).
"""

from __future__ import annotations

from collections.abc import Iterable

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.resource import PODS, STATEFUL_SETS, Resource

Owner = tuple[Object, Resource]


def with_owners(stateful_set: Object, pod: Object, claim: Object, is_wanted: bool) -> Object:
    """Return the claim of a pod with the owners that the policy asks for; the very same object where it has them.

    `is_wanted` tells whether the pod's ordinal is one that the set has, or is being scaled away.
    """
    ours: tuple[Owner, Owner] = ((stateful_set, STATEFUL_SETS), (pod, PODS))
    references = meta.owner_references(claim)
    if any(_is_stale(ref, *owner) for owner in ours for ref in references):
        return claim  # a set or pod of these names that is gone had it: the garbage collector sees to it
    kept = [ref for ref in references if not any(_names(ref, *owner) for owner in ours)]
    wanted = [] if has_other_controller(stateful_set, pod, claim) else _wanted(stateful_set, pod, is_wanted)
    present = [ref for ref in references if ref not in kept]
    if _identities(present) == _identities(wanted) and all(ref.get("controller") for ref in present):
        return claim
    return {**claim, "metadata": {**claim["metadata"], "ownerReferences": [*kept, *wanted]}}


def first_owners(stateful_set: Object) -> list[Object]:
    """Return the owner references of a claim that is made for a pod which the set wants."""
    return _wanted(stateful_set, {}, is_wanted=True)


def has_other_controller(stateful_set: Object, pod: Object, claim: Object) -> bool:
    """Tell whether somebody else controls a claim of a set that would delete it."""
    if not _deletes(stateful_set, "whenDeleted") and not _deletes(stateful_set, "whenScaled"):
        return False
    return any(
        ref.get("controller") and ref.get("uid") not in (meta.uid(stateful_set), meta.uid(pod))
        for ref in meta.owner_references(claim)
    )


def is_stale(stateful_set: Object, pod_name: str, claim: Object) -> bool:
    """Tell whether a claim is about to go with a pod of the same name, so that a new one must not take it."""
    return _deletes(stateful_set, "whenScaled") and any(
        ref.get("kind") == "Pod" and ref.get("apiVersion") == "v1" and ref.get("name") == pod_name
        for ref in meta.owner_references(claim)
    )


def _wanted(stateful_set: Object, pod: Object, is_wanted: bool) -> list[Object]:
    if not is_wanted and _deletes(stateful_set, "whenScaled"):
        return [meta.make_owner_reference(pod, PODS)]
    if _deletes(stateful_set, "whenDeleted"):
        return [meta.make_owner_reference(stateful_set, STATEFUL_SETS)]
    return []


def _deletes(stateful_set: Object, when: str) -> bool:
    policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return bool(policy.get(when) == "Delete")


def _identities(references: Iterable[Object]) -> set[str]:
    return {ref.get("uid", "") for ref in references}


def _names(reference: Object, owner: Object, resource: Resource) -> bool:
    """Tell whether the reference names this owner, whatever its uid."""
    named = (reference.get("apiVersion"), reference.get("kind"), reference.get("name"))
    return named == (resource.api_version, resource.kind, meta.name(owner))


def _is_stale(reference: Object, owner: Object, resource: Resource) -> bool:
    return _names(reference, owner, resource) and reference.get("uid") != meta.uid(owner)
