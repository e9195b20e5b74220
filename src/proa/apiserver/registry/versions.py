"""Bring the objects of one resource from the version in which they are stored to those that clients and rules see.

What a `Conversion` says is done here; without one, stored bytes are handed on as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from proa.apiserver.registry.conversion import converted, renew_stale, revision_in, stored_resource
from proa.apiserver.registry.definition import ResourceDefinition
from proa.client.protocol import Object
from proa.objects.resource import Resource


class Versions:
    """The version that a definition serves, the one that is stored, and the hub: the one that its rules are for."""

    def __init__(self, definition: ResourceDefinition) -> None:
        self.conversion = definition.conversion
        self.served = definition.resource
        self.stored = stored_resource(definition)
        stored_is_hub = self.conversion is not None and self.conversion.hub == "stored"
        self.hub = self.stored if stored_is_hub else self.served
        self.head = head_of(self.served)
        self._stored_head = head_of(self.stored)

    async def served_bytes(self, value: bytes) -> bytes:
        """Return stored bytes in the version that is served."""
        if self.conversion is None or self._is_served(value):
            return value
        (obj,) = await self.to_served((orjson.loads(value),))
        return orjson.dumps(obj)

    async def served_values(self, values: Sequence[bytes]) -> list[bytes]:
        """Return the bytes of many objects in the version that is served."""
        if all(map(self._is_served, values)):
            return list(values)
        return [orjson.dumps(obj) for obj in await self.to_served([orjson.loads(value) for value in values])]

    async def to_served(self, objects: Sequence[Object]) -> list[Object]:
        """Return objects, private copies, in the version that is served."""
        return await self._converted(objects, self.served)

    async def to_hub(self, objects: Sequence[Object]) -> list[Object]:
        """Return objects, private copies, in the version that the definition's rules are for."""
        return await self._converted(objects, self.hub)

    async def to_stored(self, obj: Object) -> Object:
        """Return an object of the hub's version as it is stored."""
        if self.conversion is None:
            return in_order(obj, self.served)
        (made,) = await self._converted((obj,), self.stored)
        return made

    def is_stored_well(self, value: bytes) -> bool:
        """Tell whether stored bytes are of the version that is stored now."""
        return self.conversion is None or value.startswith(self._stored_head)

    async def _converted(self, objects: Sequence[Object], to: Resource) -> list[Object]:
        if self.conversion is None:
            return list(objects)
        made = await converted(self.conversion.convert, objects, to)
        if self.conversion.stale_until:
            renew_stale(self.conversion, objects, to)
        return [in_order(obj, to) for obj in made]

    def _is_served(self, value: bytes) -> bool:
        """Tell whether stored bytes are in the version that is served, and as its schema has them now."""
        if not value.startswith(self.head):
            return False
        stale = self.conversion.stale_until if self.conversion is not None else 0
        return not stale or revision_in(value) > stale


def head_of(resource: Resource) -> bytes:
    """Return what the bytes of each object of a resource begin with, but for those of another version."""
    return orjson.dumps({"kind": resource.kind, "apiVersion": resource.api_version})[:-1] + b","


def in_order(obj: Object, resource: Resource) -> Object:
    """Return the object with kind, apiVersion and metadata first, as `head_of` promises."""
    ordered: Object = {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": obj["metadata"],
    }
    ordered.update((k, v) for k, v in obj.items() if k not in ordered)
    return ordered
