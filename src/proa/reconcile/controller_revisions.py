"""Keep the pod templates that a StatefulSet or DaemonSet has had as ControllerRevisions, numbered in order.

The data of a revision is a patch that restores its template, so that `kubectl rollout undo` can send it as it
is. Going back to a template raises the number of its revision instead of making another. Follows upstream's
pkg/controller/history/controller_history.go and getPatch in pkg/controller/{statefulset,daemon}.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence

from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import CONTROLLER_REVISIONS, Resource
from proa.reconcile.ownership import apply_claims, candidates, plan_claims, selector_of
from proa.reconcile.protocol import Context

POD_HASH_LABEL = "controller-revision-hash"
"""What tells of a pod which revision it was made of."""
MAX_PREFIX = 223
"""So much of the owner's name begins the revision's, which may have 253 characters."""


async def claim_revisions(context: Context, owner: Object, owner_resource: Resource) -> list[Object]:
    """Return the owner's revisions, the oldest first; orphans that its selector matches are adopted."""
    selector = selector_of(owner)
    found = candidates(context.caches(CONTROLLER_REVISIONS), owner, selector)
    claims = plan_claims(owner, selector, found)._replace(release=())
    return by_number(await apply_claims(context.client, owner, owner_resource, CONTROLLER_REVISIONS, claims))


async def ensure_revision(
    client: Client, owner: Object, owner_resource: Resource, history: Sequence[Object], hash_label: str
) -> tuple[Object, int]:
    """Return the revision of the owner's present template, made or renumbered where need be, and collisions.

    `history` is sorted by number. The second value is for status.collisionCount: how often a name was taken
    by a revision of another template.
    """
    collisions = int((owner.get("status") or {}).get("collisionCount") or 0)
    found, number = find_revision(owner, history)
    if found is None:
        return await _create(client, owner, owner_resource, number, hash_label, collisions)
    if number_of(found) != number:
        found = await client.update(CONTROLLER_REVISIONS, {**found, "revision": number})
    return found, collisions


def find_revision(owner: Object, history: Sequence[Object]) -> tuple[Object | None, int]:
    """Return the revision that has the owner's present template, if any, and the number that it is to have."""
    data = make_data(owner)
    equal = [revision for revision in history if revision.get("data") == data]
    if equal and equal[-1] is history[-1]:
        return equal[-1], number_of(equal[-1])
    following = number_of(history[-1]) + 1 if history else 1
    return (equal[-1] if equal else None), following


def make_revision(
    owner: Object, owner_resource: Resource, number: int, hash_label: str, collisions: int
) -> Object:
    """Return a revision of the owner's present template. Its name ends in a hash that `collisions` varies."""
    data = make_data(owner)
    digest = make_hash(data, collisions)
    template_labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    return {
        "apiVersion": CONTROLLER_REVISIONS.api_version,
        "kind": CONTROLLER_REVISIONS.kind,
        "metadata": {
            "name": f"{meta.name(owner)[:MAX_PREFIX]}-{digest}",
            "namespace": meta.namespace(owner),
            "labels": {**template_labels, hash_label: digest},
            "annotations": dict(meta.annotations(owner)),
            "ownerReferences": [meta.make_owner_reference(owner, owner_resource)],
        },
        "data": data,
        "revision": number,
    }


def make_data(owner: Object) -> Object:
    """Return the strategic merge patch that restores the owner's present template."""
    return {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}


def template_of(revision: Object) -> Object:
    """Return the pod template that the revision keeps."""
    template = revision["data"]["spec"]["template"]
    return {key: value for key, value in template.items() if key != "$patch"}


def number_of(revision: Object) -> int:
    """Return the revision's number."""
    return int(revision.get("revision") or 0)


def by_number(revisions: Iterable[Object]) -> list[Object]:
    """Return the revisions in the order of their numbers; the older one first where those are equal."""
    return sorted(
        revisions,
        key=lambda one: (number_of(one), one["metadata"].get("creationTimestamp", ""), meta.name(one)),
    )


async def delete_revisions(client: Client, revisions: Iterable[Object]) -> None:
    """Delete revisions; gone already is fine."""
    for revision in revisions:
        try:
            await client.delete(
                CONTROLLER_REVISIONS, meta.name(revision), meta.namespace(revision), uid=meta.uid(revision)
            )
        except NotFound:
            continue


def not_live(history: Iterable[Object], live: Collection[str]) -> list[Object]:
    """Return the revisions whose names are not in `live`, in the order given."""
    return [revision for revision in history if meta.name(revision) not in live]


def make_hash(data: Object, collisions: int) -> str:
    """Return the FNV-1 hash of the data in letters that make no words (apimachinery/pkg/util/rand)."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + str(collisions)
    number = 2166136261
    for byte in text.encode():
        number = (number * 16777619 & 0xFFFFFFFF) ^ byte
    alphabet = meta.SUFFIX_ALPHABET
    return "".join(alphabet[ord(digit) % len(alphabet)] for digit in str(number))


async def _create(
    client: Client, owner: Object, owner_resource: Resource, number: int, hash_label: str, collisions: int
) -> tuple[Object, int]:
    while True:
        wanted = make_revision(owner, owner_resource, number, hash_label, collisions)
        namespace = meta.namespace(owner)
        try:
            return await client.create(CONTROLLER_REVISIONS, wanted, namespace), collisions
        except AlreadyExists:
            existing = await client.get(CONTROLLER_REVISIONS, meta.name(wanted), namespace)
        if existing.get("data") == wanted["data"]:
            return existing, collisions
        collisions += 1
