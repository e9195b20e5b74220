"""See that the API server knows an area's kinds: CustomResourceDefinitions that stand beside the code, one file each.

They are JSON, which is YAML: read at each start, in a hundredth of the time. One that the server has otherwise is
replaced; what the server itself or others have added to it (conditions, defaults, annotations) is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from proa.client.protocol import Client
from proa.objects import meta
from proa.objects.errors import AlreadyExists, Conflict, NotFound
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS


async def ensure_definitions(client: Client, files: Iterable[Path]) -> None:
    """See that the API server knows the kinds as they are in `files`, all at once; raise ApiError.

    A server of ours serves them when this returns, others a moment later.
    """
    await asyncio.gather(*(_ensure(client, orjson.loads(file.read_bytes())) for file in files))


async def _ensure(client: Client, wanted: dict[str, Any]) -> None:
    while True:
        try:
            found = await client.get(CUSTOM_RESOURCE_DEFINITIONS, meta.name(wanted))
        except NotFound:
            try:
                await client.create(CUSTOM_RESOURCE_DEFINITIONS, wanted)
            except AlreadyExists:
                continue
            return
        if _covers(found["spec"], wanted["spec"]):
            return
        try:
            await client.update(CUSTOM_RESOURCE_DEFINITIONS, {**found, "spec": wanted["spec"]})
        except (Conflict, NotFound):
            continue
        return


def _covers(found: Any, wanted: Any) -> bool:
    """Tell whether `found` is `wanted` but for what the server has added by itself."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_covers(found.get(key), item) for key, item in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_covers, found, wanted))
    return bool(found == wanted)
