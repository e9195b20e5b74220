"""Say what is wrong with a list of metav1.Condition (apimachinery/pkg/apis/meta/v1/validation ValidateConditions)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    duplicate,
    invalid,
    not_supported,
    qualified_name,
    regex_problem,
    required,
    too_long,
)

STATUSES = ("False", "True", "Unknown")
MAX_REASON_BYTES, MAX_MESSAGE_BYTES = 1024, 32768
_REASON = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"


def validate_conditions(conditions: Sequence[dict[str, Any]] | None, field: str) -> list[Cause]:
    """Check each condition, and that none is there twice."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, condition in enumerate(conditions or ()):
        kind = condition.get("type", "")
        if kind in seen:
            causes.append(duplicate(f"{field}[{index}].type", kind))
        seen.add(kind)
        causes += _validate_condition(condition, f"{field}[{index}]")
    return causes


def _validate_condition(condition: dict[str, Any], path: str) -> list[Cause]:
    kind, status, reason = (condition.get(key, "") for key in ("type", "status", "reason"))
    causes = all_invalid(f"{path}.type", kind, qualified_name(kind))
    if status not in STATUSES:
        causes.append(not_supported(f"{path}.status", status, STATUSES))
    generation = condition.get("observedGeneration", 0)
    if generation < 0:
        detail = "must be greater than or equal to zero"
        causes.append(invalid(f"{path}.observedGeneration", generation, detail))
    if not condition.get("lastTransitionTime"):
        causes.append(required(f"{path}.lastTransitionTime", "must be set"))
    if not reason:
        causes.append(required(f"{path}.reason", "must be set"))
    else:
        causes += all_invalid(f"{path}.reason", reason, condition_reason(reason))
        if len(reason.encode()) > MAX_REASON_BYTES:
            causes.append(too_long(f"{path}.reason", MAX_REASON_BYTES))
    if len(condition.get("message", "").encode()) > MAX_MESSAGE_BYTES:
        causes.append(too_long(f"{path}.message", MAX_MESSAGE_BYTES))
    return causes


def condition_reason(value: str) -> list[str]:
    """A word for programs: letters and digits, with `_`, `,` and `:` between them."""
    if re.fullmatch(_REASON, value, re.ASCII):
        return []
    message = (
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
        "characters or '_,:', and must end with an alphanumeric character or '_'"
    )
    examples = ("my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB")
    return [regex_problem(message, _REASON, *examples)]
