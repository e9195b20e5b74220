"""Delete objects whose owners are all gone; see to foreground deletion and to orphaning.

Watches the metadata of every resource that can be listed, watched and deleted, as discovery tells, and looks
at discovery again when a kind is added. There are no periodic scans: what is looked at is what changed. An
owner not seen is asked for by name, and remembered when it is absent, since a uid never comes back. Follows
upstream's pkg/controller/garbagecollector/garbagecollector.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from proa.client.protocol import Client, Object
from proa.controllers.garbage_collector.graph import (
    Graph,
    Node,
    OwnerState,
    Plan,
    make_node,
    plan,
)
from proa.objects import meta
from proa.objects.errors import ApiError, NotFound
from proa.objects.resource import Resource
from proa.reconcile.discovery import discover
from proa.reconcile.informer import Informer, Scope
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

logger = logging.getLogger(__name__)

NEEDED_VERBS = {"list", "watch", "delete"}
ADDS_KINDS = {
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
}
IGNORED = {"events"}
ABSENT_OWNERS_REMEMBERED = 500
REDISCOVER_SECONDS = 30.0
"""After a discovery that failed in part."""
SYNC_SECONDS = 30.0
"""So long a resource that cannot be listed holds up the others; its objects are asked for by name then."""


class GarbageCollector:
    """A `reconcile.protocol.SelfWatching` controller; a key's name is the uid of the object to look at."""

    NAME = "garbage-collector"
    ACCOUNT = "generic-garbage-collector"
    WATCHES: tuple[Watch, ...] = ()
    WORKERS = 20

    def __init__(self) -> None:
        self._graph = Graph()
        self._resources: dict[tuple[str, str], Resource] = {}
        self._informers: dict[Resource, tuple[Informer, asyncio.Task[None] | None]] = {}
        self._absent: OrderedDict[str, None] = OrderedDict()
        self._kinds_changed = asyncio.Event()
        self._enqueue: Callable[[str], None] = lambda uid: None

    async def run(self, context: Context, enqueue: Callable[[Key], None]) -> None:
        """Follow every resource; look at nothing before all are known."""
        try:
            while True:
                self._kinds_changed.clear()
                is_complete = await self._follow_all(context)
                self._enqueue = lambda uid: enqueue(Key("", uid))
                for uid in self._graph.with_unseen_owners() | self._in_progress():
                    self._enqueue(uid)
                try:
                    await asyncio.wait_for(
                        self._kinds_changed.wait(), None if is_complete else REDISCOVER_SECONDS
                    )
                except TimeoutError:
                    continue
        finally:
            tasks = [task for _, task in self._informers.values() if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _in_progress(self) -> set[str]:
        """Return what was being deleted with dependents in mind when we began."""
        nodes = self._graph.nodes.values()
        return {node.uid for node in nodes if node.waits_for_dependents or node.orphans_dependents}

    async def _follow_all(self, context: Context) -> bool:
        """Bring the informers to what is served; return whether discovery was complete."""
        try:
            discovered = await discover(context.client)
        except ApiError as error:
            logger.warning("discovery failed controller=%s error=%s", self.NAME, error)
            return False
        wanted = {
            served.resource
            for served in discovered.served
            if served.verbs >= NEEDED_VERBS and served.resource.plural not in IGNORED
        }
        self._resources = {(r.group, r.kind): r for r in wanted}
        if not discovered.failed:
            for resource in [*self._informers.keys() - wanted]:
                await self._unfollow(resource)
        for resource in wanted - self._informers.keys():
            self._informers[resource] = self._follow(context, resource)
        await self._wait_synced()
        return not discovered.failed

    async def _wait_synced(self) -> None:
        waits = [asyncio.create_task(informer.wait_synced()) for informer, _ in self._informers.values()]
        if not waits:
            return
        try:
            await asyncio.wait(waits, timeout=SYNC_SECONDS)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _follow(self, context: Context, resource: Resource) -> tuple[Informer, asyncio.Task[None] | None]:
        """Listen to the informer that others have of the resource, or else run one for the metadata."""
        try:
            shared = context.caches(resource)
        except KeyError:
            shared = None
        if isinstance(shared, Informer):
            shared.listen(self._listener(resource))
            return shared, None
        informer = Informer(context.client, Scope(resource), random=context.random, transform=only_metadata)
        informer.listen(self._listener(resource))
        name = f"garbage collector {resource.qualified_name}"
        return informer, asyncio.create_task(informer.run(), name=name)

    async def _unfollow(self, resource: Resource) -> None:
        """Forget a resource that is no longer served, and its objects, which went with it."""
        informer, task = self._informers.pop(resource)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for obj in informer.list():
            self._changed(resource, obj, None)

    def _listener(self, resource: Resource) -> Callable[[Object | None, Object | None], None]:
        adds_kinds = (resource.group, resource.plural) in ADDS_KINDS

        def listen(old: Object | None, new: Object | None) -> None:
            self._changed(resource, old, new)
            if adds_kinds:
                self._kinds_changed.set()

        return listen

    def _changed(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        if new is not None:
            concerned = self._graph.put(make_node(resource, new))
        else:
            concerned = self._graph.remove(meta.uid(old or {}))
        for uid in concerned:
            self._enqueue(uid)

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Look at one object: ask for owners that were not seen, decide, do it.

        Raises Conflict when the object has changed since: then it is looked at again.
        """
        item = self._graph.nodes.get(key.name)
        if item is None:
            return DONE
        states = {owner["uid"]: await self._owner_state(context.client, item, owner) for owner in item.owners}
        decided = plan(item, self._graph.dependents_of(item.uid), states)
        try:
            await self._apply(context.client, item, decided)
        except NotFound:
            return DONE
        return DONE

    async def _owner_state(self, client: Client, item: Node, reference: Mapping[str, Any]) -> OwnerState:
        uid = reference["uid"]
        if uid in self._absent:
            return "absent"
        state = self._graph.owner_state(item, reference)
        if state != "unknown":
            return state
        group = reference["apiVersion"].rpartition("/")[0]
        resource = self._resources.get((group, reference["kind"]))
        if resource is None or (resource.namespaced and not item.namespace):
            return (
                "solid"  # a kind that is not served, or cannot own this: upstream leaves such objects alone
            )
        namespace = item.namespace if resource.namespaced else None
        try:
            owner = await client.get(resource, reference["name"], namespace)
        except NotFound:
            owner = {}
        if meta.uid(owner) != uid:
            self._remember_absent(uid)
            return "absent"
        return "waiting" if make_node(resource, owner).waits_for_dependents else "solid"

    def _remember_absent(self, uid: str) -> None:
        self._absent[uid] = None
        if len(self._absent) > ABSENT_OWNERS_REMEMBERED:
            self._absent.popitem(last=False)

    async def _apply(self, client: Client, item: Node, decided: Plan) -> None:
        for uid in decided.look_at:
            self._enqueue(uid)
        for blocked in decided.unblock:
            unblocked = tuple({**owner, "blockOwnerDeletion": False} for owner in blocked.owners)
            await _patch(client, blocked, {"ownerReferences": list(unblocked)})
        if decided.orphan:
            await asyncio.gather(*(_disown(client, dependent, item.uid) for dependent in decided.orphan))
        if decided.keep_owners is not None:
            await _patch(client, item, {"ownerReferences": [dict(owner) for owner in decided.keep_owners]})
        if decided.remove_finalizer:
            kept = [entry for entry in item.finalizers if entry != decided.remove_finalizer]
            await _patch(client, item, {"finalizers": kept or None})
        if decided.delete is not None:
            await client.delete(
                item.resource,
                item.name,
                item.namespace or None,
                propagation_policy=decided.delete,
                uid=item.uid,
                resource_version="" if decided.unblock else item.resource_version,
            )


async def _disown(client: Client, dependent: Node, owner_uid: str) -> None:
    """Take an owner out of a dependent; one that is gone already is fine."""
    kept = [dict(owner) for owner in dependent.owners if owner.get("uid") != owner_uid]
    try:
        await _patch(client, dependent, {"ownerReferences": kept or None})
    except NotFound:
        return


async def _patch(client: Client, node: Node, changes: dict[str, Any]) -> None:
    """Change metadata of exactly the version that was looked at."""
    metadata = {"uid": node.uid, "resourceVersion": node.resource_version, **changes}
    await client.patch(node.resource, node.name, {"metadata": metadata}, node.namespace or None)


def only_metadata(obj: Object) -> Object:
    """Return what the graph needs of an object, to be kept in place of it."""
    metadata = obj["metadata"]
    kept = (
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "ownerReferences",
        "finalizers",
        "deletionTimestamp",
    )
    return {"metadata": {key: metadata[key] for key in kept if key in metadata}}
