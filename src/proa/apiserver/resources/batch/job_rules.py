"""Say what is wrong with a Job (pkg/apis/batch/validation ValidateJob and ValidateJobUpdate)."""

from __future__ import annotations

from typing import Any

from proa.apiserver.resources.batch.job_policy_rules import (
    validate_failure_policy,
    validate_replacement_policy,
    validate_success_policy,
)
from proa.apiserver.resources.core.pod_rules import validate_pod_template
from proa.client.protocol import Object
from proa.objects.errors import BadRequest, Cause
from proa.objects.meta import has_condition
from proa.objects.selectors import selector_from_dict
from proa.objects.validation import (
    dns_label,
    domain_prefixed_path,
    invalid,
    not_supported,
    required,
    too_long,
    validate_immutable,
    validate_non_negative,
)
from proa.objects.validation_selectors import validate_label_selector

UID_LABEL, NAME_LABEL = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
OLD_UID_LABEL, OLD_NAME_LABEL = "controller-uid", "job-name"
NUMBERS = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
           "backoffLimitPerIndex", "maxFailedIndexes")  # fmt: skip
MODES = ("NonIndexed", "Indexed")
IMMUTABLE = (
    "completionMode",
    "podFailurePolicy",
    "backoffLimitPerIndex",
    "managedBy",
    "successPolicy",
)
MUTABLE_WHILE_SUSPENDED = ("nodeSelector", "tolerations", "schedulingGates")
MAX_MANAGER_BYTES = 63
MAX_INDEXED = 100_000
"""The most parallelism and failed indexes, and the most completions before the limits below hold."""
MAX_OF_MANY = 10_000
"""The most parallelism and failed indexes of a job with more completions than that and a limit for each index."""


def validate(job: Object) -> list[Cause]:
    """Check numbers, mode, policies, template and selector."""
    spec, name = job["spec"], job["metadata"].get("name") or ""
    causes = _validate_generated(job)
    causes += validate_job_spec(spec, "spec")
    selector = spec.get("selector")
    if selector is None:
        causes.append(required("spec.selector"))
    else:
        causes += validate_label_selector(selector, "spec.selector")
    labels = _template_labels(spec)
    if not _selects(selector, labels):
        detail = "`selector` does not match template `labels`"
        causes.append(invalid("spec.template.metadata.labels", labels or None, detail))
    if spec.get("completionMode") == "Indexed" and spec.get("completions", 0) > 0:
        last = f"{name}-{spec['completions'] - 1}"
        if dns_label(last):
            detail = f"will not able to create pod with invalid DNS label: {last}"
            causes.append(invalid("metadata.name", name, detail))
    return causes


def _template_labels(spec: Object) -> dict[str, str]:
    return ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}


def _selects(selector: Object | None, labels: dict[str, str]) -> bool:
    try:
        return selector is not None and selector_from_dict(selector).matches(labels)
    except BadRequest:
        return True  # said of the selector itself


def _validate_generated(job: Object) -> list[Cause]:
    """Check that labels and selector are those that the API server generates, unless it was told not to."""
    spec = job["spec"]
    if spec.get("manualSelector") or spec.get("selector") is None:
        return []
    uid, name = job["metadata"].get("uid") or "", job["metadata"].get("name") or ""
    causes = [] if uid else [required("metadata.uid")]
    labels = _template_labels(spec)
    expected = {OLD_UID_LABEL: uid, OLD_NAME_LABEL: name, UID_LABEL: uid, NAME_LABEL: name}
    for key, value in expected.items():
        field = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            causes.append(required(field, f"must be '{value}'"))
        elif labels[key] != value:
            causes.append(invalid(field, labels, f"must be '{value}'"))
    if not _selects(spec["selector"], expected):
        causes.append(invalid("spec.selector", spec["selector"], "`selector` not auto-generated"))
    return causes


def validate_job_spec(spec: Object, path: str) -> list[Cause]:
    """Check a job's spec but for its selector, which the template of a CronJob has not."""
    template = spec.get("template") or {}
    causes = _validate_numbers(spec, path)
    causes += _validate_mode(spec, path)
    causes += validate_failure_policy(spec, path)
    causes += validate_success_policy(spec, path)
    causes += validate_replacement_policy(spec, path)
    causes += validate_pod_template(template, f"{path}.template")
    return causes + _validate_restart_policy(spec, f"{path}.template.spec.restartPolicy")


def _validate_numbers(spec: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in NUMBERS:
        if key in spec:
            causes += validate_non_negative(spec[key], f"{path}.{key}")
    if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
        causes.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    manager = spec.get("managedBy")
    if manager is not None:
        causes += domain_prefixed_path(manager, f"{path}.managedBy")
        if len(manager) > MAX_MANAGER_BYTES:
            causes.append(too_long(f"{path}.managedBy", MAX_MANAGER_BYTES))
    return causes


def _validate_mode(spec: Object, path: str) -> list[Cause]:
    mode = spec.get("completionMode")
    if mode == "Indexed":
        return _validate_indexed(spec, path)
    if mode not in (None, *MODES):
        return [not_supported(f"{path}.completionMode", mode, MODES)]
    detail = "requires indexed completion mode"
    keys = ("backoffLimitPerIndex", "maxFailedIndexes")
    return [invalid(f"{path}.{key}", spec[key], detail) for key in keys if key in spec]


def _validate_indexed(spec: Object, path: str) -> list[Cause]:
    completions, failures = spec.get("completions"), spec.get("maxFailedIndexes")
    causes: list[Cause] = []
    if completions is None:
        causes.append(required(f"{path}.completions", "when completion mode is Indexed"))
    causes += _at_most(spec, "parallelism", MAX_INDEXED, path, " when completion mode is Indexed")
    if completions is not None and failures is not None and failures > completions:
        detail = "must be less than or equal to completions"
        causes.append(invalid(f"{path}.maxFailedIndexes", failures, detail))
    causes += _at_most(spec, "maxFailedIndexes", MAX_INDEXED, path)
    if (completions or 0) > MAX_INDEXED and "backoffLimitPerIndex" in spec:
        if failures is None:
            detail = f"must be specified when completions is above {MAX_INDEXED}"
            causes.append(required(f"{path}.maxFailedIndexes", detail))
        when = f" when completions are above {MAX_INDEXED} and used with backoff limit per index"
        causes += _at_most(spec, "parallelism", MAX_OF_MANY, path, when)
        causes += _at_most(spec, "maxFailedIndexes", MAX_OF_MANY, path, when)
    return causes


def _at_most(spec: Object, key: str, most: int, path: str, when: str = "") -> list[Cause]:
    value = spec.get(key)
    if value is None or value <= most:
        return []
    return [invalid(f"{path}.{key}", value, f"must be less than or equal to {most}{when}")]


def _validate_restart_policy(spec: Object, field: str) -> list[Cause]:
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy", "")
    if policy in ("", "Always"):
        return [required(field, 'valid values: "OnFailure", "Never"')]
    if policy not in ("OnFailure", "Never"):
        return [not_supported(field, policy, ("OnFailure", "Never"))]
    if policy != "Never" and spec.get("podFailurePolicy") is not None:
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        return [invalid(field, policy, detail)]
    return []


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that only parallelism, suspension and the like change; scheduling too while it has not started."""
    mine, theirs = new["spec"], old["spec"]
    causes = _validate_completions(mine, theirs)
    causes += validate_immutable(mine.get("selector"), theirs.get("selector"), "spec.selector")
    causes += _validate_template_update(mine, old)
    for key in IMMUTABLE:
        causes += validate_immutable(mine.get(key), theirs.get(key), f"spec.{key}")
    return causes


def _validate_completions(mine: Object, theirs: Object) -> list[Cause]:
    """An indexed job may grow and shrink together with its parallelism (KEP-3715)."""
    completions, field = mine.get("completions"), "spec.completions"
    if mine.get("completionMode") != "Indexed":
        return validate_immutable(completions, theirs.get("completions"), field)
    if completions in (None, theirs.get("completions"), mine.get("parallelism")):
        return []
    return [invalid(field, completions, "can only be modified in tandem with spec.parallelism")]


def _validate_template_update(mine: Object, old: Object) -> list[Cause]:
    before, after = old["spec"].get("template") or {}, mine.get("template") or {}
    if _is_at_rest(old):
        before, after = _without_scheduling(before), _without_scheduling(after)
    return validate_immutable(after, before, "spec.template")


def _is_at_rest(job: Object) -> bool:
    """Tell whether the Job is suspended and has no pods: what it asks of nodes may change (KEP-2926, KEP-5440)."""
    status = job.get("status") or {}
    has_stopped = not status.get("startTime") or has_condition(job, "Suspended")
    return bool(job["spec"].get("suspend")) and has_stopped and not status.get("active")


def _without_scheduling(template: Object) -> Object:
    spec: dict[str, Any] = {
        k: v for k, v in (template.get("spec") or {}).items() if k not in MUTABLE_WHILE_SUSPENDED
    }
    affinity = {k: v for k, v in (spec.pop("affinity", None) or {}).items() if k != "nodeAffinity"}
    if affinity:
        spec["affinity"] = affinity
    for group in ("containers", "initContainers"):
        if spec.get(group):
            spec[group] = [{k: v for k, v in c.items() if k != "resources"} for c in spec[group]]
    metadata = {
        k: v for k, v in (template.get("metadata") or {}).items() if k not in ("labels", "annotations")
    }
    return {**template, "spec": spec, "metadata": metadata}
