"""Count a Job's finished pods, each exactly once, whatever becomes of the pod or of us.

A pod keeps the finalizer `batch.kubernetes.io/job-tracking` until it is counted, in two steps that can be cut
off anywhere. First its uid is written to status.uncountedTerminatedPods and only then the finalizer is taken
off. Once the pod is seen without it (or gone), the uid leaves the list and the counter rises, in one write.
An Indexed Job counts indexes instead of succeeded pods. Follows upstream's pkg/controller/job/job_controller.go
(trackJobStatusAndRemoveFinalizers) and KEP-2307.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.controllers.job.indexes import index_of, is_indexed, parse_indexes
from proa.controllers.job.policies import counts_as_failure
from proa.objects import meta
from proa.objects.pods import is_active, is_terminated, phase

FINALIZER = "batch.kubernetes.io/job-tracking"


class Tally(NamedTuple):
    """What is counted (for good), what is about to be, and which pods may lose their finalizer after that."""

    counted_succeeded: int
    counted_failed: int
    uncounted_succeeded: tuple[str, ...]
    uncounted_failed: tuple[str, ...]
    completed_indexes: frozenset[int]
    release: tuple[Object, ...]

    @property
    def succeeded(self) -> int:
        """Return how many have succeeded in all."""
        return self.counted_succeeded + len(self.uncounted_succeeded)

    @property
    def failed(self) -> int:
        """Return how many have failed in all."""
        return self.counted_failed + len(self.uncounted_failed)

    @property
    def is_settled(self) -> bool:
        """Return whether every finished pod is counted for good."""
        return not (self.uncounted_succeeded or self.uncounted_failed or self.release)


def tally(job: Object, pods: Sequence[Object]) -> Tally:
    """Count from the Job's status and the pods that it owns."""
    status = job.get("status") or {}
    before = status.get("uncountedTerminatedPods") or {}
    tracked = {meta.uid(pod): pod for pod in pods if FINALIZER in meta.finalizers(pod)}
    succeeded = [uid for uid in before.get("succeeded") or () if uid in tracked]
    failed = [uid for uid in before.get("failed") or () if uid in tracked]
    counted_succeeded = status.get("succeeded", 0) + len(before.get("succeeded") or ()) - len(succeeded)
    counted_failed = status.get("failed", 0) + len(before.get("failed") or ()) - len(failed)
    indexes = parse_indexes(status.get("completedIndexes") or "")
    known = {*succeeded, *failed}
    for uid, pod in tracked.items():
        if uid in known:
            continue
        if phase(pod) == "Succeeded":
            index = index_of(pod)
            if not is_indexed(job):
                succeeded.append(uid)
            elif index is not None and index < (job["spec"].get("completions") or 0):
                indexes.add(index)
        elif has_failed(job, pod) and counts_as_failure(job, pod):
            failed.append(uid)
    return Tally(
        counted_succeeded=len(indexes) if is_indexed(job) else counted_succeeded,
        counted_failed=counted_failed,
        uncounted_succeeded=tuple(succeeded),
        uncounted_failed=tuple(failed),
        completed_indexes=frozenset(indexes),
        release=tuple(pod for pod in tracked.values() if is_terminated(pod) or has_failed(job, pod)),
    )


def has_failed(job: Object, pod: Object) -> bool:
    """Return whether the pod counts as failed: one being deleted does, unless it is to be awaited."""
    if phase(pod) == "Failed":
        return True
    if replaces_failed_only(job):
        return meta.is_deleting(pod) and phase(pod) == "Pending"
    return meta.is_deleting(pod) and phase(pod) != "Succeeded"


def replaces_failed_only(job: Object) -> bool:
    """Return whether a terminating pod is replaced only when it has ended."""
    return bool(job["spec"].get("podReplacementPolicy") == "Failed")


def active_pods(pods: Sequence[Object]) -> list[Object]:
    """Return the pods that may still succeed."""
    return [pod for pod in pods if is_active(pod)]


def terminating_pods(pods: Sequence[Object]) -> list[Object]:
    """Return the pods that are being deleted and have not ended."""
    return [pod for pod in pods if meta.is_deleting(pod) and not is_terminated(pod)]
