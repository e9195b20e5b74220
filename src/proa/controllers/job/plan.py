"""Decide which pods a Job that has not finished lacks, or has too many of.

Pods are either deleted or created in one step, never both. Follows upstream's
pkg/controller/job/job_controller.go (manageJob).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from proa.client.protocol import Object
from proa.controllers.job.backoff import Record, seconds_for_index
from proa.controllers.job.indexes import (
    NewPod,
    completions_of,
    has_limit_per_index,
    index_of,
    is_indexed,
    replacement,
    valid_index_of,
)
from proa.controllers.job.intervals import Intervals
from proa.controllers.job.outcome import (
    FAILURE,
    REACHED,
    Outcome,
    find_outcome,
    has_reached_completions,
    is_suspended,
    seconds_until_deadline,
)
from proa.controllers.job.tally import Tally, active_pods, replaces_failed_only, terminating_pods
from proa.objects import meta
from proa.reconcile.pod_control import rank_for_deletion

MAX_PODS_AT_ONCE = 500


class Plan(NamedTuple):
    """`delete` go uncounted; `kill` count as failed. `outcome` is how the Job will end, once that is known.

    `is_managed` says whether the Job still has the pods that it asks for: it may be suspended and resumed.
    """

    create: tuple[NewPod, ...] = ()
    delete: tuple[Object, ...] = ()
    kill: tuple[Object, ...] = ()
    outcome: Outcome | None = None
    is_managed: bool = False
    requeue_after: float = 0.0


def plan(job: Object, pods: Sequence[Object], counted: Tally, record: Record, now: float) -> Plan:
    """Decide the next step; `record` tells of failures, the newly counted ones included."""
    active = active_pods(pods)
    outcome = find_outcome(job, pods, counted, now)
    if outcome is not None and outcome.type == FAILURE:
        return Plan(kill=tuple(active), outcome=outcome)
    if outcome is not None:
        return Plan(delete=tuple(active), outcome=outcome)
    step = Plan() if meta.is_deleting(job) else _manage(job, pods, active, counted, record, now)
    if not step.create and has_reached_completions(job, counted, len(active) - len(step.delete)):
        return Plan(delete=step.delete, outcome=REACHED)
    deadline = seconds_until_deadline(job, now)
    waits = [seconds for seconds in (deadline, step.requeue_after) if seconds]
    return step._replace(requeue_after=min(waits, default=0.0))


def _manage(
    job: Object, pods: Sequence[Object], active: Sequence[Object], counted: Tally, record: Record, now: float
) -> Plan:
    idle = Plan(is_managed=True)
    if is_suspended(job):
        return idle._replace(delete=tuple(active))
    wanted = _wanted_active(job, counted, len(active))
    doomed = _doomed(job, active, len(active) - wanted, now)
    if doomed:
        return idle._replace(delete=tuple(doomed[:MAX_PODS_AT_ONCE]))
    ending = terminating_pods(pods) if replaces_failed_only(job) else []
    missing = min(wanted - len(active) - len(ending), MAX_PODS_AT_ONCE)
    if missing <= 0:
        return idle
    if not has_limit_per_index(job) and (wait := record.seconds_to_wait(now)):
        return idle._replace(requeue_after=wait)
    if not is_indexed(job):
        return idle._replace(create=(NewPod(),) * missing)
    return _create_indexes(job, [*active, *ending], counted, missing, now)


def _wanted_active(job: Object, counted: Tally, active: int) -> int:
    parallelism = int(job["spec"].get("parallelism", 1))
    completions = job["spec"].get("completions")
    if completions is None:
        return active if counted.succeeded > 0 else parallelism
    return max(0, min(int(completions) - counted.succeeded, parallelism))


def _doomed(job: Object, active: Sequence[Object], surplus: int, now: float) -> list[Object]:
    """Return the active pods that must go: of an Indexed Job first those whose index is void or taken."""
    if surplus <= 0 and not _is_muddled(job, active):
        return []
    ranked = rank_for_deletion(active, {}, now)
    useless: list[Object] = []
    if is_indexed(job):
        taken: set[int] = set()
        for pod in reversed(ranked):  # of several pods with an index the one stays that would go last
            index = valid_index_of(job, pod)
            if index is None or index in taken:
                useless.append(pod)
            else:
                taken.add(index)
    spared = {meta.uid(pod) for pod in useless}
    others = [pod for pod in ranked if meta.uid(pod) not in spared]
    return [*useless, *others[: max(0, surplus - len(useless))]]


def _is_muddled(job: Object, active: Sequence[Object]) -> bool:
    """Tell whether pods of an Indexed Job have no index, or the same one."""
    indexes = {valid_index_of(job, pod) for pod in active} if is_indexed(job) else set()
    return None in indexes or (is_indexed(job) and len(indexes) < len(active))


def _create_indexes(job: Object, busy: Sequence[Object], counted: Tally, missing: int, now: float) -> Plan:
    """Return the first free indexes that need not wait, and when the next one needs not, where all do."""
    done = counted.completed.union((counted.failed_indexes or Intervals()).ranges)
    taken = done.with_numbers(index for pod in busy if (index := index_of(pod)) is not None)
    free = list(islice(taken.free(completions_of(job)), missing))
    waits = {index: seconds_for_index(counted.kept.get(index), now) for index in free}
    ready = tuple(replacement(job, index, counted.kept.get(index)) for index in free if not waits[index])
    wait = 0.0 if ready else min(waits.values(), default=0.0)
    return Plan(create=ready, is_managed=True, requeue_after=wait)
