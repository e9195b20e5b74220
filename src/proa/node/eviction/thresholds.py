"""Say how much of each resource must stay free on the node, and which of them is short now.

Pure. Follows pkg/kubelet/eviction/helpers.go (ParseThresholdConfig) and defaults_linux.go. The default for the disk is
an amount where upstream's is a share: a home is on somebody's own disk, often fuller than that.
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
    """The least that must be free: an amount (bytes, inodes), a share of all there is (0 to 1), or the less of both."""

    signal: Signal
    amount: int | None = None
    share: float | None = None

    def least(self, capacity: int) -> int:
        """Return the amount, of a resource of which there is so much."""
        bounds = [] if self.amount is None else [self.amount]
        return min(bounds if self.share is None else [*bounds, int(capacity * self.share)])


DEFAULTS = (
    Threshold("memory.available", 100 << 20),
    Threshold("nodefs.available", 1 << 30, share=0.1),
    Threshold("nodefs.inodesFree", share=0.02),
)


def parse(signal: str, value: str) -> Threshold:
    """Return the threshold of a signal, an amount ("100Mi") or a share ("10%"); raise ValueError, which says why."""
    known = next((name for name in PRESSURES if name == signal), None)
    if known is None:
        raise ValueError(f"no such signal here; there are {', '.join(PRESSURES)}")
    try:
        if not value.endswith("%"):
            return Threshold(known, to_units(value))
        share = float(value[:-1]) / 100
        if not 0 <= share < 1:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{value!r} is neither a quantity (500Mi) nor a percentage below 100 (10%)"
        ) from None
    return Threshold(known, share=share)


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
