"""Keep what waits for a revision, and its pods: who goes where, and how much waited for how long. No I/O.

Where a pod answers any number of requests at once, the one of two that has fewer gets the next; where it answers a few,
the one that has the fewest. Source: Knative's pkg/activator/net (throttler.go, lb_policy.go), with a place for each
request instead of a breaker.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Protocol

from proa.ml.serving.records import Backend, Backends, Load
from proa.objects.quick_dataclass import dataclass

MAX_WAITING = 1000
"""Of one revision."""


class Waiter(Protocol):
    """A request, or a connection, that goes to a pod."""

    def go(self, slot: Slot) -> None:
        """Take the place at a pod; `leave` it later."""


@dataclass(slots=True, eq=False)
class Slot:
    """A pod, as requests see it. `in_hand` of ours are there now."""

    backend: Backend
    is_usable: bool
    in_hand: int = 0
    has_failed: bool = False
    """It did not answer: it counts only when it was asked, whatever the kubelet says."""
    idle: list[object] = field(default_factory=list)
    """Connections to it that are kept, the last one used at the end."""


class WaitingRoom:
    """What one revision has. `clock` counts seconds; `random` is as `random.random`."""

    def __init__(
        self, clock: Callable[[], float], instance: str, random: Callable[[], float] = random.random
    ) -> None:
        self.timeout_seconds = 0.0
        self.is_known = False
        """Somebody said what it is; requests may come before that."""
        self._clock = clock
        self._random = random
        self._instance = instance
        self._began = self._changed = clock()
        self._limit = 0
        self._slots: dict[str, Slot] = {}
        self._usable: list[Slot] = []
        self._waiting: OrderedDict[Waiter, None] = OrderedDict()
        self._waited_seconds = 0.0
        self._came = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def has_pods(self) -> bool:
        """Tell whether any pod answers."""
        return bool(self._usable)

    @property
    def is_full(self) -> bool:
        """Tell whether another request would be too many."""
        return len(self._waiting) >= MAX_WAITING

    @property
    def slots(self) -> Sequence[Slot]:
        """Return all pods."""
        return [*self._slots.values()]

    @property
    def unasked(self) -> Sequence[Slot]:
        """Return the pods of which nobody knows whether they answer."""
        return [slot for slot in self._slots.values() if not slot.is_usable]

    def load(self) -> Load:
        """Return what waits and waited."""
        self._count()
        now = self._clock()
        return Load(self._instance, now - self._began, self._waited_seconds, self._came, len(self._waiting))

    def update(self, backends: Backends) -> list[Slot]:
        """Take in the pods there are, and let go who can; return the slots of pods that are no more."""
        before, self._slots = self._slots, {}
        for backend in backends.pods:
            slot = before.pop(backend.name, None)
            if slot is None or slot.backend.address != backend.address:
                slot = Slot(backend, backend.is_ready)
            elif slot.backend.is_ready and not backend.is_ready:
                slot.is_usable = False  # it ended; it may take connections all the same, as an agent does
            slot.backend = backend
            slot.is_usable = slot.is_usable or (backend.is_ready and not slot.has_failed)
            self._slots[backend.name] = slot
        self._limit, self.timeout_seconds = backends.container_concurrency, backends.timeout_seconds
        self.is_known = True
        self._changed_slots()
        return [*before.values()]

    def enter(self, waiter: Waiter) -> bool:
        """Send a request to a pod, or have it wait; tell whether it waits."""
        self._came += 1
        return not self._send(waiter) and self._wait(waiter, is_first=False)

    def again(self, waiter: Waiter) -> bool:
        """Send a request that was at a pod in vain to another, before all others; tell whether it waits."""
        return not self._send(waiter) and self._wait(waiter, is_first=True)

    def leave(self, waiter: Waiter) -> None:
        """Forget one that waits: it went away."""
        if waiter in self._waiting:
            self._count()
            del self._waiting[waiter]

    def release(self, slot: Slot) -> None:
        """Give back the place of a request at a pod, to the next."""
        slot.in_hand -= 1
        self._go_on()

    def answered(self, slot: Slot) -> None:
        """Hear that a pod answers."""
        slot.has_failed = False
        if not slot.is_usable and self._slots.get(slot.backend.name) is slot:
            slot.is_usable = True
            self._changed_slots()

    def failed(self, slot: Slot) -> None:
        """Hear that a pod does not answer: nobody goes there until it does."""
        slot.has_failed, slot.is_usable = True, False
        self._usable = [other for other in self._usable if other is not slot]

    def _changed_slots(self) -> None:
        self._usable = [slot for slot in self._slots.values() if slot.is_usable]
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and (slot := self._choose()) is not None:
            self._count()
            waiter, _ = self._waiting.popitem(last=False)
            slot.in_hand += 1
            waiter.go(slot)

    def _send(self, waiter: Waiter) -> bool:
        slot = None if self._waiting else self._choose()
        if slot is not None:
            slot.in_hand += 1
            waiter.go(slot)
        return slot is not None

    def _wait(self, waiter: Waiter, *, is_first: bool) -> bool:
        self._count()
        self._waiting[waiter] = None
        if is_first:
            self._waiting.move_to_end(waiter, last=False)
            self._go_on()
        return waiter in self._waiting

    def _choose(self) -> Slot | None:
        usable = self._usable
        if not usable:
            return None
        if self._limit:
            least = min(usable, key=lambda slot: slot.in_hand)
            return least if least.in_hand < self._limit else None
        if len(usable) == 1:
            return usable[0]
        first = int(self._random() * len(usable))
        second = (first + 1 + int(self._random() * (len(usable) - 1))) % len(usable)
        one, other = usable[first], usable[second]
        return one if one.in_hand <= other.in_hand else other

    def _count(self) -> None:
        """Add the time since the last change, for all that wait."""
        now = self._clock()
        self._waited_seconds += len(self._waiting) * (now - self._changed)
        self._changed = now
