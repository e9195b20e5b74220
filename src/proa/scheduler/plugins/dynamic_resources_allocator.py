"""Find devices for all claims of a pod on one node, or find that there are none.

Theory of operation. Claims are served one after the other, of each claim its requests, of each request the devices it
counts. A device that is free, that class and request select and that no constraint forbids is taken, and the search
goes on; when it fails later, the device is given back and the next one tried. The first solution is taken. Devices of
one request are alike to it, so they are tried in one order only. What all of it may cost is bounded (`Effort`).
Follows staging/src/k8s.io/dynamic-resource-allocation/structured/internal/stable/allocator_stable.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.quantity import parse_quantity
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource_claims import DeviceId
from proa.scheduler.plugins.dynamic_resources_effort import Effort, SelectorError, TimedOut
from proa.scheduler.plugins.dynamic_resources_pools import CounterKey, Device, Pool, attribute_of
from proa.scheduler.plugins.dynamic_resources_results import make_allocation

MAX_RESULTS = 32
"""Devices of a claim."""
TIMED_OUT = "timed out trying to allocate devices"
Matches = Callable[[str, Device, Effort], bool]
"""Tells whether an expression selects a device; raises SelectorError, TimedOut."""


class AllocationError(Exception):
    """Something is wrong with a claim, a class or a pool."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A request, or one alternative of it. `devices` are those it may have; `everything`: it wants them all."""

    name: str
    parent: str
    spec: Object
    device_class: Object
    count: int
    everything: bool
    devices: Sequence[Device]

    @property
    def is_admin(self) -> bool:
        """Tell whether it takes the devices from nobody."""
        return bool(self.spec.get("adminAccess"))


def allocate(
    claims: Sequence[Object],
    node: Object,
    pools: Sequence[Pool],
    taken: Collection[DeviceId],
    classes: Mapping[str, Object],
    matches: Matches,
    effort: Effort,
) -> list[Object] | None:
    """Return an allocation for each claim, None where there is none on this node; raise AllocationError.

    `taken` are the devices that others have, `classes` the DeviceClasses by name.
    """
    reached = [(pool, [device for device in pool.devices if device.is_reached_from(node)]) for pool in pools]
    reached = [(pool, devices) for pool, devices in reached if devices]
    reader = _RequestReader(reached, classes, matches, effort)
    try:
        requests = [reader.read(claim) for claim in claims]
        search = _Search(requests, claims, pools, taken, reader, effort)
        is_found = search.from_request(0, 0)
    except (TimedOut, RecursionError):
        raise AllocationError(TIMED_OUT) from None
    if is_found:
        return [
            make_allocation(claim, chosen, alternatives)
            for claim, chosen, alternatives in zip(claims, search.chosen, search.picked, strict=True)
        ]
    if any(pool.trouble == "invalid" for pool, _ in reached):
        raise AllocationError("invalid resource pools were encountered")
    return None


class _RequestReader:
    """Reads requests, and remembers which devices each may have."""

    def __init__(
        self,
        reached: list[tuple[Pool, list[Device]]],
        classes: Mapping[str, Object],
        matches: Matches,
        effort: Effort,
    ) -> None:
        self._reached = reached
        self._usable = [device for pool, devices in reached if not pool.trouble for device in devices]
        self._classes = classes
        self._matches = matches
        self._effort = effort
        self._selected: dict[tuple[int, DeviceId], bool] = {}

    def read(self, claim: Object) -> list[list[Asked]]:
        """Return the alternatives of each of a claim's requests."""
        read = []
        fewest = 0
        for request in (claim["spec"].get("devices") or {}).get("requests") or ():
            name = request["name"]
            if request.get("firstAvailable"):
                alternatives = [
                    self._read(claim, sub, f"{name}/{sub['name']}", name) for sub in request["firstAvailable"]
                ]
            else:
                alternatives = [self._read(claim, request["exactly"], name, name)]
            fewest += min(asked.count for asked in alternatives)
            read.append(alternatives)
        if fewest > MAX_RESULTS:
            exceeds = f"number of requested devices {fewest} exceeds the claim limit of {MAX_RESULTS}"
            raise AllocationError(f"claim {meta.key_of(claim)}: {exceeds}")
        return read

    def _read(self, claim: Object, spec: Object, name: str, parent: str) -> Asked:
        where, class_name = f"claim {meta.key_of(claim)}, request {name}", spec.get("deviceClassName") or ""
        device_class = self._classes.get(class_name)
        if device_class is None:
            what = f'deviceclass.resource.k8s.io "{class_name}" not found'
            raise AllocationError(f"{where}: could not retrieve device class {class_name}: {what}")
        if spec.get("allocationMode") != "All":
            count = spec.get("count") or 1
            return Asked(name, parent, spec, device_class, count, False, self._usable)
        for pool, _ in self._reached:
            if pool.trouble:
                why = f"asks for all devices, but resource pool {pool} is currently {pool.trouble}"
                raise AllocationError(f"{where}: {why}")
        asked = Asked(name, parent, spec, device_class, 0, True, ())
        devices = [device for device in self._usable if self.selects(claim, asked, device)]
        return Asked(name, parent, spec, device_class, len(devices), True, devices)

    def selects(self, claim: Object, asked: Asked, device: Device) -> bool:
        """Tell whether class and request select a device; raise AllocationError."""
        key = (id(asked.spec), device.id)
        found = self._selected.get(key)
        if found is None:
            found = self._selected[key] = self._select(claim, asked, device)
        return found

    def _select(self, claim: Object, asked: Asked, device: Device) -> bool:
        if device.spec.get("bindingConditions"):
            return False
        of_class, of_claim = f"class {meta.name(asked.device_class)}", f"claim {meta.key_of(claim)}"
        for where, selectors in (
            (of_class, asked.device_class["spec"].get("selectors")),
            (of_claim, asked.spec.get("selectors")),
        ):
            for at, selector in enumerate(selectors or ()):
                try:
                    if not self._matches(selector["cel"]["expression"], device, self._effort):
                        return False
                except SelectorError as error:
                    raise AllocationError(f"{where}: selector #{at} on device {device.id}: {error}") from None
        return _has_capacity(device, asked.spec)


class _Search:
    """The state of one search: what is chosen for each claim, and which alternative of each request is picked."""

    def __init__(
        self,
        requests: list[list[list[Asked]]],
        claims: Sequence[Object],
        pools: Sequence[Pool],
        taken: Collection[DeviceId],
        reader: _RequestReader,
        effort: Effort,
    ) -> None:
        self._requests = requests
        self._claims = claims
        self._taken = taken
        self._reader = reader
        self._counters = _Counters(pools, taken)
        self._constraints = [[_Constraint(each) for each in _constraints_of(claim)] for claim in claims]
        self._given: Counter[DeviceId] = Counter()
        self._effort = effort
        self.chosen: list[list[tuple[Asked, Device]]] = [[] for _ in claims]
        self.picked: list[list[Asked]] = [[] for _ in claims]

    def from_request(self, claim: int, request: int) -> bool:
        """Serve all requests from here on; tell whether it worked."""
        while claim < len(self._requests) and request == len(self._requests[claim]):
            claim, request = claim + 1, 0
        if claim == len(self._requests):
            return True
        for asked in self._requests[claim][request]:
            has_room = len(self.chosen[claim]) + asked.count <= MAX_RESULTS
            if not asked.count or not has_room:
                continue
            self.picked[claim].append(asked)
            if self._from_device(claim, request, asked, 0, 0):
                return True
            self.picked[claim].pop()
        return False

    def _from_device(self, claim: int, request: int, asked: Asked, have: int, start: int) -> bool:
        if have == asked.count:
            return self.from_request(claim, request + 1)
        for at in range(start, len(asked.devices)):
            device = asked.devices[at]
            if self._take(claim, asked, device):
                if self._from_device(claim, request, asked, have + 1, at + 1):
                    return True
                self._give_back(claim, asked, device)
            if asked.everything:
                return False
        return False

    def _take(self, claim: int, asked: Asked, device: Device) -> bool:
        """Take a device if it is free, selected and within all bounds."""
        self._effort.look_at_device()
        if not self._is_free(claim, asked, device):
            return False
        if not asked.everything and not self._reader.selects(self._claims[claim], asked, device):
            return False
        if _is_tainted(device, asked) or not self._counters.take(device):
            return False
        constraints = self._constraints[claim]
        for at, constraint in enumerate(constraints):
            if not constraint.add(asked, device):
                for earlier in constraints[:at]:
                    earlier.remove(asked)
                self._counters.give_back(device)
                if asked.everything:
                    where = f"claim {meta.key_of(self._claims[claim])}, request {asked.name}"
                    why = "a claim constraint would not be satisfied"
                    raise AllocationError(f"{where}: cannot add device {device.id} because {why}")
                return False
        self.chosen[claim].append((asked, device))
        self._given[device.id] += 1
        return True

    def _give_back(self, claim: int, asked: Asked, device: Device) -> None:
        self.chosen[claim].pop()
        self._given[device.id] -= 1
        self._counters.give_back(device)
        for constraint in self._constraints[claim]:
            constraint.remove(asked)

    def _is_free(self, claim: int, asked: Asked, device: Device) -> bool:
        if asked.is_admin:
            return all(device.id != chosen.id for _, chosen in self.chosen[claim])
        return device.id not in self._taken and not self._given[device.id]


class _Counters:
    """What devices of a pool share; what is left may not be less than nothing."""

    def __init__(self, pools: Sequence[Pool], taken: Collection[DeviceId]) -> None:
        self._left: dict[tuple[str, str], dict[CounterKey, Decimal]] = {}
        for pool in pools:
            if pool.counters:
                left = self._left[pool.driver, pool.name] = {**pool.counters}
                for device in pool.devices:
                    if device.id in taken:
                        _subtract(left, device.counters)

    def take(self, device: Device) -> bool:
        """Take what a device needs; tell whether it was there."""
        wanted = device.counters
        left = self._left.get(device.id[:2], {})
        if any(left.get(key, Decimal(0)) < amount for key, amount in wanted.items()):
            return False
        _subtract(left, wanted)
        return True

    def give_back(self, device: Device) -> None:
        """Undo `take`."""
        left = self._left.get(device.id[:2], {})
        for key, amount in device.counters.items():
            left[key] += amount


def _subtract(left: dict[CounterKey, Decimal], amounts: Mapping[CounterKey, Decimal]) -> None:
    for key, amount in amounts.items():
        if key in left:
            left[key] -= amount


class _Constraint:
    """Devices of some requests (none named: of all) have one value of an attribute, or each a value of its own."""

    def __init__(self, constraint: Object) -> None:
        self._requests = frozenset(constraint.get("requests") or ())
        self._is_distinct = "distinctAttribute" in constraint
        self._attribute = constraint.get("distinctAttribute") or constraint.get("matchAttribute") or ""
        self._values: list[tuple[str, object]] = []

    def _applies(self, asked: Asked) -> bool:
        return not self._requests or asked.name in self._requests or asked.parent in self._requests

    def add(self, asked: Asked, device: Device) -> bool:
        """Take in a device; tell whether it may be."""
        if not self._applies(asked):
            return True
        value = attribute_of(device, self._attribute)
        if value is None:
            return False
        if self._values and (value in self._values) is self._is_distinct:
            return False
        self._values.append(value)
        return True

    def remove(self, asked: Asked) -> None:
        """Forget the device that was taken in last."""
        if self._applies(asked):
            self._values.pop()


def _constraints_of(claim: Object) -> list[Object]:
    return (claim["spec"].get("devices") or {}).get("constraints") or []


def _is_tainted(device: Device, asked: Asked) -> bool:
    return any(
        taint["effect"] in ("NoSchedule", "NoExecute")
        and not any(_tolerates(toleration, taint) for toleration in asked.spec.get("tolerations") or ())
        for taint in device.spec.get("taints") or ()
    )


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    is_any = toleration.get("operator") == "Exists"
    return is_any or toleration.get("value", "") == taint.get("value", "")


def _has_capacity(device: Device, spec: Object) -> bool:
    """Tell whether a device has as much as is asked of it."""
    offered = device.spec.get("capacity") or {}
    for name, amount in ((spec.get("capacity") or {}).get("requests") or {}).items():
        domain, _, short = name.rpartition("/")
        found = offered.get(name) or (offered.get(short) if domain == device.id.driver else None)
        found = found or offered.get(f"{device.id.driver}/{name}")
        if found is None or parse_quantity(found["value"]) < parse_quantity(amount):
            return False
    return True
