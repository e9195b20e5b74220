"""Encode and decode changes that became durable together once, however many watchers they are for.

All watchers of a prefix get the same burst from the store (storage/cacher of apiserver).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

import orjson

from proa.apiserver.pace import HEAVY_BYTES, SLICE_BYTES, SLICE_OBJECTS, decoded
from proa.apiserver.registry.registry import ResourceRegistry
from proa.client.protocol import Object
from proa.store.protocol import Change

RECENT_BURSTS = 16
Pair = tuple[Object | None, Object | None]
"""The object after a change and before it; None where there was none."""


class Burst:
    """Changes that became durable together, encoded and decoded at most once for all watchers."""

    __slots__ = ("_decoded", "_hubs", "_is_quick", "_joined", "_parts", "changes")

    def __init__(self, changes: Sequence[Change]) -> None:
        self.changes = changes
        self._joined = b""
        self._decoded: list[Pair | None] = [None] * len(changes)
        self._parts: list[Burst] | None = None
        self._is_quick: bool | None = None
        self._hubs: dict[ResourceRegistry, asyncio.Task[list[Pair]]] = {}

    def joined(self) -> bytes:
        """Return every change as an event."""
        if not self._joined:
            pieces: list[bytes] = []
            for change in self.changes:
                if change.value is None:
                    pieces += (b'{"type":"DELETED","object":', change.previous or b"{}", b"}\n")
                elif change.previous is None:
                    pieces += (b'{"type":"ADDED","object":', change.value, b"}\n")
                else:
                    pieces += (b'{"type":"MODIFIED","object":', change.value, b"}\n")
            self._joined = b"".join(pieces)
        return self._joined

    def parts(self) -> Sequence[Burst]:
        """Return the burst in parts that are each quick to decode."""
        if self.is_quick:
            return (self,)
        if self._parts is None:
            self._parts = [Burst(changes) for changes in _slices(self.changes)]
        return self._parts

    @property
    def is_quick(self) -> bool:
        """Tell whether the burst is quick to decode as a whole."""
        if self._is_quick is None:
            count = len(self.changes)
            self._is_quick = count <= SLICE_OBJECTS and sum(map(_size, self.changes)) <= SLICE_BYTES
        return self._is_quick

    def decoded(self, index: int) -> Pair:
        """Return (new, previous) of one change; new is None for a delete. Never mutate them."""
        pair = self._decoded[index]
        if pair is None:
            value, previous = self.changes[index].value, self.changes[index].previous
            pair = self._decoded[index] = (
                None if value is None else orjson.loads(value),
                None if previous is None else orjson.loads(previous),
            )
        return pair

    async def decode(self, wanted: Callable[[Change], bool]) -> None:
        """Decode what is large and `wanted` aside, so that `decoded` is quick."""
        for index, change in enumerate(self.changes):
            if self._decoded[index] is None and _size(change) > HEAVY_BYTES and wanted(change):
                new = None if change.value is None else await decoded(change.value)
                previous = None if change.previous is None else await decoded(change.previous)
                self._decoded[index] = (new, previous)

    async def hub(self, registry: ResourceRegistry) -> list[Pair]:
        """Return the same in the version that a registry's rules are for. Never mutate them."""
        task = self._hubs.get(registry)
        if task is None:
            task = self._hubs[registry] = asyncio.ensure_future(self._make_hub(registry))
        return await asyncio.shield(task)

    async def _make_hub(self, registry: ResourceRegistry) -> list[Pair]:
        values = [value for change in self.changes for value in (change.value, change.previous)]
        made = iter(await registry.hub([orjson.loads(value) for value in values if value is not None]))
        found = [None if value is None else next(made) for value in values]
        return list(zip(found[::2], found[1::2], strict=True))


def _slices(changes: Sequence[Change]) -> Iterator[list[Change]]:
    part: list[Change] = []
    size = 0
    for change in changes:
        size += _size(change)
        if part and (size > SLICE_BYTES or len(part) == SLICE_OBJECTS):
            yield part
            part, size = [], _size(change)
        part.append(change)
    yield part


def _size(change: Change) -> int:
    return len(change.value or b"") + len(change.previous or b"")


_recent: dict[int, Burst] = {}
"""By the identity of their changes, which each Burst keeps alive."""


def burst_of(changes: Sequence[Change]) -> Burst:
    """Return the one Burst of a list of changes that the store hands to several watchers."""
    burst = _recent.get(id(changes))
    if burst is None:
        if len(_recent) >= RECENT_BURSTS:
            del _recent[next(iter(_recent))]
        burst = _recent[id(changes)] = Burst(changes)
    return burst
