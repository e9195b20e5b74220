"""Turn a row of probe results into started, ready, or must be restarted: thresholds, nothing else.

Pure. Follows pkg/kubelet/prober/worker.go.
"""

from __future__ import annotations

from typing import Literal

from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass

ProbeKind = Literal["startup", "readiness", "liveness"]
PROBE_FIELDS: dict[ProbeKind, str] = {
    "startup": "startupProbe",
    "readiness": "readinessProbe",
    "liveness": "livenessProbe",
}
_DEFAULT_THRESHOLDS = (1, 3)


@dataclass(frozen=True, slots=True)
class Streak:
    """How many equal results came in a row, and what the probe therefore says (None: nothing yet)."""

    ok: bool = False
    length: int = 0
    verdict: bool | None = None


def observe(streak: Streak, ok: bool, probe: Object) -> Streak:
    """Return the streak after one more result; the verdict turns once its threshold is reached."""
    length = streak.length + 1 if streak.length and streak.ok == ok else 1
    successes = probe.get("successThreshold") or _DEFAULT_THRESHOLDS[0]
    failures = probe.get("failureThreshold") or _DEFAULT_THRESHOLDS[1]
    verdict = ok if length >= (successes if ok else failures) else streak.verdict
    return Streak(ok, length, verdict)


def kill_message(kind: ProbeKind, container_name: str) -> str:
    """Return the words of the Killing event."""
    return f"Container {container_name} failed {kind} probe, will be restarted"
