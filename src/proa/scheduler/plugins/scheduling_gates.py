"""Keep a pod out of the queue while it has scheduling gates (KEP-3521)."""

from __future__ import annotations

from proa.client.protocol import Object
from proa.scheduler.framework import Code, Event, Status


class SchedulingGates:
    """A pre-enqueue plugin; the API server writes the SchedulingGated condition itself."""

    NAME = "SchedulingGates"
    HELPED_BY: frozenset[Event] = frozenset()

    def pre_enqueue(self, pod: Object) -> Status | None:
        """Refuse a pod with gates."""
        gates = [gate["name"] for gate in pod["spec"].get("schedulingGates") or ()]
        if not gates:
            return None
        return Status(Code.UNRESOLVABLE, self.NAME, (f"waiting for scheduling gates: [{' '.join(gates)}]",))
