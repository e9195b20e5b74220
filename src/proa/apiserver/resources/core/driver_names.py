"""Say what is wrong with the name of a driver of volumes or devices (core/validation ValidateCSIDriverName)."""

from __future__ import annotations

from proa.objects.errors import Cause
from proa.objects.validation import all_invalid, dns_subdomain, required, too_long

MAX_LENGTH = 63


def validate_driver_name(name: str, field: str) -> list[Cause]:
    """Check a driver's name: a subdomain of 63 characters, in whatever case."""
    if not name:
        return [required(field)]
    causes = [too_long(field, MAX_LENGTH)] if len(name.encode()) > MAX_LENGTH else []
    return causes + all_invalid(field, name, dns_subdomain(name.lower()))
