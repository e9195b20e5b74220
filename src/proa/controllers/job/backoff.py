"""Say how long a Job waits before it tries again: 10 s, doubled for each failure since a success, 10 min at most.

Follows upstream's pkg/controller/job/backoff_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from proa.client.protocol import Object
from proa.controllers.job.indexes import failures_of
from proa.objects import meta
from proa.objects.pods import init_containers, is_sidecar

FIRST_SECONDS = 10.0
MAX_SECONDS = 600.0


class Record(NamedTuple):
    """How many pods have failed since the last success, and when the last of them did."""

    failures: int = 0
    last_failure: float = 0.0

    def after(self, succeeded: Iterable[Object], failed: Iterable[Object]) -> Record:
        """Return the record once these pods are counted too."""
        successes = sorted(map(finish_time, succeeded))
        ends = sorted(map(finish_time, failed))
        if not successes:
            return Record(self.failures + len(ends), ends[-1]) if ends else self
        later = [end for end in ends if end > successes[-1]]
        return Record(len(later), later[-1]) if later else Record()

    def seconds_to_wait(self, now: float) -> float:
        """Return how long until another pod may be tried."""
        return _seconds_to_wait(self.failures, self.last_failure, now)


def seconds_for_index(failed: Object | None, now: float) -> float:
    """Return how long until another pod may be tried after the last failed one of its index."""
    if failed is None:
        return 0.0
    return _seconds_to_wait(sum(failures_of(failed)) + 1, finish_time(failed), now)


def _seconds_to_wait(failures: int, last_failure: float, now: float) -> float:
    if failures == 0:
        return 0.0
    wait = min(FIRST_SECONDS * 2.0 ** min(failures - 1, 10), MAX_SECONDS)
    return max(0.0, last_failure + wait - now)


def finish_time(pod: Object) -> float:
    """Return when its last container ended, else when it ceased to be ready, was deleted, or was created."""
    if ended := _containers_ended(pod):
        return ended
    ready = meta.find_condition(pod, "Ready") or {}
    if ready.get("status") == "False" and ready.get("lastTransitionTime"):
        return meta.parse_time(ready["lastTransitionTime"])
    metadata = pod["metadata"]
    if metadata.get("deletionTimestamp"):
        grace = metadata.get("deletionGracePeriodSeconds") or 0
        return meta.parse_time(metadata["deletionTimestamp"]) - float(grace)
    created = metadata.get("creationTimestamp")
    return meta.parse_time(created) if created else 0.0


def _containers_ended(pod: Object) -> float:
    """Return when the last container and sidecar ended, 0 where one of them has not."""
    status = pod.get("status") or {}
    sidecars = {container["name"] for container in init_containers(pod) if is_sidecar(container)}
    inits = [s for s in status.get("initContainerStatuses") or () if s.get("name") in sidecars]
    ends: list[str] = [
        ((container.get("state") or {}).get("terminated") or {}).get("finishedAt") or ""
        for container in [*(status.get("containerStatuses") or ()), *inits]
    ]
    return max(map(meta.parse_time, ends)) if ends and all(ends) else 0.0
