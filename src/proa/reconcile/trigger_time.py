"""Say since when endpoints are due: an annotation, by which it is measured how long a Service takes to follow its pods.

Follows upstream's staging/src/k8s.io/endpointslice/util/trigger_time_tracker.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from proa.client.protocol import Object
from proa.objects import meta
from proa.reconcile.protocol import Key

ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


class TriggerTimes:
    """What one controller has seen of its Services: when each of their pods last became ready, or was so no more."""

    def __init__(self) -> None:
        self._seen: dict[Key, dict[str, str]] = {}

    def changed_since(self, key: Key, service: Object, pods: Iterable[Object]) -> str:
        """Return the earliest time (RFC 3339) of what has changed since the last call, "" where nothing has.

        Of a Service that is seen for the first time that is its creation.
        """
        before = self._seen.get(key)
        now = self._seen[key] = {meta.name(pod): time for pod in pods if (time := _ready_since(pod))}
        created: str = service["metadata"].get("creationTimestamp") or ""
        now[""] = created
        if before is None:
            return created
        return min((time for name, time in now.items() if time > before.get(name, "")), default="")

    def forget(self, key: Key) -> None:
        """The Service is gone."""
        self._seen.pop(key, None)


def _ready_since(pod: Object) -> str:
    return str((meta.find_condition(pod, "Ready") or {}).get("lastTransitionTime") or "")
