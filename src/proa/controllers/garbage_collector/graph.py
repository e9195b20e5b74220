"""Know who owns whom, by uid: of what owns nothing and is owned by nobody, nothing is kept.

The graph is fed one change at a time and answers with the uids to look at again. It has a node for each object that
has owners, or is being deleted with its dependents in mind. Of an owner it keeps who depends on it, and what was seen
under its uid, for as long as there is a dependent: an owner that was not seen counts as unknown, never as absent, and
who looks asks the server. Follows upstream's pkg/controller/garbagecollector/graph_builder.go, which keeps a node for
every object of the cluster, and virtual ones for owners that it has not seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Literal, NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import Resource

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

OwnerState = Literal["solid", "waiting", "absent", "unknown"]
"""`waiting`: being deleted in the foreground, so that it waits for its dependents to go first."""


class Reference(NamedTuple):
    """An entry of metadata.ownerReferences; `blocks` where the owner's foreground deletion must wait."""

    api_version: str
    kind: str
    name: str
    uid: str
    blocks: bool

    @property
    def group(self) -> str:
        """Return the API group that it names."""
        return self.api_version.rpartition("/")[0]


class Identity(NamedTuple):
    """What a uid stands for; `namespace` is "" for a cluster-scoped object."""

    resource: Resource
    namespace: str
    name: str


class Node(NamedTuple):
    """What matters of one object. Of its finalizers only FOREGROUND and ORPHAN do."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    owners: tuple[Reference, ...]
    finalizers: tuple[str, ...] = ()
    is_deleting: bool = False

    @property
    def identity(self) -> Identity:
        """Return what its uid stands for."""
        return Identity(self.resource, self.namespace, self.name)

    @property
    def waits_for_dependents(self) -> bool:
        """Return whether it is being deleted in the foreground."""
        return self.is_deleting and FOREGROUND in self.finalizers

    @property
    def orphans_dependents(self) -> bool:
        """Return whether it is being deleted and its dependents shall stay."""
        return self.is_deleting and ORPHAN in self.finalizers

    @property
    def matters(self) -> bool:
        """Return whether the graph must know it."""
        return bool(self.owners) or (self.is_deleting and bool(self.finalizers))

    def blocks(self, owner_uid: str) -> bool:
        """Return whether the owner's foreground deletion must wait for this object."""
        return any(owner.uid == owner_uid and owner.blocks for owner in self.owners)


def make_node(resource: Resource, obj: Object) -> Node:
    """Return what matters of `obj`, of which no more than metadata need be there."""
    return Node(
        resource=resource,
        namespace=meta.namespace(obj),
        name=meta.name(obj),
        uid=meta.uid(obj),
        owners=tuple(_reference(entry) for entry in meta.owner_references(obj)),
        finalizers=tuple(entry for entry in meta.finalizers(obj) if entry in (FOREGROUND, ORPHAN)),
        is_deleting=meta.is_deleting(obj),
    )


def _reference(entry: Object) -> Reference:
    blocks = bool(entry.get("blockOwnerDeletion"))
    return Reference(entry["apiVersion"], entry["kind"], entry["name"], entry["uid"], blocks)


def matches(seen: Identity, item: Node, reference: Reference) -> bool:
    """Tell whether an owner that was seen is the one that the item's reference names: namespace, kind and name."""
    return (
        seen.namespace in ("", item.namespace)
        and seen.name == reference.name
        and seen.resource.kind == reference.kind
        and seen.resource.group == reference.group
    )


@dataclass(slots=True)
class _Owner:
    """Who depends on a uid, what was seen under it, and what its last dependent said of its owners, to be shared."""

    dependents: set[str] = field(default_factory=set)
    seen: Identity | None = None
    references: tuple[Reference, ...] = ()


@dataclass(slots=True)
class Graph:
    """The objects that have owners or wait for dependents, and their owners, seen or not; both by uid."""

    nodes: dict[str, Node] = field(default_factory=dict)
    owners: dict[str, _Owner] = field(default_factory=dict)

    def put(self, node: Node) -> set[str]:
        """Take in a new or changed object; return the uids to look at."""
        concerned = self.see(node.uid, node.identity)
        before = self.nodes.get(node.uid)
        if before is None and not node.matters:
            return concerned
        new_owners = {owner.uid for owner in node.owners}
        if before is None or before.owners != node.owners:
            old_owners = {owner.uid for owner in before.owners} if before is not None else set()
            for uid in old_owners - new_owners:
                self._unlink(uid, node.uid)
            for uid in new_owners:
                self.owners.setdefault(uid, _Owner()).dependents.add(node.uid)
            if not all(self._is_well(node, reference) for reference in node.owners):
                concerned.add(node.uid)
            concerned |= self._waiting(old_owners)
        if not node.matters:
            del self.nodes[node.uid]
            return concerned
        self.nodes[node.uid] = self._lean(node)
        if node.orphans_dependents or node.waits_for_dependents:
            concerned.add(node.uid)
            if before is None or not before.waits_for_dependents:
                concerned |= self._dependents(node.uid)
        return concerned

    def see(self, uid: str, identity: Identity) -> set[str]:
        """Note what a uid stands for; return the dependents that took it for something else."""
        owner = self.owners.get(uid)
        if owner is None or owner.seen is not None:
            return set()
        owner.seen = identity
        return {
            node.uid
            for node in self.dependents_of(uid)
            for reference in node.owners
            if reference.uid == uid and not matches(identity, node, reference)
        }

    def remove(self, uid: str) -> set[str]:
        """Take out an object that is gone; return the uids to look at."""
        owner = self.owners.get(uid)
        if owner is not None:
            owner.seen = None
        concerned = set(self._dependents(uid))
        node = self.nodes.pop(uid, None)
        if node is not None:
            owners = {reference.uid for reference in node.owners}
            for owner_uid in owners:
                self._unlink(owner_uid, uid)
            concerned |= self._waiting(owners)
        return concerned

    def known_of(self, resource: Resource) -> set[str]:
        """Return the uids of the resource's objects that the graph knows."""
        known = {uid for uid, node in self.nodes.items() if node.resource == resource}
        known |= {uid for uid, owner in self.owners.items() if owner.seen and owner.seen.resource == resource}
        return known

    def dependents_of(self, uid: str) -> list[Node]:
        """Return the objects that name `uid` as an owner."""
        return [self.nodes[dependent] for dependent in self._dependents(uid)]

    def circle_of(self, item: Node) -> set[str]:
        """Return the uids of what waits for `item` to go, directly or not; what `item` waits for as well never goes."""
        found: set[str] = set()
        waits = [item]
        while waits:
            for owner in waits.pop().owners:
                node = self.nodes.get(owner.uid)
                if owner.blocks and owner.uid not in found and node is not None and node.waits_for_dependents:
                    found.add(owner.uid)
                    waits.append(node)
        return found

    def with_unseen_owners(self) -> set[str]:
        """Return the uids of all objects with an owner that was not seen."""
        return {uid for owner in self.owners.values() if owner.seen is None for uid in owner.dependents}

    def in_progress(self) -> set[str]:
        """Return the uids of what is being deleted with its dependents in mind."""
        nodes = self.nodes.values()
        return {node.uid for node in nodes if node.waits_for_dependents or node.orphans_dependents}

    def seen(self, uid: str) -> Identity | None:
        """Return what was seen under an owner's uid."""
        owner = self.owners.get(uid)
        return None if owner is None else owner.seen

    def owner_state(self, item: Node, reference: Reference) -> OwnerState:
        """Return what is known of an owner. One that is not as the reference says is none: the server must be asked."""
        seen = self.seen(reference.uid)
        if seen is None or not matches(seen, item, reference):
            return "unknown"
        owner = self.nodes.get(reference.uid)
        return "waiting" if owner is not None and owner.waits_for_dependents else "solid"

    def _is_well(self, item: Node, reference: Reference) -> bool:
        return self.owner_state(item, reference) == "solid"

    def _dependents(self, uid: str) -> set[str]:
        owner = self.owners.get(uid)
        return set() if owner is None else owner.dependents

    def _waiting(self, uids: Iterable[str]) -> set[str]:
        return {uid for uid in uids if uid in self.nodes and self.nodes[uid].waits_for_dependents}

    def _unlink(self, owner_uid: str, dependent: str) -> None:
        owner = self.owners.get(owner_uid)
        if owner is not None:
            owner.dependents.discard(dependent)
            if not owner.dependents:
                del self.owners[owner_uid]

    def _lean(self, node: Node) -> Node:
        """Return the node with what it says of its owners shared with others that say the same."""
        if not node.owners:
            return node
        first = self.owners[node.owners[0].uid]
        if first.references != node.owners:
            first.references = node.owners
        return node._replace(owners=first.references)
