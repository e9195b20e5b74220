"""Know who owns whom, by uid, and decide what becomes of an object whose owners go.

Only metadata is kept. The graph is fed one change at a time and answers with the uids to look at again; an
owner that it has not seen counts as unknown, never as absent. Follows upstream's
pkg/controller/garbagecollector/graph_builder.go and garbagecollector.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, Literal, NamedTuple

from proa.client.protocol import Object, PropagationPolicy
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import Resource

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

OwnerState = Literal["solid", "waiting", "absent", "unknown"]
"""`waiting`: being deleted in the foreground, so that it waits for its dependents to go first."""


class Node(NamedTuple):
    """What matters of one object."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    resource_version: str
    owners: tuple[Mapping[str, Any], ...]
    finalizers: tuple[str, ...]
    is_deleting: bool

    @property
    def waits_for_dependents(self) -> bool:
        """Return whether it is being deleted in the foreground."""
        return self.is_deleting and FOREGROUND in self.finalizers

    @property
    def orphans_dependents(self) -> bool:
        """Return whether it is being deleted and its dependents shall stay."""
        return self.is_deleting and ORPHAN in self.finalizers

    def blocks(self, owner_uid: str) -> bool:
        """Return whether the owner's foreground deletion must wait for this object."""
        return any(o.get("uid") == owner_uid and o.get("blockOwnerDeletion") for o in self.owners)


def make_node(resource: Resource, obj: Object) -> Node:
    """Return what matters of `obj`."""
    return Node(
        resource=resource,
        namespace=meta.namespace(obj),
        name=meta.name(obj),
        uid=meta.uid(obj),
        resource_version=meta.resource_version(obj),
        owners=tuple(meta.owner_references(obj)),
        finalizers=tuple(meta.finalizers(obj)),
        is_deleting=meta.is_deleting(obj),
    )


@dataclass(slots=True)
class Graph:
    """All objects by uid, and the uids of the dependents of each owner, seen or not."""

    nodes: dict[str, Node] = field(default_factory=dict)
    dependents: dict[str, set[str]] = field(default_factory=dict)

    def put(self, node: Node) -> set[str]:
        """Take in a new or changed object; return the uids to look at."""
        before = self.nodes.get(node.uid)
        self.nodes[node.uid] = node
        old_owners = {owner["uid"] for owner in before.owners} if before is not None else set()
        new_owners = {owner["uid"] for owner in node.owners}
        for uid in old_owners - new_owners:
            self._unlink(uid, node.uid)
        for uid in new_owners - old_owners:
            self.dependents.setdefault(uid, set()).add(node.uid)
        concerned = set()
        if node.orphans_dependents or node.waits_for_dependents:
            concerned.add(node.uid)
        if before is None or before.owners != node.owners:
            if any(self._is_going_or_unseen(uid) for uid in new_owners):
                concerned.add(node.uid)
            concerned |= self._waiting(old_owners)
        return concerned

    def remove(self, uid: str) -> set[str]:
        """Take out an object that is gone; return the uids to look at."""
        node = self.nodes.pop(uid, None)
        if node is None:
            return set()
        owners = {owner["uid"] for owner in node.owners}
        for owner in owners:
            self._unlink(owner, uid)
        return set(self.dependents.get(uid, ())) | self._waiting(owners)

    def dependents_of(self, uid: str) -> list[Node]:
        """Return the objects that name `uid` as an owner."""
        return [self.nodes[dependent] for dependent in self.dependents.get(uid, ())]

    def with_unseen_owners(self) -> set[str]:
        """Return the uids of all objects with an owner that is not in the graph."""
        return {
            uid
            for owner, dependents in self.dependents.items()
            if owner not in self.nodes
            for uid in dependents
        }

    def owner_state(self, item: Node, reference: Mapping[str, Any]) -> OwnerState:
        """Return what is known of an owner. One in another namespace is no owner: the server must be asked."""
        owner = self.nodes.get(reference["uid"])
        if owner is None or owner.namespace not in ("", item.namespace):
            return "unknown"
        if owner.resource.kind != reference.get("kind") or owner.name != reference.get("name"):
            return "unknown"
        return "waiting" if owner.waits_for_dependents else "solid"

    def _is_going_or_unseen(self, uid: str) -> bool:
        owner = self.nodes.get(uid)
        return owner is None or owner.waits_for_dependents

    def _waiting(self, uids: Iterable[str]) -> set[str]:
        return {uid for uid in uids if uid in self.nodes and self.nodes[uid].waits_for_dependents}

    def _unlink(self, owner: str, dependent: str) -> None:
        known = self.dependents.get(owner)
        if known is not None:
            known.discard(dependent)
            if not known:
                del self.dependents[owner]


class Plan(NamedTuple):
    """What to do about one object, at most one thing of each kind.

    `unblock` are dependents whose blockOwnerDeletion must go first, to break a circle of owners.
    """

    delete: PropagationPolicy | None = None
    keep_owners: tuple[Mapping[str, Any], ...] | None = None
    unblock: tuple[Node, ...] = ()
    orphan: tuple[Node, ...] = ()
    look_at: tuple[str, ...] = ()
    remove_finalizer: str = ""


def plan(item: Node, dependents: Sequence[Node], states: Mapping[str, OwnerState]) -> Plan:
    """Decide, given the state of each owner by uid; none may be "unknown"."""
    if item.orphans_dependents:
        return Plan(orphan=tuple(dependents), remove_finalizer=ORPHAN)
    if item.waits_for_dependents:
        blocking = [dependent for dependent in dependents if dependent.blocks(item.uid)]
        if not blocking:
            return Plan(remove_finalizer=FOREGROUND)
        return Plan(look_at=tuple(d.uid for d in dependents if not d.is_deleting))
    if item.is_deleting or not item.owners:
        return Plan()
    solid = tuple(owner for owner in item.owners if states[owner["uid"]] == "solid")
    if solid:
        return Plan(keep_owners=solid if len(solid) < len(item.owners) else None)
    waiting = any(states[owner["uid"]] == "waiting" for owner in item.owners)
    if waiting and dependents:
        circular = any(dependent.waits_for_dependents for dependent in dependents)
        return Plan(delete="Foreground", unblock=(item,) if circular else ())
    return Plan(delete=_policy_of(item))


def _policy_of(item: Node) -> PropagationPolicy:
    """Return the policy that its finalizers ask for."""
    if ORPHAN in item.finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in item.finalizers else "Background"
