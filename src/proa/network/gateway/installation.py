"""See that a cluster has Gateway API's definitions, of this release or a newer one, and a GatewayClass to them."""

from __future__ import annotations

import asyncio

from proa.client.protocol import Client, Object
from proa.network.gateway.definitions import RELEASE_ANNOTATION, load_definitions
from proa.network.gateway.resources import GATEWAY_CLASSES
from proa.network.gateway.starter import CLASS_NAME
from proa.objects import meta
from proa.objects.errors import AlreadyExists, Conflict, NotFound
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS, Resource

LOOK_SECONDS = 0.05


async def install(client: Client, timeout_seconds: float) -> str:
    """Create or renew the definitions; return the release once all is served. Raise ApiError, TimeoutError."""
    definitions = load_definitions()
    for item in definitions.items:
        await ensure(client, item)
    async with asyncio.timeout(timeout_seconds):
        for item in definitions.items:
            await _until_established(client, item["metadata"]["name"])
        await _until_there(client, GATEWAY_CLASSES, CLASS_NAME)
    return definitions.release


async def ensure(client: Client, wanted: Object) -> None:
    """Create a definition, or bring an older one to ours."""
    name = wanted["metadata"]["name"]
    while True:
        try:
            await client.create(CUSTOM_RESOURCE_DEFINITIONS, wanted)
            return
        except AlreadyExists:
            found = await client.get(CUSTOM_RESOURCE_DEFINITIONS, name)
        annotations = found["metadata"].get("annotations") or {}
        ours = wanted["metadata"]["annotations"]
        if _release(annotations.get(RELEASE_ANNOTATION, "")) >= _release(ours[RELEASE_ANNOTATION]):
            return
        metadata = {**found["metadata"], "annotations": {**annotations, **ours}}
        try:
            await client.update(
                CUSTOM_RESOURCE_DEFINITIONS, {**found, "metadata": metadata, "spec": wanted["spec"]}
            )
            return
        except (Conflict, NotFound):
            continue


def _release(text: str) -> tuple[int, ...]:
    """Return a release as numbers that compare: `v1.6.1` as (1, 6, 1)."""
    numbers = text.removeprefix("v").partition("-")[0].split(".")
    return tuple(int(number) for number in numbers if number.isdigit())


async def _until_established(client: Client, name: str) -> None:
    """Return when a definition is served."""
    while True:
        if meta.has_condition(await client.get(CUSTOM_RESOURCE_DEFINITIONS, name), "Established"):
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _until_there(client: Client, resource: Resource, name: str) -> None:
    """Return when an object is there, which the server makes."""
    while True:
        try:
            await client.get(resource, name)
            return
        except NotFound:
            await asyncio.sleep(LOOK_SECONDS)
