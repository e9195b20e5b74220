"""Keep a local copy of a resource equal to the API server's, and tell those who listen what changed.

One informer lists once and then follows a watch; all who need the resource share it. The cache is judged by
resourceVersion, so that what a write of ours returned (`wrote`, `removed`) is never undone by an event that
was under way. Follows client-go's tools/cache (shared_informer.go, mutation_cache.go).
"""

from __future__ import annotations

import asyncio
import logging
import random as default_random
from collections.abc import Awaitable, Callable, Iterable, Sequence

from proa.client.protocol import Client, Object, WatchEvent
from proa.objects import meta
from proa.objects.resource import Resource
from proa.reconcile.indexes import Indexes, IndexFunction, Place
from proa.reconcile.reflector import Reflector, Scope
from proa.reconcile.sharing import Siblings

logger = logging.getLogger(__name__)

Listener = Callable[[Object | None, Object | None], None]
"""Called as listener(old, new): old is None for a new object, new is None for one that is gone."""

Objects = list[Object]


class Informer:
    """One resource's cache (`reconcile.protocol.Cache`) and its listeners; `run` keeps it up to date.

    metadata.managedFields are left out: they are most of many objects and no controller's business.
    """

    def __init__(
        self,
        client: Client,
        scope: Scope,
        *,
        random: Callable[[], float] = default_random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.scope = scope
        self._client = client
        self._random = random
        self._sleep = sleep
        self._objects: dict[Place, Object] = {}
        self._indexes = Indexes(self._objects)
        self._listeners: list[Listener] = []
        self._siblings = Siblings()
        self._listed: Objects = []
        self._deleted_uids: set[str] = set()
        self._seen_version = ""
        self._synced = asyncio.Event()

    # Reading

    @property
    def has_synced(self) -> bool:
        """Tell whether the first list is in the cache."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Return when the first list is in the cache."""
        await self._synced.wait()

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, name: str, namespace: str = "") -> Object | None:
        """Return one object, not to be mutated."""
        return self._objects.get((namespace, name))

    def list(self, namespace: str | None = None) -> Sequence[Object]:
        """Return all objects, or a namespace's, not to be mutated."""
        if namespace is None:
            return [*self._objects.values()]
        return self.by_index("namespace", namespace)

    def by_index(self, index: str, value: str) -> Sequence[Object]:
        """Return the objects that the index puts under `value`; raise KeyError for an unknown index."""
        return self._indexes.find(index, value)

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Define an index beside `indexes.INDEXES`; `function` returns the values to find an object under."""
        self._indexes.add(name, function)

    def listen(self, listener: Listener) -> None:
        """Call `listener` for every change from now on, and at once for each object already here."""
        self._listeners.append(listener)
        for obj in [*self._objects.values()]:
            self._call(listener, None, obj)

    def unlisten(self, listener: Listener) -> None:
        """Call `listener` no more; one that does not listen is no error."""
        self._listeners = [known for known in self._listeners if known != listener]

    # Writes of our own

    def wrote(self, obj: Object) -> None:
        """Take in what a write of ours returned, unless the watch is already past it."""
        if not self._is_seen(obj):
            self._put(_without_managed_fields(obj))

    def removed(self, name: str, namespace: str, uid: str) -> None:
        """Forget an object that a delete of ours has ended; events under way do not revive it."""
        obj = self._objects.get((namespace, name))
        if obj is not None and meta.uid(obj) == uid:
            self._deleted_uids.add(uid)
            self._drop((namespace, name))

    # Following the server

    async def run(self) -> None:
        """List, then watch, for ever; see `reflector.Reflector`."""
        await Reflector(self._client, self.scope, self, random=self._random, sleep=self._sleep).run()

    def begin(self) -> None:
        """See `reflector.Sink`."""
        self._listed = []

    def page(self, items: Sequence[Object]) -> None:
        """See `reflector.Sink`. Only what is kept of the objects is, as whole ones may be ten times as large."""
        self._listed += map(_without_managed_fields, items)

    def finish(self, version: str) -> None:
        """Bring the cache to the list."""
        found, self._listed = self._listed, []
        self._seen_version = version
        present = {_place(obj) for obj in found}
        self._deleted_uids &= {meta.uid(obj) for obj in found}
        for place, obj in [*self._objects.items()]:
            if place not in present and self._is_seen(obj):
                self._drop(place)
        for obj in found:
            self._put(obj)
        self._synced.set()

    def apply(self, event: WatchEvent) -> None:
        """Bring the cache to what a watch tells."""
        obj = event.object
        self._seen_version = obj["metadata"]["resourceVersion"]
        if event.type == "BOOKMARK":
            return
        if event.type != "DELETED":
            self._put(_without_managed_fields(obj))
            return
        self._deleted_uids.discard(meta.uid(obj))
        place = _place(obj)
        known = self._objects.get(place)
        if known is not None and not _is_newer(known, obj):
            self._drop(place, obj)

    def _is_seen(self, obj: Object) -> bool:
        return bool(self._seen_version) and _version(obj) <= int(self._seen_version)

    def _put(self, obj: Object) -> None:
        place = _place(obj)
        old = self._objects.get(place)
        if meta.uid(obj) in self._deleted_uids or (old is not None and not _is_newer(obj, old)):
            return
        if old is not None and meta.uid(old) != meta.uid(obj):
            self._drop(place)
            old = None
        self._siblings.share(obj, old)
        self._objects[place] = obj
        self._indexes.change(place, old, obj)
        self._tell(old, obj)

    def _drop(self, place: Place, last: Object | None = None) -> None:
        old = self._objects.pop(place)
        self._indexes.change(place, old, None)
        self._tell(last or old, None)

    # Listeners

    def _tell(self, old: Object | None, new: Object | None) -> None:
        for listener in self._listeners:
            self._call(listener, old, new)

    def _call(self, listener: Listener, old: Object | None, new: Object | None) -> None:
        """Isolate the cache from its listeners' faults."""
        try:
            listener(old, new)
        except Exception:
            obj = new or old or {}
            logger.exception(
                "listener failed resource=%s object=%s", self.scope.resource.qualified_name, meta.key_of(obj)
            )


class InformerFactory:
    """The informers of one client, one for each scope, started together."""

    def __init__(
        self,
        client: Client,
        *,
        random: Callable[[], float] = default_random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._random = random
        self._sleep = sleep
        self._informers: dict[Scope, Informer] = {}
        self._tasks: dict[Scope, asyncio.Task[None]] = {}
        self._started = False

    def informer(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> Informer:
        """Return the shared informer of that scope; one asked for after `start` starts at once."""
        scope = Scope(resource, namespace, label_selector, field_selector)
        informer = self._informers.get(scope)
        if informer is None:
            informer = Informer(self._client, scope, random=self._random, sleep=self._sleep)
            self._informers[scope] = informer
            if self._started:
                self._run(informer)
        return informer

    def __call__(self, resource: Resource, field_selector: str = "", label_selector: str = "", /) -> Informer:
        """Return a cache (`reconcile.protocol.Caches`); KeyError when nobody asked for it."""
        return self._informers[Scope(resource, None, label_selector, field_selector)]

    async def release(self, informer: Informer) -> None:
        """End and forget an informer that nobody else has asked for."""
        self._informers.pop(informer.scope, None)
        task = self._tasks.pop(informer.scope, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def start(self) -> None:
        """Run every informer asked for so far; needs a running event loop. Starting twice is harmless."""
        self._started = True
        for informer in self._informers.values():
            self._run(informer)

    async def wait_synced(self, informers: Iterable[Informer] | None = None) -> None:
        """Return when these, or all, have their first list; raise what ended one of them that failed for good."""
        asked = [*(self._informers.values() if informers is None else informers)]
        tasks = {self._tasks[informer.scope] for informer in asked}
        synced = asyncio.create_task(_all_synced(asked))
        try:
            await asyncio.wait({synced, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            await synced
        finally:
            synced.cancel()

    async def stop(self) -> None:
        """End every informer's task."""
        self._started = False
        tasks = [*self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self, informer: Informer) -> None:
        if informer.scope not in self._tasks:
            name = f"informer {informer.scope.resource.qualified_name}"
            self._tasks[informer.scope] = asyncio.create_task(informer.run(), name=name)


async def _all_synced(informers: Iterable[Informer]) -> None:
    for informer in informers:
        await informer.wait_synced()


def _without_managed_fields(obj: Object) -> Object:
    metadata = obj["metadata"]
    if "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def _place(obj: Object) -> Place:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


def _is_newer(obj: Object, than: Object) -> bool:
    return _version(obj) > _version(than)
