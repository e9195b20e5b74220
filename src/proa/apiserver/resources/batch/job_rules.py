"""Say what is wrong with a Job (pkg/apis/batch/validation ValidateJob and ValidateJobUpdate)."""

from __future__ import annotations

from proa.apiserver.resources.core.pod_rules import validate_pod_template
from proa.client.protocol import Object
from proa.objects.errors import BadRequest, Cause
from proa.objects.meta import has_condition
from proa.objects.selectors import selector_from_dict
from proa.objects.validation import (
    forbidden,
    invalid,
    not_supported,
    required,
    validate_immutable,
    validate_non_negative,
)
from proa.objects.validation_selectors import validate_label_selector

NUMBERS = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
           "backoffLimitPerIndex", "maxFailedIndexes")  # fmt: skip
MODES = ("NonIndexed", "Indexed")
IMMUTABLE = (
    "selector",
    "completionMode",
    "podFailurePolicy",
    "backoffLimitPerIndex",
    "managedBy",
    "successPolicy",
)
MUTABLE_WHILE_SUSPENDED = ("nodeSelector", "affinity", "tolerations", "schedulingGates")
MAX_INDEXED_PARALLELISM = 100_000


def validate(job: Object) -> list[Cause]:
    """Check numbers, mode, selector and template."""
    spec = job["spec"]
    causes = _validate_numbers(spec, "spec")
    selector = spec.get("selector")
    if selector is None:
        causes.append(required("spec.selector"))
    else:
        causes += validate_label_selector(selector, "spec.selector")
    causes += _validate_mode(spec, "spec")
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    try:
        matches = selector is not None and selector_from_dict(selector).matches(labels)
    except BadRequest:
        matches = True  # said above
    if not matches:
        detail = "`selector` does not match template `labels`"
        causes.append(invalid("spec.template.metadata.labels", labels or None, detail))
    causes += validate_pod_template(template, "spec.template")
    return causes + _validate_restart_policy(template, "spec.template")


def validate_job_spec(spec: Object, path: str) -> list[Cause]:
    """Check a job's spec but for its selector, which the template of a CronJob has not."""
    template = spec.get("template") or {}
    causes = _validate_numbers(spec, path) + _validate_mode(spec, path)
    causes += validate_pod_template(template, f"{path}.template")
    return causes + _validate_restart_policy(template, f"{path}.template")


def _validate_numbers(spec: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in NUMBERS:
        if key in spec:
            causes += validate_non_negative(spec[key], f"{path}.{key}")
    return causes


def _validate_mode(spec: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    mode = spec.get("completionMode")
    if mode is not None and mode not in MODES:
        causes.append(not_supported(f"{path}.completionMode", mode, MODES))
    if mode == "Indexed":
        if "completions" not in spec:
            causes.append(required(f"{path}.completions", "when completion mode is Indexed"))
        if spec.get("parallelism", 0) > MAX_INDEXED_PARALLELISM:
            detail = (
                f"must be less than or equal to {MAX_INDEXED_PARALLELISM} when completion mode is Indexed"
            )
            causes.append(invalid(f"{path}.parallelism", spec["parallelism"], detail))
    elif "backoffLimitPerIndex" in spec:
        detail = "requires indexed completion mode"
        causes.append(invalid(f"{path}.backoffLimitPerIndex", spec["backoffLimitPerIndex"], detail))
    policy = spec.get("podReplacementPolicy")
    if policy not in (None, "Failed", "TerminatingOrFailed"):
        causes.append(
            not_supported(f"{path}.podReplacementPolicy", policy, ("Failed", "TerminatingOrFailed"))
        )
    elif policy == "TerminatingOrFailed" and "podFailurePolicy" in spec:
        causes.append(not_supported(f"{path}.podReplacementPolicy", policy, ("Failed",)))
    return causes


def _validate_restart_policy(template: Object, path: str) -> list[Cause]:
    policy, field = (template.get("spec") or {}).get("restartPolicy", ""), f"{path}.spec.restartPolicy"
    if policy in ("", "Always"):
        return [required(field, 'valid values: "OnFailure", "Never"')]
    return [] if policy in ("OnFailure", "Never") else [not_supported(field, policy, ("OnFailure", "Never"))]


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that only parallelism, suspension and the like change; scheduling too while it has not started."""
    mine, theirs = new["spec"], old["spec"]
    causes: list[Cause] = []
    if mine.get("completions") != theirs.get("completions") and not _is_elastic(mine):
        causes += validate_immutable(mine.get("completions"), theirs.get("completions"), "spec.completions")
    for key in IMMUTABLE:
        causes += validate_immutable(mine.get(key), theirs.get(key), f"spec.{key}")
    return causes + _validate_template_update(mine, old)


def _is_elastic(spec: Object) -> bool:
    """An indexed job may grow and shrink together with its parallelism (KEP-3715)."""
    return spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")


def _validate_template_update(mine: Object, old: Object) -> list[Cause]:
    theirs = old["spec"]
    before, after = theirs.get("template") or {}, mine.get("template") or {}
    is_waiting = theirs.get("suspend") and not (old.get("status") or {}).get("startTime")
    if is_waiting and has_condition(old, "Suspended"):
        before, after = _without_scheduling(before), _without_scheduling(after)
    return validate_immutable(after, before, "spec.template")


def _without_scheduling(template: Object) -> Object:
    spec = {k: v for k, v in (template.get("spec") or {}).items() if k not in MUTABLE_WHILE_SUSPENDED}
    metadata = {
        k: v for k, v in (template.get("metadata") or {}).items() if k not in ("labels", "annotations")
    }
    return {**template, "spec": spec, "metadata": metadata}


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check counts, and that a finished job stays finished."""
    status = new.get("status") or {}
    causes: list[Cause] = []
    for key in ("active", "succeeded", "failed", "ready", "terminating"):
        causes += validate_non_negative(status.get(key) or 0, f"status.{key}")
    for condition in ("Complete", "Failed"):
        if has_condition(old, condition) and not has_condition(new, condition):
            causes.append(invalid("status.conditions", condition, "cannot disable the terminal condition"))
    if has_condition(new, "Complete") and has_condition(new, "Failed"):
        causes.append(forbidden("status.conditions", "cannot set both Complete and Failed"))
    return causes
