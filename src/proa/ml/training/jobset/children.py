"""Sort a JobSet's Jobs by what they are to this attempt, and count them: active, successful, failed, or of one before.

Pure. Follows getChildJobs and calculateReplicatedJobStatuses of pkg/controllers/jobset_controller.go, of
kubernetes-sigs/jobset.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.training.jobset.manifests import is_suspended
from proa.ml.training.jobset.names import JOB_INDEX, JOB_RESTARTS, RESTARTS, job_restarts, replicated_jobs
from proa.ml.training.kinds import REPLICATED_JOB_NAME
from proa.objects import meta

_ENDS = ("Complete", "Failed")


class Children(NamedTuple):
    """`previous` are to be deleted: of an attempt that is over."""

    active: tuple[Object, ...]
    successful: tuple[Object, ...]
    failed: tuple[Object, ...]
    previous: tuple[Object, ...]

    def names(self) -> set[str]:
        """Return the names of all that are there."""
        return {meta.name(job) for jobs in self for job in jobs}


def sort_children(jobset: Object, jobs: Iterable[Object]) -> Children:
    """Sort the Jobs that the JobSet controls."""
    sorted_jobs: dict[str, list[Object]] = {"": [], "Complete": [], "Failed": [], "previous": []}
    restarts = {job["name"]: job_restarts(jobset, job) for job in replicated_jobs(jobset)}
    attempt = (jobset.get("status") or {}).get("restarts") or 0
    for job in sorted(jobs, key=meta.name):
        place = "previous" if _is_previous(job, attempt, restarts) else _end_of(job)
        sorted_jobs[place].append(job)
    active, successful, failed, previous = map(tuple, sorted_jobs.values())
    return Children(active, successful, failed, previous)


def count_children(jobset: Object, children: Children) -> list[Object]:
    """Return status.replicatedJobsStatus, in the order of the spec; what counts restarts of single Jobs is kept."""
    kept = {entry["name"]: entry for entry in (jobset.get("status") or {}).get("replicatedJobsStatus") or ()}
    counts = {
        job["name"]: {
            **{
                key: value
                for key, value in kept.get(job["name"], {}).items()
                if key.startswith("jobRestarts")
            },
            "name": job["name"],
            **dict.fromkeys(("ready", "succeeded", "failed", "active", "suspended"), 0),
        }
        for job in replicated_jobs(jobset)
    }
    for job in children.active:
        count = counts[replicated_name(job)]
        status = job.get("status") or {}
        count["ready"] += _is_ready(job)
        count["active"] += (status.get("active") or 0) > 0
        count["suspended"] += is_suspended(job)
    for key, jobs in (("succeeded", children.successful), ("failed", children.failed)):
        for job in jobs:
            counts[replicated_name(job)][key] += 1
    return list(counts.values())


def are_all_ready(jobset: Object, counts: Sequence[Object]) -> bool:
    """Tell whether every Job is ready or has succeeded."""
    wanted = sum(int(job["replicas"]) for job in replicated_jobs(jobset))
    return wanted == sum(int(count["ready"] + count["succeeded"]) for count in counts)


def replicated_name(job: Object) -> str:
    """Return the replicated job that a Job is of."""
    return meta.labels(job).get(REPLICATED_JOB_NAME, "")


def job_index(job: Object) -> int:
    """Return which of its replicated job's Jobs a Job is."""
    return int(meta.labels(job)[JOB_INDEX])


def _is_previous(job: Object, attempt: int, restarts: dict[str, list[int]]) -> bool:
    labels, replicated = meta.labels(job), replicated_name(job)
    if replicated not in restarts or not labels.get(RESTARTS, "").isdecimal():
        return True
    if int(labels[RESTARTS]) < attempt:
        return True
    own, index = labels.get(JOB_RESTARTS, "0"), labels.get(JOB_INDEX, "")
    if not own.isdecimal() or not index.isdecimal() or int(index) >= len(restarts[replicated]):
        return True
    return int(own) < restarts[replicated][int(index)]


def _end_of(job: Object) -> str:
    return next((end for end in _ENDS if meta.has_condition(job, end)), "")


def _is_ready(job: Object) -> bool:
    spec, status = job["spec"], job.get("status") or {}
    pods = int(spec.get("parallelism", 1))
    if spec.get("completions") is not None:
        pods = min(pods, int(spec["completions"]))
    return int(status.get("succeeded") or 0) + int(status.get("ready") or 0) >= pods
