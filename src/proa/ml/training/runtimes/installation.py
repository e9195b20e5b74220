"""See that a cluster has what is shipped for training, of this version: made once, and renewed by a newer one.

What an administrator has taken away since stays away, and what is somebody else's (without our label) stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from proa.client.protocol import Client, Object
from proa.ml.training.kinds import CLUSTER_TRAINING_RUNTIMES, TRAINER_NAMESPACE
from proa.ml.training.runtimes.shipped import (
    OURS,
    PUBLIC,
    VERSION,
    VERSION_KEY,
    make_objects,
    make_public,
    make_runtimes,
)
from proa.objects import meta
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import CONFIG_MAPS, Resource


async def install(client: Client) -> None:
    """Make and renew it; raise ApiError."""
    await _install(client, make_objects())


async def install_runtimes(client: Client) -> None:
    """Make and renew the runtimes where somebody else has made the namespace and its roles; raise ApiError."""
    await _install(client, [(CLUSTER_TRAINING_RUNTIMES, runtime) for runtime in make_runtimes()])


async def _install(client: Client, objects: Sequence[tuple[Resource, Object]]) -> None:
    """The ConfigMap comes last: where it is, all has been made."""
    with suppress(NotFound):
        found = await client.get(CONFIG_MAPS, PUBLIC, TRAINER_NAMESPACE)
        if not _is_ours(found) or (found.get("data") or {}).get(VERSION_KEY) == VERSION:
            return
    for resource, obj in objects:
        await _ensure(client, resource, obj)
    await _ensure(client, CONFIG_MAPS, make_public())


async def _ensure(client: Client, resource: Resource, obj: Object) -> None:
    namespace = meta.namespace(obj) or None
    try:
        await client.create(resource, obj, namespace)
    except AlreadyExists:
        found = await client.get(resource, meta.name(obj), namespace)
        if _is_ours(found):
            metadata = {**found["metadata"], "labels": {**meta.labels(found), **meta.labels(obj)}}
            await client.update(resource, {**found, **obj, "metadata": metadata})


def _is_ours(obj: Object) -> bool:
    return OURS.items() <= meta.labels(obj).items()
