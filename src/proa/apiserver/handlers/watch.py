"""Tell a client of every change after a revision, once, in order, as newline-ended JSON events.

Follows apiserver/pkg/endpoints/handlers/watch.go and storage/cacher. What a watcher sees of a change is in
`watch_view.py`, what watchers share in `watch_burst.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace

import orjson

from proa.apiserver.handlers.list import too_large
from proa.apiserver.handlers.negotiation import JSON, PROTOBUF, negotiate
from proa.apiserver.handlers.options import ListOptions, read_options_aside
from proa.apiserver.handlers.shapes import check_include
from proa.apiserver.handlers.watch_view import View
from proa.apiserver.pace import Pace, value_slices
from proa.apiserver.registry.registry import ResourceRegistry
from proa.client.protocol import Request, Response
from proa.objects.errors import ApiError, BadRequest, Expired
from proa.objects.randomness import random_bytes
from proa.store.protocol import Change, Compacted, Entry, StoreError, Watch

BOOKMARK_SECONDS = 60.0
LAST_BOOKMARK_SECONDS = 2.0
"""The last bookmark comes this long before the end, so that who watches again starts from near now."""
MIN_SECONDS = 30 * 60.0
"""A watch without `timeoutSeconds` lasts between this and twice this, so that not all end at once."""
MAX_PENDING_BYTES = 4 * 1024 * 1024


async def watch_objects(request: Request, registry: ResourceRegistry, namespace: str, name: str) -> Response:
    """Answer a watch of a collection, or of one object where `name` is given."""
    definition = registry.definition
    accept = request.headers.get("accept", "")
    representation = negotiate(accept, is_custom=definition.is_custom, streams=True)
    options = await read_options_aside(request, definition, watch=True)
    include = check_include(request.parameter("includeObject")) if representation.shape == "Table" else ""
    if name and options.selection.fields.required_value("metadata.name") not in (None, name):
        raise BadRequest("fieldSelector metadata.name doesn't match requested name")
    is_protobuf = representation.media_type != JSON
    shown = replace(representation, media_type=JSON)  # events are made protobuf of JSON
    view = View(registry, options.selection, name, shown, include)
    prefix = registry.scope(namespace)
    if view.single and (namespace or not registry.resource.namespaced):
        prefix += view.single  # not woken for others; names that begin alike are told apart by the view
    stream = WatchStream(view, prefix, options)
    if "upgrade" in request.headers:
        from proa.apiserver.streams.watch import is_websocket_request, watch_over_websocket

        if is_websocket_request(request):
            return watch_over_websocket(request, stream, is_protobuf=is_protobuf)
    if is_protobuf:
        from proa.apiserver.protobuf.frames import EventFrames

        return Response(200, {"Content-Type": f"{PROTOBUF};stream=watch"}, stream=EventFrames(stream))
    return Response(200, {"Content-Type": JSON}, stream=stream)


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
        self._initial: Iterator[Sequence[Entry]] = iter(())
        self._initial_end = b""
        self._pace = Pace()
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._waits_for_room = False
        self._sink: Sink | None = None
        self._carried = 1
        """The revision up to which all is told; 0 while a burst is being encoded that takes a while."""
        self._bookmark_waits = False
        revision = options.revision
        if options.initial_events:
            revision = self._begin_with_all(prefix, options)
        elif not revision:
            revision = store.revision
        self._watch: Watch | None = None
        loop = asyncio.get_running_loop()
        seconds = float(options.timeout_seconds)
        if seconds <= 0:
            seconds = MIN_SECONDS * (1.0 + int.from_bytes(random_bytes(2), "big") / 0x10000)
        self._ends_at = loop.time() + seconds
        self._timers = [loop.call_later(seconds, self.close)]
        if options.bookmarks:
            seconds = self._until_bookmark()
            if seconds > 0:
                self._timers.append(loop.call_later(seconds, self._add_bookmark))
        self._task: asyncio.Task[None] | None = None
        view.registry.watches.add(self)
        try:
            if options.initial_events and (options.revision or 0) > store.revision:
                raise too_large(options.revision or 0, store.revision)
            wants = view.sieve.passes_change if view.sieve.needles else None
            self._watch = store.watch(prefix, after_revision=revision, wants=wants)
        except Compacted as error:
            # As upstream: what is wrong with a watch is said in it (storage/cacher, newErrWatcher).
            self._fail(Expired(f"too old resource version: {revision} ({error.oldest})"))
        except ApiError as error:
            self._fail(error)
        else:
            self._task = loop.create_task(self._carry(self._watch))

    def _begin_with_all(self, prefix: str, options: ListOptions) -> int:
        """Begin with what is there now; return the revision that this is."""
        page = self._view.registry.store.range(prefix, limit=0 if prefix.endswith("/") else 1)
        self._initial = value_slices(page.entries)
        if options.bookmarks:
            self._initial_end = self._view.bookmark(page.revision, ends_initial=True)
        return page.revision

    def _fail(self, error: ApiError) -> None:
        """Say what is wrong, and end."""
        self._initial, self._initial_end = iter(()), b""
        self._pending.clear()
        self._push(_error(error))
        self.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for entries in self._initial:
            try:
                piece = await self._view.initial(entries)
            except ApiError as error:
                self._fail(error)
                break
            await self._pace.give_way()
            if piece:
                return piece
        if self._initial_end:
            piece, self._initial_end = self._initial_end, b""
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
        self._view.registry.watches.discard(self)
        for timer in self._timers:
            timer.cancel()
        if self._watch is not None:
            self._watch.close()
        if self._task is not None:
            self._task.cancel()
        _release(self._reader)

    async def _carry(self, watch: Watch) -> None:
        try:
            async for changes in watch:
                events = self._view.encode(changes)
                if events is None:
                    await self._carry_slowly(changes)
                    continue
                self._carried = changes[-1].revision
                if events:
                    self._push(events)
                    await self._have_room()
        except ApiError as error:
            self._push(_error(error))
        except StoreError as error:
            self._push(_error(Expired(f"too old resource version: {error}")))
        finally:
            self._ended = True
            _release(self._reader)

    async def _carry_slowly(self, changes: Sequence[Change]) -> None:
        self._carried = 0
        async for events in self._view.encode_slowly(changes):
            self._push(events)
            await self._have_room()
        self._carried = changes[-1].revision
        if self._bookmark_waits:
            self._bookmark_waits = False
            self._push_bookmark(self._carried)

    async def _have_room(self) -> None:
        if self._pending_bytes > MAX_PENDING_BYTES:
            self._room = asyncio.get_running_loop().create_future()
            self._waits_for_room = True
            await self._room
            self._waits_for_room = False

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

        The store has handed over its bursts up to that revision already. Two turns of the loop later the task has
        carried them, unless it waits for its reader, or is at work on a burst (then the bookmark follows that), or is
        one of very many and has yet to be woken.
        """
        if self._ended:
            return
        loop = asyncio.get_running_loop()
        if (seconds := self._until_bookmark()) > 0:
            self._timers[1] = loop.call_later(seconds, self._add_bookmark)
        if not self._waits_for_room:
            revision = self._view.registry.store.revision
            loop.call_soon(lambda: loop.call_soon(self._push_bookmark, revision))

    def _until_bookmark(self) -> float:
        """Return when the next bookmark is due: in a minute, or shortly before the end."""
        last = self._ends_at - LAST_BOOKMARK_SECONDS - asyncio.get_running_loop().time()
        return min(BOOKMARK_SECONDS, last)

    def _push_bookmark(self, revision: int) -> None:
        if self._ended or self._waits_for_room:
            return
        if not self._carried:
            self._bookmark_waits = True
        elif self._watch is not None and self._watch.has_arrived():
            asyncio.get_running_loop().call_soon(self._push_bookmark, revision)
        else:
            self._push(self._view.bookmark(max(revision, self._carried)))


def _error(error: ApiError) -> bytes:
    return b'{"type":"ERROR","object":%b}\n' % orjson.dumps(error.status())


def _release(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
