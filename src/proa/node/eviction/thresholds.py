"""Say how much of each resource must stay free on the node, and which of them is short now.

Pure. Follows pkg/kubelet/eviction/helpers.go (ParseThresholdConfig) and defaults_linux.go. The default for the disk
(settings.py) is an amount, not a share as upstream's: a home is on somebody's own disk, often fuller than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from proa.objects.quantity import format_bytes, to_units
from proa.objects.quick_dataclass import dataclass

Signal = Literal["memory.available", "nodefs.available", "nodefs.inodesFree"]

PRESSURES: dict[Signal, str] = {
    "memory.available": "MemoryPressure",
    "nodefs.available": "DiskPressure",
    "nodefs.inodesFree": "DiskPressure",
}
RESOURCES: dict[Signal, str] = {
    "memory.available": "memory",
    "nodefs.available": "ephemeral-storage",
    "nodefs.inodesFree": "inodes",
}


class Observation(NamedTuple):
    """How much of a resource is free, and how much there is."""

    available: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """The least that must be free: an amount (bytes, inodes), or a share of what there is (0 to 1)."""

    signal: Signal
    amount: int = 0
    share: float = 0.0

    def least(self, capacity: int) -> int:
        """Return the amount, of a resource of which there is so much."""
        return self.amount or int(capacity * self.share)


def parse(text: str) -> tuple[Threshold, ...]:
    """Return the thresholds of e.g. "memory.available<100Mi,nodefs.available<10%"; raise ValueError."""
    return tuple(_parse_one(part) for part in text.split(",") if part)


def _parse_one(part: str) -> Threshold:
    signal, less, value = part.partition("<")
    known = next((name for name in PRESSURES if name == signal), None)
    if known is None or not less:
        wanted = ", ".join(PRESSURES)
        raise ValueError(
            f"{part!r} is not an eviction threshold: say SIGNAL<QUANTITY, SIGNAL one of {wanted}"
        )
    try:
        if value.endswith("%"):
            share = float(value[:-1]) / 100
            if not 0 <= share < 1:
                raise ValueError
            return Threshold(known, share=share)
        return Threshold(known, to_units(value))
    except ValueError:
        raise ValueError(
            f"{part!r}: {value!r} is neither a quantity (500Mi) nor a percentage below 100 (10%)"
        ) from None


def find_short(
    thresholds: Sequence[Threshold], observed: Mapping[Signal, Observation]
) -> list[tuple[Threshold, Observation]]:
    """Return the thresholds that are crossed, memory first, with what was seen."""
    crossed = [
        (threshold, seen)
        for threshold in thresholds
        if (seen := observed.get(threshold.signal)) is not None
        and seen.available < threshold.least(seen.capacity)
    ]
    return sorted(crossed, key=lambda one: one[0].signal != "memory.available")


def explain(threshold: Threshold, seen: Observation) -> str:
    """Return upstream's words for what is short."""
    least, free = threshold.least(seen.capacity), seen.available
    if threshold.signal == "nodefs.inodesFree":
        words = f"Threshold quantity: {least}, available: {free}. "
    else:
        words = f"Threshold quantity: {format_bytes(least)}, available: {format_bytes(free)}. "
    return f"The node was low on resource: {RESOURCES[threshold.signal]}. {words}"
