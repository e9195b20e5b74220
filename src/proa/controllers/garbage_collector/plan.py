"""Decide what becomes of an object whose owners go, or which goes with its dependents in mind.

Follows attemptToDeleteItem of upstream's pkg/controller/garbagecollector/garbagecollector.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

from proa.client.protocol import PropagationPolicy
from proa.controllers.garbage_collector.graph import FOREGROUND, ORPHAN, Node, OwnerState, Reference


class Plan(NamedTuple):
    """What to do about one object.

    `drop_owners` are references that it shall have no more; `unblock`: first it must cease to block its owners, to
    break a circle.
    """

    delete: PropagationPolicy | None = None
    drop_owners: tuple[Reference, ...] = ()
    unblock: bool = False
    orphan: tuple[Node, ...] = ()
    look_at: tuple[str, ...] = ()
    remove_finalizer: str = ""

    @property
    def writes_item(self) -> bool:
        """Return whether the object itself is to be changed or deleted."""
        return bool(self.delete or self.drop_owners or self.remove_finalizer)


def plan(
    item: Node,
    dependents: Sequence[Node],
    states: Mapping[Reference, OwnerState],
    circle: Set[str] = frozenset(),
) -> Plan:
    """Decide, given the state of each owner; none may be "unknown". `circle` are uids of what waits for the item.

    What waits for the item is not waited for, or a circle deleted in the foreground would stay for ever, as upstream's.
    """
    if item.orphans_dependents:
        return Plan(orphan=tuple(dependents), remove_finalizer=ORPHAN)
    if item.waits_for_dependents:
        if not any(d.blocks(item.uid) and d.uid not in circle for d in dependents):
            return Plan(remove_finalizer=FOREGROUND)
        return Plan(look_at=tuple(d.uid for d in dependents if not d.is_deleting))
    if item.is_deleting or not item.owners:
        return Plan()
    gone = tuple(owner for owner in item.owners if states[owner] != "solid")
    if len(gone) < len(item.owners):
        return Plan(drop_owners=gone)
    waiting = any(states[owner] == "waiting" for owner in item.owners)
    if waiting and dependents:
        circular = any(dependent.waits_for_dependents for dependent in dependents)
        return Plan(delete="Foreground", unblock=circular)
    return Plan(delete=_policy_of(item))


def _policy_of(item: Node) -> PropagationPolicy:
    """Return the policy that its finalizers ask for."""
    if ORPHAN in item.finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in item.finalizers else "Background"
