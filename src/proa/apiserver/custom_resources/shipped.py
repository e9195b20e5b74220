"""Have a new cluster know at once the kinds whose definitions come with Proa, each a file of JSON.

Tests find them valid, so that no start has to: that would be a third of the time of the first one. What a cluster has
already is compared, not judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import orjson

from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.registry import ResourceRegistry
from proa.objects.errors import AlreadyExists
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS


async def create_missing(catalog: Catalog, files: Iterable[Path]) -> list[Path]:
    """Create those definitions that are missing; return the files of those that are there, and not as in the file."""
    registry = catalog.of(CUSTOM_RESOURCE_DEFINITIONS)
    files = [*files]
    settled = await asyncio.gather(*(_settle(registry, file.read_bytes()) for file in files))
    return [file for file, is_settled in zip(files, settled, strict=True) if not is_settled]


async def _settle(registry: ResourceRegistry, content: bytes) -> bool:
    """Create the definition; tell whether it is now as it is to be."""
    wanted = orjson.loads(content)
    found = registry.find("", wanted["metadata"]["name"])
    if found is not None:
        registry.definition.default(wanted)
        return bool(found["spec"] == wanted["spec"])
    try:
        await registry.create(wanted, "", is_judged=True)
    except AlreadyExists:
        return False
    return True
