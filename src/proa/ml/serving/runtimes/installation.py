"""See that a cluster has the runtimes and the configuration of serving: made once, runtimes renewed by a newer version.

What an administrator has taken away since stays away until then, and what is somebody else's (without our label) stays
as it is. The configuration is its administrator's once it is there.
"""

from __future__ import annotations

from contextlib import suppress

from proa.client.protocol import Client, Object
from proa.ml.serving.kinds import CLUSTER_SERVING_RUNTIMES, CONFIG_MAP, NAMESPACE
from proa.ml.serving.runtimes.shipped import (
    OURS,
    VERSION_ANNOTATION,
    make_config_map,
    make_namespace,
    make_runtimes,
    version_of,
)
from proa.objects import meta
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import CONFIG_MAPS, NAMESPACES


async def install(client: Client, image: str, ingress: Object) -> None:
    """Make and renew it; raise ApiError. `image` has the model server, `ingress` is the configuration's section.

    The ConfigMap tells what was made, and comes last: where it is, all has been made.
    """
    runtimes = make_runtimes(image)
    version = version_of(runtimes)
    found = await _find_config_map(client)
    if found is not None and meta.annotations(found).get(VERSION_ANNOTATION) == version:
        return
    for runtime in runtimes:
        await _ensure(client, runtime)
    if found is None:
        with suppress(AlreadyExists):
            await client.create(NAMESPACES, make_namespace())
        await client.create(CONFIG_MAPS, make_config_map(ingress, version), NAMESPACE)
        return
    annotations = {**meta.annotations(found), VERSION_ANNOTATION: version}
    await client.update(CONFIG_MAPS, {**found, "metadata": {**found["metadata"], "annotations": annotations}})


async def _find_config_map(client: Client) -> Object | None:
    try:
        return await client.get(CONFIG_MAPS, CONFIG_MAP, NAMESPACE)
    except NotFound:
        return None


async def _ensure(client: Client, runtime: Object) -> None:
    try:
        await client.create(CLUSTER_SERVING_RUNTIMES, runtime)
    except AlreadyExists:
        found = await client.get(CLUSTER_SERVING_RUNTIMES, meta.name(runtime))
        if not OURS.items() <= meta.labels(found).items():
            return
        metadata = {
            **found["metadata"],
            "labels": {**meta.labels(found), **meta.labels(runtime)},
            "annotations": {**meta.annotations(found), **meta.annotations(runtime)},
        }
        await client.update(CLUSTER_SERVING_RUNTIMES, {**found, **runtime, "metadata": metadata})
