"""Delete objects whose owners are all gone; see to foreground deletion and to orphaning.

Watches the metadata of every resource that can be listed, watched and deleted, as discovery tells, and looks
at discovery again when a kind is added. There are no periodic scans: what is looked at is what changed. An
owner not seen is asked for by name, and remembered when it is absent, since a uid never comes back. Follows
upstream's pkg/controller/garbagecollector/garbagecollector.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from proa.client.protocol import STRATEGIC_MERGE_PATCH, Client, Object
from proa.controllers.garbage_collector import misplaced
from proa.controllers.garbage_collector.following import Following
from proa.controllers.garbage_collector.graph import (
    Graph,
    Identity,
    Node,
    OwnerState,
    Reference,
    make_node,
)
from proa.controllers.garbage_collector.plan import Plan, plan
from proa.objects import meta
from proa.objects.errors import NotFound, UnsupportedMediaType
from proa.objects.resource import Resource
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

ABSENT_OWNERS_REMEMBERED = 500
GONE_REMEMBERED = 2_000


class GarbageCollector:
    """A `reconcile.protocol.SelfWatching` controller; a key's name is the uid of the object to look at."""

    NAME = "garbage-collector"
    ACCOUNT = "generic-garbage-collector"
    WATCHES: tuple[Watch, ...] = ()
    WORKERS = 20

    def __init__(self) -> None:
        self._graph = Graph()
        self._following = Following(self._graph, self._look_at, self._remember_gone)
        self._absent: dict[tuple[str, Reference], None] = {}
        """Owners that were asked for and not found, each with the namespace that it was looked for in."""
        self._gone: dict[str, None] = {}
        """Uids of what was deleted lately."""
        self._enqueue: Callable[[str], None] = lambda uid: None

    async def run(self, context: Context, enqueue: Callable[[Key], None]) -> None:
        """Follow every resource; look at nothing before all are known."""
        following = self._following
        self._search = misplaced.Search(lambda *found: self._report(context, *found))
        searching = asyncio.create_task(self._search.run(context.client), name="garbage collector search")
        try:
            while True:
                following.kinds_changed.clear()
                is_complete = await following.follow_all(context)
                self._enqueue = lambda uid: enqueue(Key("", uid))
                self._look_at(self._graph.with_unseen_owners() | self._graph.in_progress())
                await following.wait_for_kinds(is_complete=is_complete)
        finally:
            searching.cancel()
            await asyncio.gather(searching, return_exceptions=True)
            await following.stop()

    def _look_at(self, uids: set[str]) -> None:
        for uid in uids:
            self._enqueue(uid)

    def _remember_gone(self, uid: str) -> None:
        _remember(self._gone, uid, GONE_REMEMBERED)

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Look at one object: ask for owners that were not seen, decide, do it.

        Raises Conflict when the object has changed since: then it is looked at again.
        """
        item = self._graph.nodes.get(key.name)
        if item is None:
            return DONE
        decided = await self._plan(context, item)
        if decided.writes_item:
            latest = await _find(context, item.resource, item.name, item.namespace)
            if latest is None or meta.uid(latest) != item.uid:
                return DONE  # its end is about to be heard of
            newest = make_node(item.resource, latest)
            if newest != item:
                decided = await self._plan(context, newest)
            await self._write(context.client, newest, latest, decided)
        self._look_at(set(decided.look_at))
        return DONE

    async def _plan(self, context: Context, item: Node) -> Plan:
        states = {reference: await self._owner_state(context, item, reference) for reference in item.owners}
        circle = self._graph.circle_of(item) if item.waits_for_dependents else frozenset[str]()
        return plan(item, self._graph.dependents_of(item.uid), states, circle)

    async def _owner_state(self, context: Context, item: Node, reference: Reference) -> OwnerState:
        state = self._graph.owner_state(item, reference)
        if state != "unknown":
            return state
        resource = self._following.resources.get((reference.group, reference.kind))
        if resource is not None and resource.namespaced and not item.namespace:
            self._tell_misplaced(context, resource, item, reference)
            return "solid"  # it cannot own this: upstream leaves such objects alone
        if reference.uid in self._gone:
            return "absent"
        if resource is None:
            return "solid"  # a kind that is not served: upstream leaves its dependents alone until it is
        namespace = item.namespace if resource.namespaced else ""
        place = (namespace, reference)
        if place in self._absent:
            self._tell_misplaced(context, None, item, reference)
            return "absent"
        owner = await _find(context, resource, reference.name, namespace, reference.uid)
        if owner is None or meta.uid(owner) != reference.uid:
            _remember(self._absent, place, ABSENT_OWNERS_REMEMBERED)
            self._tell_misplaced(context, resource if namespace else None, item, reference)
            return "absent"
        self._look_at(self._graph.see(reference.uid, Identity(resource, namespace, reference.name)))
        return "waiting" if make_node(resource, owner).waits_for_dependents else "solid"

    def _tell_misplaced(
        self, context: Context, resource: Resource | None, item: Node, reference: Reference
    ) -> None:
        """See that an owner that is in another namespace is told of: now, or once it is found among the resource's."""
        seen = self._graph.seen(reference.uid)
        if seen is None:
            if resource is not None:
                self._search.ask(resource, item, reference)
        elif seen.namespace not in ("", item.namespace):
            self._report(context, item, reference, seen)

    def _report(self, context: Context, item: Node, reference: Reference, seen: Identity) -> None:
        self._graph.see(reference.uid, seen)
        text = misplaced.message(item, reference)
        context.events.event(misplaced.about(item), "Warning", misplaced.REASON, text)

    async def _write(self, client: Client, item: Node, latest: Object, decided: Plan) -> None:
        """Change or delete the object, of exactly the version `latest`."""
        try:
            if decided.orphan:
                await asyncio.gather(*(_disown(client, node, item.uid) for node in decided.orphan))
            if decided.unblock:
                unblocked = [
                    {**entry, "blockOwnerDeletion": False} for entry in meta.owner_references(latest)
                ]
                latest = await _patch(client, item, latest, {"ownerReferences": unblocked})
            if decided.drop_owners:
                gone = {(owner.uid, owner.name, owner.kind) for owner in decided.drop_owners}
                owners = [
                    entry
                    for entry in meta.owner_references(latest)
                    if (entry["uid"], entry["name"], entry["kind"]) not in gone
                ]
                await _patch(client, item, latest, {"ownerReferences": owners})
            if decided.remove_finalizer:
                kept = [entry for entry in meta.finalizers(latest) if entry != decided.remove_finalizer]
                await _patch(client, item, latest, {"finalizers": kept or None})
            if decided.delete is not None:
                await client.delete(
                    item.resource,
                    item.name,
                    item.namespace or None,
                    propagation_policy=decided.delete,
                    uid=item.uid,
                    resource_version=meta.resource_version(latest),
                )
        except NotFound:
            return


async def _find(
    context: Context, resource: Resource, name: str, namespace: str, uid: str = ""
) -> Object | None:
    """Return an object: the one of a cache, unless it has another uid than it should, else the server's."""
    try:
        cached = context.caches(resource).get(name, namespace)
    except KeyError:
        cached = None
    if cached is not None and uid in ("", meta.uid(cached)):
        return cached
    try:
        return await context.client.get(resource, name, namespace or None)
    except NotFound:
        return None


async def _disown(client: Client, dependent: Node, owner_uid: str) -> None:
    """Take an owner out of a dependent; one that is gone already is fine."""
    patch = {"uid": dependent.uid, "ownerReferences": [{"$patch": "delete", "uid": owner_uid}]}
    namespace = dependent.namespace or None
    try:
        try:
            await client.patch(
                dependent.resource,
                dependent.name,
                {"metadata": patch},
                namespace,
                patch_type=STRATEGIC_MERGE_PATCH,
            )
        except UnsupportedMediaType:  # a custom resource
            latest = await client.get(dependent.resource, dependent.name, namespace)
            kept = [entry for entry in meta.owner_references(latest) if entry["uid"] != owner_uid]
            await _patch(client, dependent, latest, {"ownerReferences": kept or None})
    except NotFound:
        return


async def _patch(client: Client, node: Node, latest: Object, changes: dict[str, Any]) -> Object:
    """Change metadata of exactly the version that was looked at."""
    metadata = {"uid": node.uid, "resourceVersion": meta.resource_version(latest), **changes}
    return await client.patch(node.resource, node.name, {"metadata": metadata}, node.namespace or None)


def _remember(memory: dict[Any, None], what: object, limit: int) -> None:
    """Remember one more, in place of the oldest."""
    memory[what] = None
    if len(memory) > limit:
        del memory[next(iter(memory))]
