"""Keep what a FakeClient has written, as bytes, with every change for those who watch.

What is handed out is a new decode each time, so that a caller's mutation is never seen by another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import orjson

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import Expired
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import Resource

Place = tuple[str, str]
"""Namespace ("" for cluster-scoped) and name."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write, kept for watches: what was stored before and after."""

    resource: Resource
    version: int
    before: bytes | None
    after: bytes | None
    last: bytes
    """The object as the event shows it: `after`, or the state at deletion."""


class FakeStore:
    """Objects by resource, namespace and name. `version` is that of the newest write."""

    def __init__(self) -> None:
        self.version = 1
        self._stored: dict[Resource, dict[Place, bytes]] = {}
        self._history: list[Change] = []
        self._oldest = 0
        self._waiters: set[asyncio.Event] = set()
        self._closed = False

    def find(self, resource: Resource, name: str, namespace: str) -> Object | None:
        """Return one object, the caller's own, or None."""
        stored = self._of(resource).get((namespace, name))
        return None if stored is None else decode(stored)

    def all(self, resource: Resource) -> list[Object]:
        """Return all objects of a resource, ordered by namespace and name."""
        return [decode(stored) for _, stored in sorted(self._of(resource).items())]

    def put(self, resource: Resource, obj: Object) -> Object:
        """Store an object under its name and return it, with its new resourceVersion."""
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        stored, objects = orjson.dumps(obj), self._of(resource)
        before = objects.get(place_of(obj))
        objects[place_of(obj)] = stored
        self._remember(Change(resource, self.version, before, stored, stored))
        return decode(stored)

    def remove(self, resource: Resource, obj: Object) -> None:
        """Forget an object; `obj` is its last state."""
        before = self._of(resource).pop(place_of(obj))
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self._remember(Change(resource, self.version, before, None, orjson.dumps(obj)))

    async def changes(self, after: int, patience_seconds: float | None) -> AsyncGenerator[Change, None]:
        """Yield every change after a version as it comes, until `close`.

        Raises Expired once history does not reach back so far, TimeoutError when nothing came for so long.
        """
        changed = asyncio.Event()
        self._waiters.add(changed)
        try:
            while not self._closed:
                if after < self._oldest:
                    raise Expired(f"too old resource version: {after} ({self._oldest})")
                changed.clear()
                for change in [change for change in self._history if change.version > after]:
                    after = change.version
                    yield change
                if after == self.version or not self._history:
                    async with asyncio.timeout(
                        patience_seconds
                    ):  # Python 3.11's wait_for may lose a cancellation
                        await changed.wait()
        finally:
            self._waiters.discard(changed)

    def compact(self) -> None:
        """Forget history, so that whoever is behind now hears Expired."""
        self._oldest = self.version
        self._history.clear()
        self._wake()

    def close(self) -> None:
        """End what `changes` yields."""
        self._closed = True
        self._wake()

    def _of(self, resource: Resource) -> dict[Place, bytes]:
        return self._stored.setdefault(resource, {})

    def _remember(self, change: Change) -> None:
        self._history.append(change)
        self._wake()

    def _wake(self) -> None:
        for changed in self._waiters:
            changed.set()


def decode(stored: bytes) -> Object:
    """Return a new object."""
    obj: Object = orjson.loads(stored)
    return obj


def copy_of(value: Any) -> Any:
    """Return a deep copy of a JSON value."""
    return orjson.loads(orjson.dumps(value))


def place_of(obj: Object) -> Place:
    """Return where an object is kept."""
    return meta.namespace(obj), meta.name(obj)
