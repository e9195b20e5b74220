"""Judge by a node's lease and heartbeats whether its kubelet lives, and what its conditions say when it does not. Pure.

How long a kubelet was silent is measured by our own clock, from when we saw it say something new: a restart of ours
or a wrong clock condemns nobody; nor does a suspended machine, where we have been as silent as the kubelet, which then
gets time to speak. Follows upstream's pkg/controller/nodelifecycle/node_lifecycle_controller.go (tryUpdateNodeHealth).
"""

from __future__ import annotations

from typing import Any

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass

STARTUP_GRACE_SECONDS = 60.0
"""So long a new node has for its first report."""
LATE_SECONDS = 5.0
WAKE_GRACE_SECONDS = 15.0
HEALTH_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
"""Those that a kubelet reports; NetworkUnavailable is the control plane's."""


@dataclass(slots=True)
class Heard:
    """What a node last said, when we heard it say something new, and how long after that it may be silent."""

    said: tuple[Any, ...]
    at: float
    grace_seconds: float

    def silent_seconds(self, now: float) -> float:
        """Return for how long it has said nothing new."""
        return now - self.at

    def is_silent(self, now: float) -> bool:
        """Tell whether its time is over."""
        return self.silent_seconds(now) > self.grace_seconds


def listen(
    known: Heard | None, node: Object, lease: Object | None, grace_seconds: float, now: float
) -> Heard:
    """Return what is known of the node's voice now. A lease alone counts: whoever renews it lives."""
    ready = meta.find_condition(node, "Ready")
    said = (((lease or {}).get("spec") or {}).get("renewTime"), (ready or {}).get("lastHeartbeatTime"))
    grace = grace_seconds if ready is not None else STARTUP_GRACE_SECONDS
    if known is None and ready is None:
        return Heard(said, _created(node, now), grace)
    if known is None or known.said != said:
        return Heard(said, now, grace)
    if (ready or {}).get("status") != "Unknown" and now > known.at + known.grace_seconds + LATE_SECONDS:
        return Heard(
            said, now - known.grace_seconds + WAKE_GRACE_SECONDS, grace
        )  # we did not look when it was due
    return Heard(said, known.at, grace)


def _created(node: Object, now: float) -> float:
    created = node["metadata"].get("creationTimestamp")
    return meta.parse_time(created) if created else now


def with_unknown(node: Object, now: float) -> list[Object]:
    """Return a silent node's conditions: the kubelet's are Unknown, for the reason that fits what was ever posted."""
    conditions = list((node.get("status") or {}).get("conditions") or [])
    there = {condition["type"]: index for index, condition in enumerate(conditions)}
    for type in HEALTH_CONDITIONS:
        if type not in there:
            conditions.append(
                {
                    "type": type,
                    "status": "Unknown",
                    "lastHeartbeatTime": node["metadata"].get("creationTimestamp") or meta.format_time(now),
                    "lastTransitionTime": meta.format_time(now),
                    "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status.",
                }
            )
        elif conditions[there[type]].get("status") != "Unknown":
            conditions[there[type]] = {
                **conditions[there[type]],
                "status": "Unknown",
                "lastTransitionTime": meta.format_time(now),
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
            }
    return conditions
