"""Number the pods of an Indexed Job, and say of each number how often its pods have failed.

With backoffLimitPerIndex a pod carries how many before it failed with its number (and how many failures were
ignored), so the last failed pod of a number is kept until the next one is there. Follows upstream's
pkg/controller/job/indexed_job_utils.go.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.controllers.job.policies import counts_as_failure
from proa.objects import meta

INDEX_KEY = "batch.kubernetes.io/job-completion-index"
"""Both the annotation and the label of a pod that tells its index."""
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
FAILURES_KEY = "batch.kubernetes.io/job-index-failure-count"
IGNORED_KEY = "batch.kubernetes.io/job-index-ignored-failure-count"
LONGEST_GENERATE_NAME = 58
"""So that a name has room for five random characters."""
MAX_INT32 = 2**31 - 1


class NewPod(NamedTuple):
    """A pod to create: its index in an Indexed Job, and how often pods of that index have failed before."""

    number: int | None = None
    failures: int = 0
    ignored: int = 0


def is_indexed(job: Object) -> bool:
    """Tell whether each pod has a number of its own."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def completions_of(job: Object) -> int:
    """Return spec.completions, 0 where it is not said."""
    return int(job["spec"].get("completions") or 0)


def has_limit_per_index(job: Object) -> bool:
    """Tell whether each number fails on its own account."""
    return is_indexed(job) and job["spec"].get("backoffLimitPerIndex") is not None


def index_of(pod: Object) -> int | None:
    """Return the pod's completion index, None where it has none."""
    text = meta.annotations(pod).get(INDEX_KEY, "")
    return int(text) if text.isdecimal() and len(text) < 12 else None


def valid_index_of(job: Object, pod: Object) -> int | None:
    """Return the pod's completion index where the Job has that many."""
    index = index_of(pod)
    return index if index is not None and index < completions_of(job) else None


def failures_of(pod: Object) -> tuple[int, int]:
    """Return how many pods of its number failed before it, and how many of whose failures were ignored."""
    return _count(pod, FAILURES_KEY), _count(pod, IGNORED_KEY)


def _count(pod: Object, key: str) -> int:
    text = meta.annotations(pod).get(key, "")
    return int(text) if text.isdecimal() and len(text) < 12 and int(text) <= MAX_INT32 else 0


def replacement(job: Object, index: int, failed: Object | None) -> NewPod:
    """Return the pod that comes after a failed one of the same number."""
    if failed is None:
        return NewPod(index)
    failures, ignored = failures_of(failed)
    if counts_as_failure(job, failed):
        return NewPod(index, failures + 1, ignored)
    return NewPod(index, failures, ignored + 1)


def with_index(pod: Object, job: Object, new: NewPod) -> Object:
    """Return the pod with its index in name, label, annotation, host name and environment."""
    metadata, name = pod["metadata"], meta.name(job)
    mark = {INDEX_KEY: str(new.number)}
    counts: dict[str, str] = {}
    if has_limit_per_index(job):
        counts = {FAILURES_KEY: str(new.failures), **({IGNORED_KEY: str(new.ignored)} if new.ignored else {})}
    spec: dict[str, Any] = {**pod["spec"], "hostname": f"{name}-{new.number}"}
    for group in ("initContainers", "containers"):
        if spec.get(group):
            spec[group] = [_with_variable(container) for container in spec[group]]
    return {
        **pod,
        "metadata": {
            **metadata,
            "generateName": _generate_name(name, f"-{new.number}-"),
            "labels": {**(metadata.get("labels") or {}), **mark},
            "annotations": {**(metadata.get("annotations") or {}), **mark, **counts},
        },
        "spec": spec,
    }


def _generate_name(job_name: str, end: str) -> str:
    return job_name[: LONGEST_GENERATE_NAME - len(end)] + end


def _with_variable(container: Object) -> Object:
    given = container.get("env") or []
    if any(variable.get("name") == INDEX_VARIABLE for variable in given):
        return container
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX_KEY}']"}}
    return {**container, "env": [*given, {"name": INDEX_VARIABLE, "valueFrom": source}]}
