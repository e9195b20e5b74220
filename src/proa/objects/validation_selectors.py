"""Say what is wrong with a LabelSelector (apimachinery/pkg/apis/meta/v1/validation/validation.go)."""

from __future__ import annotations

from typing import Any

from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    forbidden,
    invalid,
    label_value,
    qualified_name,
    required,
    validate_labels,
)


def validate_label_selector(selector: dict[str, Any] | None, field: str) -> list[Cause]:
    """Check matchLabels and matchExpressions."""
    if selector is None:
        return []
    causes = validate_labels(selector.get("matchLabels"), f"{field}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions", ())):
        causes += _validate_requirement(expression, f"{field}.matchExpressions[{index}]")
    return causes


def is_empty_selector(selector: dict[str, Any]) -> bool:
    """Tell whether the selector selects everything."""
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def _validate_requirement(expression: dict[str, Any], field: str) -> list[Cause]:
    causes: list[Cause] = []
    operator, values = expression.get("operator", ""), expression.get("values", [])
    if operator in ("In", "NotIn"):
        if not values:
            causes.append(required(f"{field}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            causes.append(
                forbidden(
                    f"{field}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )
            )
    else:
        causes.append(invalid(f"{field}.operator", operator, "not a valid selector operator"))
    causes += all_invalid(
        f"{field}.key", expression.get("key", ""), qualified_name(expression.get("key", ""))
    )
    for index, value in enumerate(values):
        causes += all_invalid(f"{field}.values[{index}]", value, label_value(value))
    return causes
