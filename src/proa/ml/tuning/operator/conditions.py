"""Set conditions as Katib does: one that changes goes to the end of the list, where clients look for the latest.

Pure: lists of conditions go in, new ones come out. What changes neither status nor reason changes nothing.
Source: pkg/apis/controller/{experiments,suggestions,trials}/v1beta1/util.go of kubeflow/katib.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass

RUNNING = "Running"


def find(conditions: Iterable[Object], type: str) -> Object | None:
    """Return the condition of a type."""
    return next((condition for condition in conditions if condition.get("type") == type), None)


def has(conditions: Iterable[Object], type: str) -> bool:
    """Tell whether a condition is there and true."""
    found = find(conditions, type)
    return found is not None and found.get("status") == "True"


def has_any(conditions: Iterable[Object], types: Collection[str]) -> bool:
    """Tell whether one of these is there and true."""
    return any(c.get("type") in types and c.get("status") == "True" for c in conditions)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of an object while a plan is made. `now` is seconds since the epoch."""

    items: tuple[Object, ...]
    now: float

    @classmethod
    def of(cls, obj: Object, now: float) -> Conditions:
        """Return an object's."""
        return cls(tuple((obj.get("status") or {}).get("conditions") or ()), now)

    def has(self, type: str) -> bool:
        """Tell whether a condition is there and true."""
        return has(self.items, type)

    def has_any(self, types: Collection[str]) -> bool:
        """Tell whether one of these is there and true."""
        return has_any(self.items, types)

    def put(self, type: str, reason: str, message: str, *, status: str = "True") -> Conditions:
        """Return these with one set."""
        known = find(self.items, type)
        if known is not None and (known.get("status"), known.get("reason")) == (status, reason):
            return self
        at = meta.format_time(self.now)
        since = known["lastTransitionTime"] if known is not None and known.get("status") == status else at
        condition = {
            "type": type,
            "status": status,
            "reason": reason,
            "message": message,
            "lastUpdateTime": at,
            "lastTransitionTime": since,
        }
        return Conditions((*self.without(type).items, condition), self.now)

    def saying(self, type: str, message: str) -> Conditions:
        """Return these with the message of one, which is no change of its state."""
        return Conditions(
            tuple({**c, "message": message} if c.get("type") == type else c for c in self.items), self.now
        )

    def without(self, *types: str) -> Conditions:
        """Return these but for some."""
        return Conditions(tuple(c for c in self.items if c.get("type") not in types), self.now)

    def ended(self, type: str, reason: str, message: str) -> Conditions:
        """Return these with one set that ends the running: Running, where it is there, is no more."""
        running = find(self.items, RUNNING)
        calmed = self if running is None else self._stopped(running)
        return calmed.put(type, reason, message)

    def _stopped(self, running: Object) -> Conditions:
        return self.put(RUNNING, running.get("reason", ""), running.get("message", ""), status="False")

    def as_list(self) -> list[Object]:
        """Return them as a status has them."""
        return [*self.items]


def merge(status: Object, conditions: Conditions) -> Object:
    """Return a status with these conditions."""
    return {**status, "conditions": conditions.as_list()}


def types_of(conditions: Sequence[Object]) -> list[str]:
    """Return the types, the latest last."""
    return [condition["type"] for condition in conditions]
