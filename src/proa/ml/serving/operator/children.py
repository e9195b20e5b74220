"""Have what an InferenceService needs be there as it is wanted, and nothing else that it owns of these kinds.

A child is written again where what it is wanted to be has changed (a hash on it tells), or where somebody else changed
what it says. Nothing is taken from another owner.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from proa.client.protocol import Client, Object
from proa.ml.serving.kinds import INFERENCE_SERVICES
from proa.objects import meta
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import Resource

CHILD_HASH = "serving.proa.dev/wanted"


class NotOwned(Exception):
    """There is an object of a name that is needed, and it is somebody else's."""


class Changes(NamedTuple):
    """What has to be done for the children of one kind. What is replaced is created again as something else."""

    create: tuple[Object, ...]
    update: tuple[Object, ...]
    replace: tuple[Object, ...]
    delete: tuple[Object, ...]

    def without_deletes(self) -> Changes:
        """Return these but for what is not wanted any more."""
        return self._replace(delete=())


def owned(
    owner: Object, child: Object, *, unhashed: Iterable[str] = (), kind: Resource = INFERENCE_SERVICES
) -> Object:
    """Return a child with its owner, of that kind, and a hash of what it is wanted to be but for `unhashed` of spec."""
    metadata = {
        **child["metadata"],
        "namespace": meta.namespace(owner),
        "ownerReferences": [meta.make_owner_reference(owner, kind)],
    }
    whole = {**child, "metadata": metadata}
    skipped = frozenset(unhashed)
    spec = {key: value for key, value in (child.get("spec") or {}).items() if key not in skipped}
    encoded = orjson.dumps({**whole, "spec": spec}, option=orjson.OPT_SORT_KEYS)
    metadata["annotations"] = {
        **meta.annotations(child),
        CHILD_HASH: hashlib.sha256(encoded).hexdigest()[:16],
    }
    return whole


def plan_children(
    wanted: Iterable[Object],
    found: Iterable[Object],
    *,
    kept_fields: Iterable[str] = (),
    is_checked: bool = True,
) -> Changes:
    """Return what to do; `found` are the owner's own.

    Fields of `spec` that are kept, and that what is wanted does not name, are as they are. Where it is not `is_checked`
    what others change is not put right: what the server makes of quantities looks like a change.
    """
    there = {meta.name(one): one for one in found if not meta.is_deleting(one)}
    create, update, replace = [], [], []
    for child in wanted:
        known = there.pop(meta.name(child), None)
        if known is None:
            create.append(child)
        elif (known.get("spec") or {}).get("type") != (child.get("spec") or {}).get("type"):
            replace.append(known)
            create.append(child)
        elif _differs(known, child, is_checked):
            update.append(_changed(known, child, kept_fields))
    return Changes(tuple(create), tuple(update), tuple(replace), tuple(there.values()))


async def carry_out(client: Client, owner: Object, resource: Resource, changes: Changes) -> None:
    """Delete, then update and create; raise NotOwned, ApiError."""
    namespace = meta.namespace(owner)
    await asyncio.gather(*(_delete(client, resource, one) for one in (*changes.replace, *changes.delete)))
    await asyncio.gather(
        *(client.update(resource, one) for one in changes.update),
        *(create(client, owner, resource, one, namespace) for one in changes.create),
    )


async def create(client: Client, owner: Object, resource: Resource, child: Object, namespace: str) -> Object:
    """Create and return a child, or what is there of its name and is the owner's; raise NotOwned, ApiError."""
    try:
        return await client.create(resource, child, namespace)
    except AlreadyExists:
        found = await client.get(resource, meta.name(child), namespace)
        if meta.is_controlled_by(found, owner):
            return found
        words = f'There is an existing {resource.kind} "{meta.name(child)}" that we do not own.'
        raise NotOwned(f"{words} Delete it, or choose another name.") from None


async def _delete(client: Client, resource: Resource, child: Object) -> None:
    try:
        await client.delete(
            resource,
            meta.name(child),
            meta.namespace(child),
            propagation_policy="Background",
            uid=meta.uid(child),
        )
    except NotFound:
        return


def _differs(known: Object, child: Object, is_checked: bool) -> bool:
    if meta.annotations(known).get(CHILD_HASH) != meta.annotations(child)[CHILD_HASH]:
        return True
    return is_checked and not all(
        is_within(child[key], known.get(key)) for key in child if key not in ("kind", "apiVersion")
    )


def is_within(wanted: Any, found: Any) -> bool:
    """Tell whether all that is wanted is found; other fields do not matter, lengths of lists do."""
    if wanted == found:
        return True
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            is_within(value, found.get(key)) for key, value in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(is_within(one, other) for one, other in zip(wanted, found, strict=True))
        )
    return False


def _changed(known: Object, child: Object, kept_fields: Iterable[str]) -> Object:
    """Return what is there with what is wanted: allocated fields of a Service stay, and the fields that are kept."""
    metadata = {
        **known["metadata"],
        "labels": {**meta.labels(known), **meta.labels(child)},
        "annotations": {**meta.annotations(known), **meta.annotations(child)},
        "ownerReferences": child["metadata"]["ownerReferences"],
    }
    changed = {**known, **child, "metadata": metadata}
    if "spec" in child:
        spec, before = dict(child["spec"]), known.get("spec") or {}
        for field in (*kept_fields, "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if field in before and field not in spec:
                spec[field] = before[field]
        changed["spec"] = spec
    return changed
