"""Say which taints a node's conditions call for: NoSchedule at once, NoExecute when its zone's turn comes. Pure.

Follows upstream's pkg/controller/nodelifecycle/node_lifecycle_controller.go (doNoScheduleTaintingPass,
processTaintBaseEviction).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_BY_CONDITION = (
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
)
_NO_SCHEDULE_KEYS = {*(key for _, _, key in _BY_CONDITION), UNSCHEDULABLE}
_NO_EXECUTE_KEYS = {NOT_READY, UNREACHABLE}


class Decision(NamedTuple):
    """The taints that the node is to have, and whether a NoExecute one waits for its zone's turn."""

    taints: list[Object]
    is_waiting: bool


def decide(
    taints: Sequence[Object],
    conditions: Sequence[Object],
    *,
    unschedulable: bool,
    may_evict: bool,
    now: float,
) -> Decision:
    """Return what a node's taints become; those of others stay. `may_evict` tells whether its turn has come.

    A node that has one NoExecute taint of ours changes it for the other at once; one that is Ready has none.
    """
    states = {condition["type"]: condition.get("status", "Unknown") for condition in conditions}
    wanted = {(key, "NoSchedule") for type, status, key in _BY_CONDITION if states.get(type) == status}
    if unschedulable:
        wanted.add((UNSCHEDULABLE, "NoSchedule"))
    driving = {"False": NOT_READY, "Unknown": UNREACHABLE}.get(states.get("Ready", "True"))
    has_any = any(is_driving(taint) for taint in taints)
    if driving is not None and (has_any or may_evict):
        wanted.add((driving, "NoExecute"))
    kept = [taint for taint in taints if not _is_ours(taint) or _identity(taint) in wanted]
    there = {_identity(taint) for taint in kept}
    new = [_make(key, effect, now) for key, effect in sorted(wanted - there)]
    return Decision([*kept, *new], driving is not None and not (has_any or may_evict))


def without_driving(taints: Sequence[Object]) -> list[Object]:
    """Return the taints but for those of ours that drive pods away."""
    return [taint for taint in taints if not is_driving(taint)]


def is_driving(taint: Object) -> bool:
    """Tell whether it is one of ours that drives pods away."""
    return taint["key"] in _NO_EXECUTE_KEYS and taint["effect"] == "NoExecute"


def _is_ours(taint: Object) -> bool:
    if taint["effect"] == "NoSchedule":
        return taint["key"] in _NO_SCHEDULE_KEYS
    return is_driving(taint)


def _identity(taint: Object) -> tuple[str, str]:
    return taint["key"], taint["effect"]


def _make(key: str, effect: str, now: float) -> Object:
    return {"key": key, "effect": effect, "timeAdded": meta.format_time(now)}
