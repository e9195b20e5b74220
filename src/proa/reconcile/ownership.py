"""Decide which objects a controller owns: adopt orphans that its selector matches, release what it no longer does.

Used by every controller with a selector. Follows upstream's pkg/controller/controller_ref_manager.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Client, Object
from proa.objects.errors import Invalid, NotFound
from proa.objects.meta import (
    controller_of,
    finalizers,
    is_deleting,
    labels,
    make_owner_reference,
    name,
    namespace,
    owner_references,
    resource_version,
    uid,
)
from proa.objects.resource import Resource
from proa.objects.selectors import LabelSelector, selector_from_dict
from proa.reconcile.protocol import Cache, Key


class Claims(NamedTuple):
    """`owned` already names the owner as its controller; `adopt` and `release` need a patch each."""

    owned: tuple[Object, ...]
    adopt: tuple[Object, ...]
    release: tuple[Object, ...]


def plan_claims(owner: Object, selector: LabelSelector, candidates: Iterable[Object]) -> Claims:
    """Sort `candidates` (of the owner's namespace) into owned, to adopt and to release.

    An owner that is being deleted adopts and releases nothing, and what is being deleted is left as it is.
    """
    owned, adopt, release = [], [], []
    owner_uid, is_staying = uid(owner), not is_deleting(owner)
    for candidate in candidates:
        controller = controller_of(candidate)
        matches = selector.matches(labels(candidate))
        if controller is None:
            if matches and is_staying and not is_deleting(candidate):
                adopt.append(candidate)
        elif controller.get("uid") == owner_uid:
            if matches:
                owned.append(candidate)
            elif is_staying:
                release.append(candidate)
    return Claims(tuple(owned), tuple(adopt), tuple(release))


def candidates(cache: Cache, owner: Object, selector: LabelSelector) -> list[Object]:
    """Return what the owner may claim: all that it controls, and orphans of its namespace that may match."""
    return [*cache.by_index("controller", uid(owner)), *_find_orphans(cache, namespace(owner), selector)]


def _find_orphans(cache: Cache, space: str, selector: LabelSelector) -> Sequence[Object]:
    """Return those that have a label which is asked for, or all where the selector names no value."""
    if selector.nothing:
        return ()
    for requirement in selector.requirements:
        if requirement.operator in ("=", "==", "in") and len(requirement.values) == 1:
            return cache.by_index("orphan-label", f"{space}/{requirement.key}={requirement.values[0]}")
    return cache.by_index("uncontrolled", space)


def owner_keys(obj: Object, kind: str) -> list[Key]:
    """Return the key of obj's controller where it is of that kind: for `Watch.keys_of`."""
    controller = controller_of(obj)
    if controller is None or controller.get("kind") != kind:
        return []
    return [Key(namespace(obj), controller["name"])]


def selector_of(owner: Object) -> LabelSelector:
    """Return spec.selector of a kind that has a LabelSelector there."""
    return selector_from_dict(owner["spec"].get("selector"))


def claimant_keys(
    obj: Object, kind: str, owners: Cache, read_selector: Callable[[Object], LabelSelector] = selector_of
) -> list[Key]:
    """Return the key of obj's controller, or of all `owners` whose selector matches an orphan."""
    if controller_of(obj) is not None:
        return owner_keys(obj, kind)
    if not labels(obj):
        return []
    return [
        Key(namespace(owner), name(owner))
        for owner in owners.list(namespace(obj))
        if read_selector(owner).matches(labels(obj))
    ]


async def apply_claims(
    client: Client,
    owner: Object,
    owner_resource: Resource,
    resource: Resource,
    claims: Claims,
    *,
    finalizer: str = "",
) -> list[Object]:
    """Adopt and release as planned; return all that is owned now. Raises Conflict when a candidate changed.

    What is adopted gets `finalizer`, if one is given; what is released loses it.

    Before the first adoption the owner is read from the server: one that is gone or going adopts nothing.
    """
    await asyncio.gather(*(_release(client, owner, resource, obj, finalizer) for obj in claims.release))
    if not claims.adopt or not await _may_adopt(client, owner, owner_resource):
        return list(claims.owned)
    adopted = await asyncio.gather(
        *(_adopt(client, owner, owner_resource, resource, obj, finalizer) for obj in claims.adopt)
    )
    return [*claims.owned, *(obj for obj in adopted if obj is not None)]


async def _may_adopt(client: Client, owner: Object, owner_resource: Resource) -> bool:
    try:
        fresh = await client.get(owner_resource, name(owner), namespace(owner))
    except NotFound:
        return False
    return uid(fresh) == uid(owner) and not is_deleting(fresh)


async def _adopt(
    client: Client,
    owner: Object,
    owner_resource: Resource,
    resource: Resource,
    obj: Object,
    finalizer: str,
) -> Object | None:
    others = [ref for ref in owner_references(obj) if ref.get("uid") != uid(owner)]
    references = [*others, make_owner_reference(owner, owner_resource)]
    kept = [entry for entry in finalizers(obj) if entry != finalizer]
    return await _patch(client, resource, obj, references, [*kept, finalizer] if finalizer else kept)


async def _release(client: Client, owner: Object, resource: Resource, obj: Object, finalizer: str) -> None:
    references = [ref for ref in owner_references(obj) if ref.get("uid") != uid(owner)]
    kept = [entry for entry in finalizers(obj) if entry != finalizer]
    await _patch(client, resource, obj, references, kept)


async def _patch(
    client: Client, resource: Resource, obj: Object, references: list[Object], kept: list[str]
) -> Object | None:
    patch = {
        "metadata": {
            "uid": uid(obj),
            "resourceVersion": resource_version(obj),
            "ownerReferences": references or None,
            "finalizers": kept or None,
        }
    }
    try:
        return await client.patch(resource, name(obj), patch, namespace(obj))
    except (NotFound, Invalid):  # gone, or another object of that name (its uid differs)
        return None
