"""Say what is wrong with counts that may be percentages, as rolling updates and disruption budgets have them.

Follows pkg/apis/apps/validation ValidatePositiveIntOrPercent and IsNotMoreThan100Percent.
"""

from __future__ import annotations

from proa.objects.errors import Cause
from proa.objects.validation import all_invalid, invalid, percent, validate_non_negative


def validate_count_or_percent(value: int | str, field: str) -> list[Cause]:
    """Check a number that is not negative, or a percentage."""
    if isinstance(value, str):
        return all_invalid(field, value, percent(value))
    return validate_non_negative(value, field)


def validate_at_most_all(value: int | str, field: str) -> list[Cause]:
    """Check that a percentage is at most 100%."""
    if isinstance(value, str) and count_of(value) > 100:
        return [invalid(field, value, "must not be greater than 100%")]
    return []


def count_of(value: int | str) -> int:
    """Return the number, or how many percent; 0 for what is neither."""
    if isinstance(value, str):
        return 0 if percent(value) else int(value[:-1])
    return value
