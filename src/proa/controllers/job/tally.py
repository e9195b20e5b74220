"""Count a Job's finished pods, each exactly once, whatever becomes of the pod or of us.

A pod keeps the finalizer `batch.kubernetes.io/job-tracking` until it is counted, in two steps that can be cut
off anywhere. First its uid is written to status.uncountedTerminatedPods and only then the finalizer is taken
off. Once the pod is seen without it (or gone), the uid leaves the list and the counter rises, in one write.
An Indexed Job counts indexes instead of succeeded pods. Follows upstream's pkg/controller/job/job_controller.go
(trackJobStatusAndRemoveFinalizers) and KEP-2307.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.controllers.job.backoff import finish_time
from proa.controllers.job.indexes import (
    completions_of,
    failures_of,
    has_limit_per_index,
    is_indexed,
    valid_index_of,
)
from proa.controllers.job.intervals import Intervals, parse_intervals
from proa.controllers.job.policies import action_of, counts_as_failure
from proa.objects import meta
from proa.objects.pods import is_active, is_terminated, phase

FINALIZER = "batch.kubernetes.io/job-tracking"
MAX_UNCOUNTED = 500
"""So many pods are counted at a time, lest the list of their uids become too large."""


class Tally(NamedTuple):
    """What is counted so far and what has newly ended.

    `succeeded` and `failed` are all that ever have; `new_*` are pods that no list of the status names yet.
    `kept` has, by index, the failed pod whose counts the next pod of that index will need.
    """

    succeeded: int
    failed: int
    new_succeeded: tuple[Object, ...]
    new_failed: tuple[Object, ...]
    completed: Intervals
    failed_indexes: Intervals | None
    kept: Mapping[int, Object]


class Tracked(NamedTuple):
    """What the status shall say, and which pods lose their finalizer once it does.

    `is_settled` says that all that has ended is counted for good, now that this is written.
    """

    counted_succeeded: int
    counted_failed: int
    uncounted_succeeded: tuple[str, ...]
    uncounted_failed: tuple[str, ...]
    completed: Intervals
    release: tuple[Object, ...]

    @property
    def is_settled(self) -> bool:
        """Tell whether every finished pod is counted for good."""
        return not (self.uncounted_succeeded or self.uncounted_failed or self.release)


class _Known(NamedTuple):
    """What the status says already, without the uids of pods that have lost their finalizer since."""

    succeeded: int
    failed: int
    uncounted_succeeded: list[str]
    uncounted_failed: list[str]


def _read_status(job: Object, tracked: Mapping[str, Object]) -> _Known:
    status = job.get("status") or {}
    lists = status.get("uncountedTerminatedPods") or {}
    before = {key: lists.get(key) or [] for key in ("succeeded", "failed")}
    left = {key: [uid for uid in uids if uid in tracked] for key, uids in before.items()}
    succeeded, failed = (
        status.get(key, 0) + len(before[key]) - len(left[key]) for key in ("succeeded", "failed")
    )
    return _Known(succeeded, failed, left["succeeded"], left["failed"])


def tracked_pods(pods: Iterable[Object]) -> dict[str, Object]:
    """Return the pods that are not counted yet, by uid."""
    return {meta.uid(pod): pod for pod in pods if FINALIZER in meta.finalizers(pod)}


def tally(job: Object, pods: Sequence[Object]) -> Tally:
    """Count from the Job's status and the pods that it owns."""
    tracked = tracked_pods(pods)
    known = _read_status(job, tracked)
    listed = {*known.uncounted_succeeded, *known.uncounted_failed}
    valid = [pod for pod in tracked.values() if not is_indexed(job) or valid_index_of(job, pod) is not None]
    new = [pod for pod in valid if meta.uid(pod) not in listed]
    new_succeeded = tuple(pod for pod in new if phase(pod) == "Succeeded")
    new_failed = tuple(pod for pod in new if has_failed(job, pod))
    completed = _completed(job, new_succeeded)
    failures = sum(counts_as_failure(job, pod) for pod in new_failed)
    failed_indexes = _failed_indexes(job, valid) if has_limit_per_index(job) else None
    kept = _kept(job, pods, valid, completed, failed_indexes) if failed_indexes is not None else {}
    return Tally(
        succeeded=completed.total()
        if is_indexed(job)
        else known.succeeded + len(known.uncounted_succeeded) + len(new_succeeded),
        failed=known.failed + len(known.uncounted_failed) + failures,
        new_succeeded=new_succeeded,
        new_failed=new_failed,
        completed=completed,
        failed_indexes=failed_indexes,
        kept=kept,
    )


def _completed(job: Object, new: Iterable[Object]) -> Intervals:
    if not is_indexed(job):
        return Intervals()
    before = parse_intervals((job.get("status") or {}).get("completedIndexes") or "", completions_of(job))
    return before.with_numbers(index for pod in new if (index := valid_index_of(job, pod)) is not None)


def _failed_indexes(job: Object, tracked: Iterable[Object]) -> Intervals:
    before = parse_intervals((job.get("status") or {}).get("failedIndexes") or "", completions_of(job))
    return before.with_numbers(
        index
        for pod in tracked
        if _fails_its_index(job, pod) and (index := valid_index_of(job, pod)) is not None
    )


def _fails_its_index(job: Object, pod: Object) -> bool:
    if not has_failed(job, pod):
        return False
    action = action_of(job, pod)
    if action == "FailIndex":
        return True
    return action != "Ignore" and failures_of(pod)[0] >= job["spec"]["backoffLimitPerIndex"]


def _kept(
    job: Object, pods: Iterable[Object], tracked: Iterable[Object], completed: Intervals, failed: Intervals
) -> dict[int, Object]:
    """Return the last failed pod of each index that has none which runs and is not done with."""
    busy = {valid_index_of(job, pod) for pod in active_pods(pods)}
    kept: dict[int, Object] = {}
    for pod in tracked:
        index = valid_index_of(job, pod)
        if index is None or index in busy or not has_failed(job, pod):
            continue
        if completed.has(index) or failed.has(index):
            continue
        last = kept.get(index)
        if last is None or (
            sum(failures_of(last)) <= sum(failures_of(pod)) and finish_time(pod) >= finish_time(last)
        ):
            kept[index] = pod
    return kept


def track(job: Object, pods: Sequence[Object], counted: Tally, ends: str) -> Tracked:
    """Say what to write; `ends` is the condition by which the Job will end (FailureTarget, …), "" for none.

    A Job that fails takes all its pods for failed; one that ends or is deleted keeps none.
    """
    tracked = tracked_pods(pods)
    known = _read_status(job, tracked)
    succeeded, failed = list(known.uncounted_succeeded), list(known.uncounted_failed)
    listed = {*succeeded, *failed}
    indexes: list[int] = []
    release: list[Object] = []
    for uid, pod in tracked.items():
        is_failed = has_failed(job, pod)
        if not _may_release(job, pod, counted, ends, is_failed=is_failed):
            continue
        if len(indexes) + len(succeeded) + len(failed) >= MAX_UNCOUNTED and uid not in listed:
            continue
        release.append(pod)
        index = valid_index_of(job, pod)
        if uid in listed:
            continue
        if phase(pod) == "Succeeded":
            if not is_indexed(job):
                succeeded.append(uid)
            elif index is not None:
                indexes.append(index)
        elif (is_failed or ends == "FailureTarget") and (not is_indexed(job) or index is not None):
            failed += [uid] if counts_as_failure(job, pod) else []
    before = parse_intervals((job.get("status") or {}).get("completedIndexes") or "", completions_of(job))
    completed = before.with_numbers(indexes) if is_indexed(job) else Intervals()
    return Tracked(
        counted_succeeded=completed.total() if is_indexed(job) else known.succeeded,
        counted_failed=known.failed,
        uncounted_succeeded=tuple(succeeded),
        uncounted_failed=tuple(failed),
        completed=completed,
        release=tuple(release),
    )


def _may_release(job: Object, pod: Object, counted: Tally, ends: str, *, is_failed: bool) -> bool:
    if ends or meta.is_deleting(job) or phase(pod) == "Succeeded":
        return True
    if not is_failed:
        return False
    index = valid_index_of(job, pod)
    kept = counted.kept.get(index) if index is not None else None
    return kept is None or meta.uid(kept) != meta.uid(pod)


def has_failed(job: Object, pod: Object) -> bool:
    """Tell whether the pod counts as failed: one being deleted does, unless it is to be awaited."""
    if phase(pod) == "Failed":
        return True
    return not replaces_failed_only(job) and meta.is_deleting(pod) and phase(pod) != "Succeeded"


def replaces_failed_only(job: Object) -> bool:
    """Tell whether a terminating pod is replaced only when it has ended."""
    return job["spec"].get("podReplacementPolicy") == "Failed" or bool(job["spec"].get("podFailurePolicy"))


def active_pods(pods: Iterable[Object]) -> list[Object]:
    """Return the pods that may still succeed."""
    return [pod for pod in pods if is_active(pod)]


def terminating_pods(pods: Iterable[Object]) -> list[Object]:
    """Return the pods that are being deleted and have not ended."""
    return [pod for pod in pods if meta.is_deleting(pod) and not is_terminated(pod)]
