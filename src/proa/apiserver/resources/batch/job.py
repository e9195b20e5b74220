"""A Job runs pods until enough have succeeded; it makes its own selector, and its template never changes.

Follows pkg/apis/batch/v1/defaults.go, pkg/registry/batch/job/strategy.go and printJob.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.batch.job_rules import (
    NAME_LABEL,
    OLD_NAME_LABEL,
    OLD_UID_LABEL,
    UID_LABEL,
    validate,
    validate_update,
)
from proa.apiserver.resources.batch.job_status_rules import validate_status_update
from proa.apiserver.resources.batch.job_warnings import warnings
from proa.apiserver.resources.core.pod_defaults import default_template
from proa.apiserver.resources.printing import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    age,
    container_cells,
    doc,
    human_duration,
    selector_cell,
)
from proa.client.protocol import Object
from proa.objects.meta import has_condition, labels, parse_time
from proa.objects.resource import JOBS

MAX_INT32 = 2**31 - 1
CONDITION_WORDS = (("Suspended", "Suspended"), ("FailureTarget", "FailureTarget"),
                   ("SuccessCriteriaMet", "SuccessCriteriaMet"))  # fmt: skip


def default(job: Object) -> None:
    """Fill in counts, back-off, modes and the template; an unlabelled job takes the template's labels."""
    spec = job.setdefault("spec", {})
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", MAX_INT32 if "backoffLimitPerIndex" in spec else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    policy = "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed"
    spec["podReplacementPolicy"] = spec.get("podReplacementPolicy") or policy
    default_failure_policy(spec)
    template = spec.setdefault("template", {})
    default_template(template)
    _default_labels(job)


def default_failure_policy(spec: Object) -> None:
    """A pod failure policy speaks of conditions that hold."""
    for rule in (spec.get("podFailurePolicy") or {}).get("rules", ()):
        for pattern in rule.get("onPodConditions", ()):
            pattern["status"] = pattern.get("status") or "True"


def _default_labels(job: Object) -> None:
    template = job["spec"]["template"]
    if labels(template) and not labels(job):
        job.setdefault("metadata", {})["labels"] = dict(labels(template))


def prepare_create(job: Object) -> None:
    """Select the job's pods by its own uid, unless it says how itself."""
    job["status"] = {}
    spec = job["spec"]
    if spec.get("manualSelector"):
        return
    metadata = job["metadata"]
    uid, name = metadata.get("uid", ""), metadata.get("name", "")
    template_labels = spec["template"]["metadata"].setdefault("labels", {})
    for key, value in ((OLD_UID_LABEL, uid), (OLD_NAME_LABEL, name), (UID_LABEL, uid), (NAME_LABEL, name)):
        template_labels.setdefault(key, value)
    selector = spec.setdefault("selector", {}).setdefault("matchLabels", {})
    selector.setdefault(UID_LABEL, uid)
    _default_labels(job)  # as upstream does whenever it reads the job from its store


def cells(job: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec = job["spec"]
    return (
        job["metadata"]["name"],
        status_word(job),
        _completions(job),
        _duration(job, now),
        age(job, now),
        *container_cells(spec.get("template") or {}),
        selector_cell(spec.get("selector")),
    )


def status_word(job: Object) -> str:
    """Return the STATUS column."""
    if has_condition(job, "Complete"):
        return "Complete"
    if has_condition(job, "Failed"):
        return "Failed"
    if job["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((word for condition, word in CONDITION_WORDS if has_condition(job, condition)), "Running")


def _completions(job: Object) -> str:
    spec, succeeded = job["spec"], (job.get("status") or {}).get("succeeded", 0)
    if "completions" in spec:
        return f"{succeeded}/{spec['completions']}"
    parallelism = spec.get("parallelism", 0)
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(job: Object, now: float) -> str:
    status = job.get("status") or {}
    if not status.get("startTime"):
        return ""
    end = parse_time(status["completionTime"]) if status.get("completionTime") else now
    return human_duration(end - parse_time(status["startTime"]))


def _succeeded(job: Object) -> str:
    return str((job.get("status") or {}).get("succeeded", 0))


DEFINITION = ResourceDefinition(
    resource=JOBS,
    singular="job",
    schema="io.k8s.api.batch.v1.Job",
    categories=("all",),
    subresources=(Subresource("status", "Job", ("get", "patch", "update")),),
    default=default,
    prepare_create=prepare_create,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    warnings=warnings,
    columns=(
        NAME,
        Column("Status", description="Status of the job."),
        Column("Completions", description=doc("batch.v1.JobStatus.succeeded")),
        Column("Duration", description="Time required to complete the job."),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", description=doc("batch.v1.JobSpec.selector"), priority=1),
    ),
    cells=cells,
    field_selectors={"status.successful": _succeeded},
    tracks_generation=True,
    default_propagation="Orphan",
)
