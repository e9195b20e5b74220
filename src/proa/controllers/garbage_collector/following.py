"""Hear of every object that can be listed, watched and deleted, whatever its kind, and keep none.

What an informer has already is heard from it; of other resources the metadata are listed and watched. Discovery says
which there are, and is read again when a kind is added or taken away. Follows syncMonitors of upstream's
pkg/controller/garbagecollector/graph_builder.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from proa.client.protocol import Object, WatchEvent
from proa.controllers.garbage_collector.graph import Graph, Identity, make_node
from proa.objects import meta
from proa.objects.errors import ApiError
from proa.objects.resource import Resource
from proa.reconcile.discovery import discover
from proa.reconcile.informer import Informer
from proa.reconcile.protocol import Context
from proa.reconcile.reflector import Reflector, Scope

logger = logging.getLogger(__name__)

NEEDED_VERBS = {"list", "watch", "delete"}
ADDS_KINDS = {
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
}
IGNORED = {("", "events"), ("events.k8s.io", "events")}
REDISCOVER_SECONDS = 30.0
"""After a discovery that failed in part."""
SYNC_SECONDS = 30.0
"""So long a resource that cannot be listed holds up the others; its objects are asked for by name then."""

LookAt = Callable[[set[str]], None]
Gone = Callable[[str], None]


class Feed:
    """Feeds the graph from one resource's list and watch (`reflector.Sink`), or an informer's (`listen`)."""

    def __init__(
        self, resource: Resource, graph: Graph, look_at: LookAt, gone: Gone, changed: Callable[[], None]
    ) -> None:
        """`gone` is called with the uid of each object that is gone, `changed` at each change whatsoever."""
        self.synced = asyncio.Event()
        self._resource = resource
        self._graph = graph
        self._look_at = look_at
        self._gone = gone
        self._changed = changed
        self._missing: set[str] = set()

    def begin(self) -> None:
        """Remember what was known before the list."""
        self._missing = self._graph.known_of(self._resource)

    def page(self, items: Sequence[Object]) -> None:
        """Take note of what is there."""
        for obj in items:
            self._missing.discard(meta.uid(obj))
            self._put(obj)

    def finish(self, version: str) -> None:
        """What was known before the list and is not in it has gone meanwhile."""
        for uid in self._missing:
            self._remove(uid)
        self._missing = set()
        self._changed()
        self.synced.set()

    def apply(self, event: WatchEvent) -> None:
        """Take note of a change."""
        if event.type == "BOOKMARK":
            return
        self._changed()
        if event.type == "DELETED":
            self._remove(meta.uid(event.object))
        else:
            self._put(event.object)

    def listen(self, old: Object | None, new: Object | None) -> None:
        """Take note of a change that an informer tells of; most are no business of owners and dependents."""
        self._changed()
        if new is None:
            self._remove(meta.uid(old or {}))
        elif old is None or any(old["metadata"].get(f) != new["metadata"].get(f) for f in _FIELDS):
            self._put(new)

    def _put(self, obj: Object) -> None:
        metadata = obj["metadata"]
        uid = metadata["uid"]
        if uid in self._graph.nodes or any(field in metadata for field in _FIELDS):
            self._look_at(self._graph.put(make_node(self._resource, obj)))
        elif uid in self._graph.owners:
            identity = Identity(self._resource, meta.namespace(obj), metadata["name"])
            self._look_at(self._graph.see(uid, identity))

    def _remove(self, uid: str) -> None:
        self._gone(uid)
        self._look_at(self._graph.remove(uid))


_FIELDS = ("ownerReferences", "finalizers", "deletionTimestamp")


class Following:
    """Which resources there are, and their feeds into the graph."""

    def __init__(self, graph: Graph, look_at: LookAt, gone: Gone) -> None:
        self.resources: dict[tuple[str, str], Resource] = {}
        """By group and kind: what can own, and be owned."""
        self.kinds_changed = asyncio.Event()
        self._graph = graph
        self._look_at = look_at
        self._gone = gone
        self._feeds: dict[Resource, Feed] = {}
        self._tasks: dict[Resource, asyncio.Task[None]] = {}

    async def follow_all(self, context: Context) -> bool:
        """Follow what is served now, all of it known on return; return whether discovery was complete."""
        try:
            discovered = await discover(context.client)
        except ApiError as error:
            logger.warning("discovery failed error=%s", error)
            return False
        wanted = {
            served.resource
            for served in discovered.served
            if served.verbs >= NEEDED_VERBS and (served.resource.group, served.resource.plural) not in IGNORED
        }
        self.resources = {(r.group, r.kind): r for r in wanted}
        if not discovered.failed:
            for resource in [*self._feeds.keys() - wanted]:
                await self._unfollow(resource)
        for resource in wanted - self._feeds.keys():
            self._follow(context, resource)
        await self._wait_synced()
        return not discovered.failed

    async def wait_for_kinds(self, *, is_complete: bool) -> None:
        """Return when a kind has come or gone, or it is time to see whether all can be discovered now."""
        try:
            async with asyncio.timeout(None if is_complete else REDISCOVER_SECONDS):
                await self.kinds_changed.wait()
        except TimeoutError:
            return

    async def stop(self) -> None:
        """End every task."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _wait_synced(self) -> None:
        waits = [asyncio.create_task(feed.synced.wait()) for feed in self._feeds.values()]
        if not waits:
            return
        try:
            await asyncio.wait(waits, timeout=SYNC_SECONDS)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _follow(self, context: Context, resource: Resource) -> None:
        adds_kinds = (resource.group, resource.plural) in ADDS_KINDS
        changed = self.kinds_changed.set if adds_kinds else _nothing
        feed = self._feeds[resource] = Feed(resource, self._graph, self._look_at, self._gone, changed)
        shared = self._find_informer(context, resource)
        if shared is None:
            reflector = Reflector(
                context.client, Scope(resource), feed, random=context.random, metadata_only=True
            )
            run = reflector.run()
        else:
            shared.listen(feed.listen)
            run = _sync_with(shared, feed)
        name = f"garbage collector {resource.qualified_name}"
        self._tasks[resource] = asyncio.create_task(run, name=name)

    def _find_informer(self, context: Context, resource: Resource) -> Informer | None:
        try:
            shared = context.caches(resource)
        except KeyError:
            return None
        return shared if isinstance(shared, Informer) else None

    async def _unfollow(self, resource: Resource) -> None:
        """Forget a resource that is no longer served, and its objects, which went with it."""
        task = self._tasks.pop(resource)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        del self._feeds[resource]
        for uid in self._graph.known_of(resource):
            self._look_at(self._graph.remove(uid))


def _nothing() -> None:
    return


async def _sync_with(informer: Informer, feed: Feed) -> None:
    await informer.wait_synced()
    feed.synced.set()
