"""Keep account of devices: what drivers offer, what claims have, and what was decided but is not written yet.

`version` changes whenever an answer may. Follows pkg/scheduler/framework/plugins/dynamicresources/dra_manager.go.
"""

from __future__ import annotations

from collections import Counter
from weakref import WeakKeyDictionary

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.resource import DEVICE_CLASSES, RESOURCE_CLAIMS, RESOURCE_SLICES
from proa.objects.resource_claims import DeviceId, allocation_of, devices_taken
from proa.reconcile.informer import InformerFactory
from proa.scheduler.plugins.dynamic_resources_effort import Effort
from proa.scheduler.plugins.dynamic_resources_pools import Device, Inventory, Pool

MATCHES_KEPT = 100_000


_ledgers: WeakKeyDictionary[InformerFactory, Ledger] = WeakKeyDictionary()


def ledger_of(informers: InformerFactory) -> Ledger:
    """Return the account of the scheduler that has these informers: all of its profiles share it."""
    found = _ledgers.get(informers)
    if found is None:
        found = _ledgers[informers] = Ledger(informers)
    return found


class Ledger:
    """The account of one scheduler."""

    def __init__(self, informers: InformerFactory) -> None:
        self.claims = informers.informer(RESOURCE_CLAIMS)
        self.taken: Counter[DeviceId] = Counter()
        """How many claims have each device, or are about to."""
        self.version = 0
        self._pending: dict[str, tuple[str, Object]] = {}
        self._held: dict[str, tuple[DeviceId, ...]] = {}
        self._slices = informers.informer(RESOURCE_SLICES)
        self._classes = informers.informer(DEVICE_CLASSES)
        self._inventory: Inventory | None = None
        self._classes_by_name: dict[str, Object] | None = None
        self._matches: dict[tuple[str, DeviceId], bool] = {}
        self.claims.listen(self._claim_changed)
        self._slices.listen(self._slices_changed)
        self._classes.listen(self._class_changed)

    def pools_for(self, node_name: str) -> list[Pool]:
        """Return what drivers offer that a node may reach."""
        if self._inventory is None:
            self._inventory = Inventory(self._slices.list())
            self._matches.clear()
        return self._inventory.pools_for(node_name)

    @property
    def classes(self) -> dict[str, Object]:
        """Return the DeviceClasses by name."""
        if self._classes_by_name is None:
            self._classes_by_name = {meta.name(each): each for each in self._classes.list()}
        return self._classes_by_name

    def has_class(self, name: str) -> bool:
        """Tell whether there is such a DeviceClass."""
        return self._classes.get(name) is not None

    def matches(self, expression: str, device: Device, effort: Effort) -> bool:
        """Tell whether an expression selects a device; raise SelectorError, TimedOut."""
        key = (expression, device.id)
        found = self._matches.get(key)
        if found is None:
            from proa.scheduler.plugins.dynamic_resources_selectors import matches

            if len(self._matches) >= MATCHES_KEPT:
                self._matches.clear()
            found = self._matches[key] = matches(expression, device, effort)
        return found

    # What was decided

    def is_pending(self, claim: Object) -> bool:
        """Tell whether an allocation of the claim is being written."""
        return meta.uid(claim) in self._pending

    def pending(self, claim: Object, pod_uid: str) -> Object | None:
        """Return the allocation that is being written for a pod."""
        by, allocation = self._pending.get(meta.uid(claim), ("", None))
        return allocation if by == pod_uid else None

    def reserve(self, claim: Object, allocation: Object, pod_uid: str) -> None:
        """Count devices as taken by a claim, for a pod; `settle` follows."""
        self._pending[meta.uid(claim)] = (pod_uid, allocation)
        self._count(meta.uid(claim), devices_taken(allocation))

    def settle(self, claim: Object, pod_uid: str) -> None:
        """A pod's allocation has been written, or will not be: from now on the claim itself counts."""
        if self.pending(claim, pod_uid) is not None:
            del self._pending[meta.uid(claim)]
            current = self.claims.get(meta.name(claim), meta.namespace(claim))
            is_same = current is not None and meta.uid(current) == meta.uid(claim)
            self._count(meta.uid(claim), devices_taken(allocation_of(current)) if is_same and current else ())

    # Listeners

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        uid = meta.uid(new or old or {})
        if new is None:
            self._pending.pop(uid, None)
            self._count(uid, ())
        elif uid not in self._pending:
            self._count(uid, devices_taken(allocation_of(new)))

    def _slices_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or old["spec"] != new["spec"]:
            self._inventory = None
            self.version += 1

    def _class_changed(self, old: Object | None, new: Object | None) -> None:
        self._classes_by_name = None
        if old is None or new is None or old["spec"] != new["spec"]:
            self.version += 1

    def _count(self, uid: str, devices: tuple[DeviceId, ...]) -> None:
        before = self._held.get(uid, ())
        if before == devices:
            return
        self.taken.update(devices)
        self.taken.subtract(before)
        for device in before:
            if not self.taken[device]:
                del self.taken[device]
        if devices:
            self._held[uid] = devices
        else:
            del self._held[uid]
        self.version += 1
