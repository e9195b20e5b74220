"""Number the pods of an Indexed Job: read, write and choose completion indexes.

Follows upstream's pkg/controller/job/indexed_job_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.pods import is_terminated

INDEX_KEY = "batch.kubernetes.io/job-completion-index"
"""Both the annotation and the label of a pod that tells its index."""
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"


def is_indexed(job: Object) -> bool:
    """Return whether each pod has a number of its own."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def index_of(pod: Object) -> int | None:
    """Return the pod's completion index, None where it has none."""
    text = meta.annotations(pod).get(INDEX_KEY, "")
    return int(text) if text.isdecimal() else None


def parse_indexes(text: str) -> set[int]:
    """Read "0-2,5" as {0, 1, 2, 5}."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """Write {0, 1, 2, 5} as "0-2,5"; two in a row are "3,4"."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(_format_run(run) for run in runs)


def _format_run(run: Sequence[int]) -> str:
    if len(run) > 2:
        return f"{run[0]}-{run[-1]}"
    return ",".join(map(str, run))


def pending_indexes(completions: int, count: int, done: set[int], pods: Iterable[Object]) -> list[int]:
    """Return the first `count` indexes that are neither done nor being worked on."""
    busy = {index_of(pod) for pod in pods if not is_terminated(pod) and not meta.is_deleting(pod)}
    free = (index for index in range(completions) if index not in done and index not in busy)
    return [index for index, _ in zip(free, range(count), strict=False)]


def with_index(pod: Object, job_name: str, index: int) -> Object:
    """Return the pod with its index in name, label, annotation, host name and environment."""
    metadata = pod["metadata"]
    mark = {INDEX_KEY: str(index)}
    spec: dict[str, Any] = dict(pod["spec"])
    spec.setdefault("hostname", f"{job_name}-{index}")
    for group in ("initContainers", "containers"):
        if spec.get(group):
            spec[group] = [_with_variable(container) for container in spec[group]]
    return {
        **pod,
        "metadata": {
            **metadata,
            "generateName": f"{job_name}-{index}-",
            "labels": {**(metadata.get("labels") or {}), **mark},
            "annotations": {**(metadata.get("annotations") or {}), **mark},
        },
        "spec": spec,
    }


def _with_variable(container: Object) -> Object:
    given = container.get("env") or []
    if any(variable.get("name") == INDEX_VARIABLE for variable in given):
        return container
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX_KEY}']"}}
    return {**container, "env": [*given, {"name": INDEX_VARIABLE, "valueFrom": source}]}
