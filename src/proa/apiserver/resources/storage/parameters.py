"""Say what is wrong with the parameters of a class of volumes (pkg/apis/storage/validation validateParameters)."""

from __future__ import annotations

from collections.abc import Mapping

from proa.objects.errors import Cause
from proa.objects.validation import all_invalid, invalid, qualified_name, required, too_long

MAX_PARAMETERS = 512
MAX_BYTES = 256 * 1024


def validate_driver(name: str, field: str) -> list[Cause]:
    """Check the name of who makes the volumes."""
    return all_invalid(field, name, qualified_name(name.lower())) if name else [required(field)]


def validate_parameters(parameters: Mapping[str, str], field: str) -> list[Cause]:
    """Check how many there are, that each has a name, and the size of all."""
    if len(parameters) > MAX_PARAMETERS:
        return [too_long(field, MAX_PARAMETERS)]
    causes = [invalid(field, key, "field can not be empty.") for key in parameters if not key]
    size = sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items())
    return causes if size <= MAX_BYTES else [*causes, too_long(field, MAX_BYTES)]
