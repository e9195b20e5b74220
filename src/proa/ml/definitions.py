"""See that the API server knows the kinds of an area, as its files describe them.

A definition is a CustomResourceDefinition in a file of JSON, which is YAML too: read at each start, in a hundredth of
the time. One that carries our label is ours to change; where the cluster's has none, somebody else's operator (the
upstream project's, say) brought it, and it stays as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.errors import AlreadyExists, Conflict, NotFound
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS

OURS = ("app.kubernetes.io/managed-by", "proa")


async def ensure_definitions(client: Client, files: Iterable[Path]) -> list[str]:
    """Make and renew definitions; return the names of those that are somebody else's. Raise ApiError."""
    wanted = [orjson.loads(file.read_bytes()) for file in files]
    ours = await asyncio.gather(*(_ensure(client, definition) for definition in wanted))
    return [meta.name(definition) for definition, is_ours in zip(wanted, ours, strict=True) if not is_ours]


async def _ensure(client: Client, wanted: Object) -> bool:
    while True:
        try:
            found = await client.get(CUSTOM_RESOURCE_DEFINITIONS, meta.name(wanted))
        except NotFound:
            with suppress(AlreadyExists):
                await client.create(CUSTOM_RESOURCE_DEFINITIONS, wanted)
                return True
            continue
        if _is_marked(wanted) and not _is_marked(found):
            return False
        if covers(found["spec"], wanted["spec"]):
            return True
        with suppress(Conflict, NotFound):
            await client.update(CUSTOM_RESOURCE_DEFINITIONS, {**found, "spec": wanted["spec"]})
            return True


def covers(found: Any, wanted: Any) -> bool:
    """Tell whether `found` is `wanted` but for what the server has added by itself."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(covers(found.get(key), item) for key, item in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(covers, found, wanted))
    return bool(found == wanted)


def _is_marked(definition: Object) -> bool:
    key, value = OURS
    return meta.labels(definition).get(key) == value
