"""Tell a client of every change after a revision, once, in order, as newline-ended JSON events.

Follows apiserver/pkg/endpoints/handlers/watch.go and storage/cacher. All watchers of a prefix get the same burst
from the store; `Burst` encodes it once for those who want everything, and decodes it once for those who select.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import orjson

from proa.apiserver.handlers.list import too_large
from proa.apiserver.handlers.negotiation import JSON, Representation, negotiate
from proa.apiserver.handlers.options import ListOptions, Selection, read_list_options
from proa.apiserver.handlers.shapes import check_include, partial, table
from proa.apiserver.registry.registry import ResourceRegistry
from proa.client.protocol import Object, Request, Response
from proa.objects.errors import Expired
from proa.store.protocol import Change, Compacted, StoreError, Watch

BOOKMARK_SECONDS = 60.0
DEFAULT_SECONDS = 45 * 60.0
MAX_PENDING_BYTES = 4 * 1024 * 1024
INITIAL_OBJECTS = 50
INITIAL_END = "k8s.io/initial-events-end"


def watch_objects(request: Request, registry: ResourceRegistry, namespace: str, name: str) -> Response:
    """Answer a watch of a collection, or of one object where `name` is given."""
    representation = negotiate(request.headers.get("accept", ""))
    options = read_list_options(request, registry.definition, watch=True)
    include = check_include(request.parameter("includeObject")) if representation.shape == "Table" else ""
    view = View(registry, options.selection, name, representation, include)
    try:
        stream = WatchStream(view, registry.scope(namespace), options)
    except Compacted as error:
        asked = options.revision or 0
        raise Expired(f"too old resource version: {asked} ({error.oldest})") from None
    content_type = f"{JSON};stream=watch" if representation.shape else JSON
    return Response(200, {"Content-Type": content_type}, stream=stream)


class Burst:
    """Changes that became durable together, encoded and decoded at most once for all watchers."""

    __slots__ = ("_decoded", "_joined", "changes")

    def __init__(self, changes: Sequence[Change]) -> None:
        self.changes = changes
        self._joined = b""
        self._decoded: list[tuple[Object | None, Object | None]] | None = None

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

    def decoded(self) -> list[tuple[Object | None, Object | None]]:
        """Return (new, previous) of each change; new is None for a delete. Never mutate them."""
        if self._decoded is None:
            self._decoded = [
                (
                    None if c.value is None else orjson.loads(c.value),
                    None if c.previous is None else orjson.loads(c.previous),
                )
                for c in self.changes
            ]
        return self._decoded


_recent: deque[Burst] = deque(maxlen=16)


def burst_of(changes: Sequence[Change]) -> Burst:
    """Return the one Burst of a list of changes that the store hands to several watchers."""
    for burst in _recent:
        if burst.changes is changes:
            return burst
    burst = Burst(changes)
    _recent.appendleft(burst)
    return burst


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
        self._representation = representation
        self._include = include
        self._everything = selection.everything and not name and representation.is_plain
        self._headers = True

    def encode(self, changes: Sequence[Change]) -> bytes:
        """Return the events of a burst that this watcher sees, b"" for none."""
        burst = burst_of(changes)
        if self._everything:
            return burst.joined()
        pieces = []
        for change, (new, previous) in zip(changes, burst.decoded(), strict=True):
            event = self._event(change, new, previous)
            if event:
                pieces.append(event)
        return b"".join(pieces)

    def _event(self, change: Change, new: Object | None, previous: Object | None) -> bytes:
        if new is None:
            if previous is None or not self._sees(previous):
                return b""
            return self._line(b"DELETED", previous, change.previous)
        saw = previous is not None and self._sees(previous)
        if self._sees(new):
            return self._line(b"MODIFIED" if saw else b"ADDED", new, change.value)
        if not saw or previous is None:
            return b""
        left = {**previous, "metadata": {**previous["metadata"], "resourceVersion": str(change.revision)}}
        return self._line(b"DELETED", left, None)

    def _sees(self, obj: Object) -> bool:
        if self._name and obj["metadata"]["name"] != self._name:
            return False
        return self._selection.everything or self._selection.matches(obj)

    def _line(self, kind: bytes, obj: Object, value: bytes | None) -> bytes:
        shown = (
            value if value is not None and self._representation.is_plain else orjson.dumps(self._shaped(obj))
        )
        return b'{"type":"%b","object":%b}\n' % (kind, shown)

    def _shaped(self, obj: Object) -> Object:
        shape = self._representation.shape
        if not shape:
            return obj
        if shape != "Table":
            return partial(obj, self._representation)
        metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        made = table(
            self.registry.definition,
            (obj,),
            metadata,
            self._representation,
            self._include,
            self.registry.now(),
            headers=self._headers,
        )
        self._headers = False
        return made

    def initial(self, prefix: str) -> tuple[Iterable[bytes], int]:
        """Return ADDED events for all that is there now, in pieces, and the revision that they show."""
        page = self.registry.store.range(prefix)
        entries = page.entries

        def pieces() -> Iterable[bytes]:
            for start in range(0, len(entries), INITIAL_OBJECTS):
                lines = []
                for entry in entries[start : start + INITIAL_OBJECTS]:
                    if self._everything:
                        lines.append(b'{"type":"ADDED","object":%b}\n' % entry.value)
                        continue
                    obj = orjson.loads(entry.value)
                    if self._sees(obj):
                        lines.append(self._line(b"ADDED", obj, entry.value))
                if lines:
                    yield b"".join(lines)

        return pieces(), page.revision

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


Sink = Callable[[bytes], bool]
"""Takes events and returns True, or False when its client is behind."""


class WatchStream:
    """The body of a watch: an async iterator of bursts of events, until `timeoutSeconds` or `aclose`.

    One task carries bursts from the store to `_pending`; timers add bookmarks. It stops taking from the store
    while its reader is behind, so that the store's own bound for slow watchers applies. A reader that can take
    events at once says so with `attach`, which spares a turn of the loop for each burst.
    """

    def __init__(self, view: View, prefix: str, options: ListOptions) -> None:
        store = view.registry.store
        self._view = view
        self._initial: Iterable[bytes] = ()
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._waits_for_room = False
        self._sink: Sink | None = None
        revision = options.revision
        if revision is not None and revision > store.revision:
            raise too_large(revision, store.revision)
        if options.send_initial_events or (not revision and options.match == ""):
            pieces, revision = view.initial(prefix)
            self._initial = pieces
            if options.send_initial_events:
                self._initial = _chain(pieces, view.bookmark(revision, ends_initial=True))
        elif revision is None:
            revision = store.revision
        self._watch: Watch = store.watch(prefix, after_revision=revision)
        self._initial_pieces = iter(self._initial)
        loop = asyncio.get_running_loop()
        seconds = float(options.timeout_seconds) or DEFAULT_SECONDS
        self._timers = [loop.call_later(seconds, self.close)]
        if options.bookmarks:
            self._timers.append(loop.call_later(BOOKMARK_SECONDS, self._add_bookmark))
        self._task = loop.create_task(self._carry())

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = next(self._initial_pieces, None)
        if piece is not None:
            return piece
        while not self._pending:
            if self._ended:
                raise StopAsyncIteration
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        if len(self._pending) == 1:
            data = self._pending.popleft()
        else:
            data = b"".join(self._pending)
            self._pending.clear()
        self._pending_bytes = 0
        _release(self._room)
        return data

    def attach(self, sink: Sink) -> None:
        """Hand events to `sink` while nothing is pending; what it does not take is iterated over."""
        self._sink = sink

    async def aclose(self) -> None:
        """Stop."""
        self.close()
        self._pending.clear()

    def close(self) -> None:
        """End after what is pending."""
        self._ended = True
        for timer in self._timers:
            timer.cancel()
        self._watch.close()
        self._task.cancel()
        _release(self._reader)

    async def _carry(self) -> None:
        try:
            async for changes in self._watch:
                events = self._view.encode(changes)
                if not events:
                    continue
                self._push(events)
                if self._pending_bytes > MAX_PENDING_BYTES:
                    self._room = asyncio.get_running_loop().create_future()
                    self._waits_for_room = True
                    await self._room
                    self._waits_for_room = False
        except StoreError as error:
            status = Expired(f"too old resource version: {error}").status()
            self._push(b'{"type":"ERROR","object":%b}\n' % orjson.dumps(status))
        finally:
            self._ended = True
            _release(self._reader)

    def _push(self, events: bytes) -> None:
        reader = self._reader
        is_waiting = reader is not None and not reader.done()
        if self._sink is not None and is_waiting and not self._pending and self._sink(events):
            return
        self._pending.append(events)
        self._pending_bytes += len(events)
        _release(self._reader)

    def _add_bookmark(self) -> None:
        """Say how far the watcher is: the store's newest revision, once all up to it has been carried.

        The store has handed over its bursts up to that revision already, so the task is due to run; two turns of
        the loop later it has, unless it waits for its reader.
        """
        if self._ended:
            return
        loop = asyncio.get_running_loop()
        self._timers[1] = loop.call_later(BOOKMARK_SECONDS, self._add_bookmark)
        if not self._waits_for_room:
            revision = self._view.registry.store.revision
            loop.call_soon(lambda: loop.call_soon(self._push_bookmark, revision))

    def _push_bookmark(self, revision: int) -> None:
        if not self._ended and not self._waits_for_room:
            self._push(self._view.bookmark(revision))


def _chain(pieces: Iterable[bytes], last: bytes) -> Iterable[bytes]:
    yield from pieces
    yield last


def _release(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
