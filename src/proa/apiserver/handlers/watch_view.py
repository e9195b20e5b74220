"""Show one watcher the changes that it asked for: which objects, in which version and shape, as JSON events.

Follows apiserver/pkg/endpoints/handlers/watch.go and response.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson

from proa.apiserver.handlers.negotiation import JSON, Representation
from proa.apiserver.handlers.options import Selection
from proa.apiserver.handlers.shapes import partial, table
from proa.apiserver.handlers.sieve import Sieve
from proa.apiserver.handlers.watch_burst import Burst, burst_of
from proa.apiserver.pace import Pace
from proa.apiserver.registry.registry import ResourceRegistry
from proa.apiserver.registry.stored_bytes import cut_metadata
from proa.client.protocol import Object
from proa.store.protocol import Change, Entry

_PARTIAL = b'{"type":"%b","object":{"kind":"PartialObjectMetadata","apiVersion":"%b","metadata":%b}}\n'
INITIAL_END = "k8s.io/initial-events-end"


class View:
    """What one watcher sees: which objects, in which shape."""

    def __init__(
        self,
        registry: ResourceRegistry,
        selection: Selection,
        name: str,
        representation: Representation,
        include: str,
    ) -> None:
        self.registry = registry
        self._selection = selection
        self._name = name
        self.single = name or selection.fields.required_value("metadata.name") or ""
        """The one name that it can be about, "" for any: others are passed over by their key."""
        self.sieve = Sieve(selection)
        self._representation = representation
        self._include = include
        sees_all = selection.everything and not name
        self._everything = sees_all and representation.is_plain
        shape = representation.shape
        self._all_metadata = sees_all and shape.startswith("Partial") and representation.media_type == JSON
        self._headers = True

    def encode(self, changes: Sequence[Change]) -> bytes | None:
        """Return the events of a burst that this watcher sees, b"" for none; None where that takes a while."""
        converts = self.registry.conversion is not None
        if self._everything and not converts:
            return burst_of(changes).joined()
        if self._all_metadata and not converts:
            events = self._cut_metadata(changes)
            if events is not None:
                return events
        burst = self._burst_of(changes)
        if burst is None:
            return b""
        if converts or not burst.is_quick:
            return None
        return self._encode_part(burst)

    async def encode_slowly(self, changes: Sequence[Change]) -> AsyncIterator[bytes]:
        """Yield the same of a burst that is long or must be converted, part by part."""
        burst = self._burst_of(changes)
        assert burst is not None
        pace = Pace()
        for part in burst.parts():
            if self.registry.conversion is None:
                await part.decode(self.sieve.passes_change)
                events = self._encode_part(part)
            else:
                events = await self._encode_converted(part)
            if events:
                yield events
            await pace.give_way()

    def _cut_metadata(self, changes: Sequence[Change]) -> bytes | None:
        """Return the changes as events of metadata, of which none is decoded; None where some must be."""
        version = self._representation.api_version.encode()
        pieces = []
        for change in changes:
            value = change.previous if change.value is None else change.value
            metadata = cut_metadata(value or b"", change.revision, self.registry.head)
            if metadata is None:
                return None
            kind = b"ADDED" if change.previous is None else b"MODIFIED" if change.value else b"DELETED"
            pieces.append(_PARTIAL % (kind, version, metadata))
        return b"".join(pieces)

    def _burst_of(self, changes: Sequence[Change]) -> Burst | None:
        if not self.single:
            return burst_of(changes)
        ending = f"/{self.single}"
        own = [change for change in changes if change.key.endswith(ending)]
        if len(own) == len(changes):
            return burst_of(changes)
        return Burst(own) if own else None

    def _encode_part(self, burst: Burst) -> bytes:
        pieces = []
        passes = self.sieve.passes_change
        for index, change in enumerate(burst.changes):
            if not passes(change):
                continue
            event = self._event(change, *burst.decoded(index))
            if event is not None:
                pieces.append(self._line(*event))
        return b"".join(pieces)

    async def _encode_converted(self, burst: Burst) -> bytes:
        pairs = await burst.hub(self.registry)
        events = [self._event(change, *pair) for change, pair in zip(burst.changes, pairs, strict=True)]
        return await self._lines([event for event in events if event is not None])

    def _event(
        self, change: Change, new: Object | None, previous: Object | None
    ) -> tuple[bytes, Object, bytes | None] | None:
        """Return the type of the event that this watcher sees of a change, its object and the object's bytes."""
        if new is None:
            if previous is None or not self._sees(previous):
                return None
            return b"DELETED", previous, change.previous
        saw = previous is not None and self._sees(previous)
        if self._sees(new):
            return b"MODIFIED" if saw else b"ADDED", new, change.value
        if not saw or previous is None:
            return None
        left = {**previous, "metadata": {**previous["metadata"], "resourceVersion": str(change.revision)}}
        return b"DELETED", left, None

    def _sees(self, obj: Object) -> bool:
        if self._name and obj["metadata"]["name"] != self._name:
            return False
        return self._selection.everything or self._selection.matches(obj)

    def _line(self, kind: bytes, obj: Object, value: bytes | None) -> bytes:
        shown = (
            value
            if value is not None and self._representation.is_plain
            else orjson.dumps(self._shaped(obj, obj))
        )
        return b'{"type":"%b","object":%b}\n' % (kind, shown)

    async def _lines(self, events: Sequence[tuple[bytes, Object, bytes | None]]) -> bytes:
        """Return the lines of events whose objects are of the version that the registry's rules are for."""
        objects = [obj for _, obj, _ in events]
        served: Sequence[Object] = objects
        if not self.registry.serves_hub:
            served = await self.registry.served([orjson.loads(orjson.dumps(obj)) for obj in objects])
        lines = (
            b'{"type":"%b","object":%b}\n' % (kind, orjson.dumps(self._shaped(obj, shown)))
            for (kind, obj, _), shown in zip(events, served, strict=True)
        )
        return b"".join(lines)

    def _shaped(self, obj: Object, served: Object) -> Object:
        shape = self._representation.shape
        if not shape:
            return served
        if shape != "Table":
            return partial(served, self._representation)
        metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        made = table(
            self.registry.definition,
            (obj,),
            metadata,
            self._representation,
            self._include,
            self.registry.now(),
            headers=self._headers,
            shown=(served,),
        )
        self._headers = False
        return made

    async def initial(self, entries: Sequence[Entry]) -> bytes:
        """Return ADDED events for those of the entries that this watcher sees."""
        if self.registry.conversion is None:
            if self._everything:
                return b"".join([b'{"type":"ADDED","object":%b}\n' % entry.value for entry in entries])
            entries = [entry for entry in entries if self.sieve.passes(entry.value)]
            objects = [orjson.loads(entry.value) for entry in entries]
            return b"".join(
                self._line(b"ADDED", obj, entry.value)
                for obj, entry in zip(objects, entries, strict=True)
                if self._sees(obj)
            )
        objects = await self.registry.hub([orjson.loads(entry.value) for entry in entries])
        return await self._lines([(b"ADDED", obj, None) for obj in objects if self._sees(obj)])

    def bookmark(self, revision: int, *, ends_initial: bool = False) -> bytes:
        """Return a BOOKMARK event: nothing up to `revision` is missing."""
        metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if ends_initial:
            metadata["annotations"] = {INITIAL_END: "true"}
        resource = self.registry.resource
        obj: Object = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        shape = self._representation.shape
        if shape == "Table":
            row = {
                "cells": [""] * len(self.registry.definition.columns),
                "object": partial(obj, self._representation),
            }
            obj = {
                "kind": "Table",
                "apiVersion": self._representation.api_version,
                "metadata": {"resourceVersion": str(revision)},
                "columnDefinitions": None,
                "rows": [row],
            }
        elif shape:
            obj = partial(obj, self._representation)
        return b'{"type":"BOOKMARK","object":%b}\n' % orjson.dumps(obj)
