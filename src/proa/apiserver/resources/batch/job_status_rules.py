"""Say which changes of a Job's status are not allowed, whoever makes them (KEP-4368).

A status that was wrong before may stay so: most rules look only at what changed.
Follows pkg/apis/batch/validation ValidateJobStatusUpdate and pkg/registry/batch/job/strategy.go
(getStatusValidationOptions).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proa.apiserver.resources.batch.index_intervals import BadIndexes, count_indexes, find_overlap
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.meta import has_condition, parse_time
from proa.objects.validation import duplicate, invalid, not_shown, required, validate_non_negative

COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
CONFLICTS = (  # two conditions that may not both be true, in upstream's words, and whether an old conflict may stay
    ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions", True),
    ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions", True),
    ("SuccessCriteriaMet", "Failed", "cannot set SuccessCriteriaMet=True and Failed=true conditions", False),
    ("SuccessCriteriaMet", "FailureTarget",
     "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions", False),
)  # fmt: skip


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check what the status says, and that what is decided stays."""
    status = new.get("status") or {}
    causes = [c for key in COUNTS for c in validate_non_negative(status.get(key) or 0, f"status.{key}")]
    causes += _validate_uncounted(status.get("uncountedTerminatedPods") or {})
    change = _Change(new, old)
    causes += _validate_conditions(change)
    causes += _validate_times(change)
    causes += _validate_finished(change)
    causes += _validate_indexes(change)
    return causes + list(_validate_transitions(change))


class _Change:
    """A job's status before and after."""

    def __init__(self, new: Object, old: Object) -> None:
        self.new, self.old = new, old
        self.spec: Object = new.get("spec") or {}
        self.status: Object = new.get("status") or {}
        self.before: Object = old.get("status") or {}

    def has(self, *conditions: str) -> bool:
        """Tell whether one of the conditions holds."""
        return any(has_condition(self.new, condition) for condition in conditions)

    def turned(self, *conditions: str) -> bool:
        """Tell whether it changed that one of the conditions holds."""
        return self.has(*conditions) != any(has_condition(self.old, c) for c in conditions)

    def changed(self, key: str) -> bool:
        """Tell whether the field is another now."""
        return bool(self.status.get(key) != self.before.get(key))


def _validate_uncounted(uncounted: Object) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for key in ("succeeded", "failed"):
        for index, uid in enumerate(uncounted.get(key) or ()):
            field = f"status.uncountedTerminatedPods.{key}[{index}]"
            if not uid:
                causes.append(invalid(field, uid, "must not be empty"))
            elif uid in seen:
                causes.append(duplicate(field, uid))
            seen.add(uid)
    return causes


def _validate_conditions(change: _Change) -> list[Cause]:
    found = [
        detail
        for one, other, detail, may_stay in CONFLICTS
        if change.has(one)
        and change.has(other)
        and (not may_stay or change.turned(one) or change.turned(other))
    ]
    is_sudden = change.has("Failed") and not change.has("FailureTarget")
    if is_sudden and (change.turned("Failed") or change.changed("failedIndexes")):
        found.append("cannot set Failed=True condition without the FailureTarget=true condition")
    if change.has("Complete") and not change.has("SuccessCriteriaMet"):
        if change.turned("Complete") or change.turned("SuccessCriteriaMet"):
            found.append("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
        if "successPolicy" in change.spec:
            detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
            found.append(detail)
    return [not_shown("status.conditions", detail) for detail in found]


def _validate_times(change: _Change) -> list[Cause]:
    start, end, field = (
        change.status.get("startTime"),
        change.status.get("completionTime"),
        "status.completionTime",
    )
    is_complete = change.has("Complete")
    causes: list[Cause] = []
    if change.turned("Complete") or change.changed("completionTime"):
        if end and not is_complete:
            detail = "cannot set completionTime when there is no Complete=True condition"
            causes.append(invalid(field, end, detail))
        if not end and is_complete:
            causes.append(required(field, "completionTime is required for Complete jobs"))
    is_other = change.changed("startTime") or change.changed("completionTime")
    if is_other and start and end and parse_time(end) < parse_time(start):
        causes.append(invalid(field, end, "completionTime cannot be set before startTime"))
    return causes


def _validate_finished(change: _Change) -> list[Cause]:
    status, causes = change.status, list[Cause]()
    if change.has("Complete", "Failed"):
        has_ended = change.turned("Complete", "Failed")
        active, terminating = status.get("active") or 0, status.get("terminating") or 0
        uncounted: dict[str, Any] = status.get("uncountedTerminatedPods") or {}
        if active > 0 and (has_ended or change.changed("active")):
            causes.append(invalid("status.active", active, "active>0 is invalid for finished job"))
        never_ran = change.spec.get("suspend") and change.spec.get("completions") == 0
        if not status.get("startTime") and not never_ran and (has_ended or change.changed("startTime")):
            causes.append(required("status.startTime", "startTime is required for finished job"))
        if any(uncounted.values()) and (has_ended or change.changed("uncountedTerminatedPods")):
            detail = "uncountedTerminatedPods needs to be empty for finished job"
            shown = {"Failed": uncounted.get("failed"), "Succeeded": uncounted.get("succeeded")}
            causes.append(invalid("status.uncountedTerminatedPods", shown, detail))
        if terminating > 0 and (has_ended or change.changed("terminating")):
            detail = "terminating>0 is invalid for finished job"
            causes.append(invalid("status.terminating", terminating, detail))
    ready = status.get("ready")
    is_other = change.changed("ready") or change.changed("active")
    if ready is not None and ready > (status.get("active") or 0) and is_other:
        causes.append(invalid("status.ready", ready, "cannot set more ready pods than active"))
    return causes


def _validate_indexes(change: _Change) -> list[Cause]:
    if not change.changed("completedIndexes") and not change.changed("failedIndexes"):
        return []
    causes: list[Cause] = []
    completed, failed = change.status.get("completedIndexes") or "", change.status.get("failedIndexes")
    completions, has_limit = change.spec.get("completions"), "backoffLimitPerIndex" in change.spec
    if change.changed("completedIndexes"):
        causes += _validate_format(completed, completions, "completedIndexes")
        if completed and change.spec.get("completionMode") != "Indexed":
            detail = "cannot set non-empty completedIndexes when non-indexed completion mode"
            causes.append(invalid("status.completedIndexes", completed, detail))
    if failed is None:
        return causes
    if change.changed("failedIndexes"):
        if has_limit:
            causes += _validate_format(failed, completions, "failedIndexes")
        else:
            detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
            causes.append(invalid("status.failedIndexes", failed, detail))
    overlap = None if completions is None else find_overlap(completed, failed, completions)
    if overlap is not None:
        detail = f"failedIndexes and completedIndexes overlap at index: {overlap}"
        causes.append(invalid("status.failedIndexes", failed, detail))
    return causes


def _validate_format(indexes: str, completions: int | None, key: str) -> list[Cause]:
    if completions is not None:
        try:
            count_indexes(indexes, completions)
        except BadIndexes as error:
            return [invalid(f"status.{key}", indexes, f"error parsing {key}: {error}")]
    return []


def _validate_transitions(change: _Change) -> Iterator[Cause]:
    for condition in ("Failed", "Complete", "FailureTarget"):
        if has_condition(change.old, condition) and not change.has(condition):
            detail = f"cannot disable the terminal {condition}=True condition"
            yield not_shown("status.conditions", detail)
    spec = change.spec
    may_shrink = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get(
        "parallelism"
    )
    for key in ("failed", "succeeded"):
        count = change.status.get(key) or 0
        if count < (change.before.get(key) or 0) and not (key == "succeeded" and may_shrink):
            yield invalid(f"status.{key}", count, f"cannot decrease the {key} counter")
    end = change.status.get("completionTime")
    if end and change.before.get("completionTime") and change.changed("completionTime"):
        yield invalid("status.completionTime", end, "completionTime cannot be mutated")
    if change.before.get("startTime") and change.changed("startTime") and not spec.get("suspend"):
        yield required("status.startTime", "startTime cannot be removed for unsuspended job")
    was_met, is_met = has_condition(change.old, "SuccessCriteriaMet"), change.has("SuccessCriteriaMet")
    if was_met and not is_met:
        yield not_shown("status.conditions", "cannot disable the SuccessCriteriaMet=True condition")
    if has_condition(change.old, "Complete") and not was_met and is_met:
        detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
        yield not_shown("status.conditions", detail)
