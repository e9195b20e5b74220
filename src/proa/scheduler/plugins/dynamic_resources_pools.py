"""Know which devices drivers offer, pool by pool, and which of them a node reaches.

A pool is a driver's slices of the newest generation. One of which slices are missing is incomplete, one that has a
name twice is invalid; neither gives devices. Follows staging/src/k8s.io/dynamic-resource-allocation/structured
(internal/stable/pools_stable.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.node_selectors import selects
from proa.objects.quantity import parse_quantity
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource_claims import DeviceId

CounterKey = tuple[str, str]
"""A counter set's name, and the counter's."""


@dataclass(frozen=True, slots=True, eq=False)
class Device:
    """A device as its slice describes it; `place` is what says which nodes reach it: the slice's spec, or itself."""

    id: DeviceId
    spec: Object
    place: Object

    def is_reached_from(self, node: Object) -> bool:
        """Tell whether a node can use it."""
        if name := self.place.get("nodeName"):
            return bool(name == meta.name(node))
        if self.place.get("allNodes"):
            return True
        selector = self.place.get("nodeSelector")
        return selector is not None and selects(selector, node)

    @property
    def counters(self) -> dict[CounterKey, Decimal]:
        """Return what it takes of its pool's counters."""
        return _counters(self.spec.get("consumesCounters") or (), "counterSet")


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """All devices of a pool. `counters` are what there is of each, `trouble` is why none can be had, "" for none."""

    driver: str
    name: str
    devices: tuple[Device, ...]
    counters: Mapping[CounterKey, Decimal]
    trouble: str

    def __str__(self) -> str:
        return f"{self.driver}/{self.name}"


class Inventory:
    """All pools, and which a node may reach: those that name it, and those whose devices several nodes reach."""

    def __init__(self, slices: Iterable[Object]) -> None:
        self._of_node: dict[str, list[Pool]] = {}
        self._of_many: list[Pool] = []
        for pool in gather_pools(slices):
            names = {device.place.get("nodeName") or "" for device in pool.devices}
            if "" in names:
                self._of_many.append(pool)
                continue
            for name in names:
                self._of_node.setdefault(name, []).append(pool)

    def pools_for(self, node_name: str) -> list[Pool]:
        """Return the pools to look at for a node, by driver and name."""
        found = self._of_node.get(node_name, [])
        if not self._of_many:
            return found
        return sorted((*found, *self._of_many), key=lambda pool: (pool.driver, pool.name))


def gather_pools(slices: Iterable[Object]) -> list[Pool]:
    """Return the pools of all slices, by driver and name."""
    newest: dict[tuple[str, str], list[Object]] = {}
    for each in sorted(slices, key=meta.name):
        spec = each["spec"]
        known = newest.setdefault((spec["driver"], spec["pool"]["name"]), [])
        if known and known[0]["pool"].get("generation", 0) > spec["pool"].get("generation", 0):
            continue
        if known and known[0]["pool"].get("generation", 0) < spec["pool"].get("generation", 0):
            known.clear()
        known.append(spec)
    return [_make_pool(driver, name, specs) for (driver, name), specs in sorted(newest.items())]


def _make_pool(driver: str, name: str, specs: list[Object]) -> Pool:
    devices = [
        Device(DeviceId(driver, name, device["name"]), device, device if spec.get("perDeviceNodeSelection") else spec)
        for spec in specs
        for device in spec.get("devices") or ()
    ]  # fmt: skip
    counters: dict[CounterKey, Decimal] = {}
    for spec in specs:
        counters |= _counters(spec.get("sharedCounters") or (), "name")
    trouble = ""
    if len(specs) != specs[0]["pool"].get("resourceSliceCount"):
        trouble = "being updated"
    elif len({device.id for device in devices}) < len(devices):
        trouble = "invalid"
    return Pool(driver, name, tuple(devices), counters, trouble)


def _counters(sets: Iterable[Object], name: str) -> dict[CounterKey, Decimal]:
    return {
        (each[name], counter): parse_quantity(value["value"])
        for each in sets
        for counter, value in (each.get("counters") or {}).items()
    }


def attribute_of(device: Device, name: str) -> tuple[str, Any] | None:
    """Return a device's attribute by its full name, as its kind and value; None where it has none."""
    attributes = device.spec.get("attributes") or {}
    found = attributes.get(name)
    domain, _, short = name.rpartition("/")
    if found is None and domain == device.id.driver:
        found = attributes.get(short)
    return next(iter(found.items()), None) if found else None
