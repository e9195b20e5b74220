"""Show access modes and sizes of volumes as `kubectl get` does, and check what claims and volumes share."""

from __future__ import annotations

from collections.abc import Iterable

from proa.objects.errors import Cause
from proa.objects.validation import forbidden, not_supported, required

SHORT_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
VOLUME_MODES = ("Block", "Filesystem")


def short_access_modes(modes: Iterable[str]) -> str:
    """Return "RWO,ROX": upstream's order, each once."""
    given = set(modes)
    return ",".join(short for mode, short in SHORT_MODES.items() if mode in given)


def validate_access_modes(modes: list[str], field: str, missing: str = "") -> list[Cause]:
    """Check that there is one at least, that they exist, and that RWOP stands alone."""
    if not modes:
        return [required(field, missing)]
    causes: list[Cause] = []
    for mode in modes:
        if mode not in SHORT_MODES:
            causes.append(not_supported(field, mode, sorted(SHORT_MODES)))
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        causes.append(forbidden(field, "may not use ReadWriteOncePod with other access modes"))
    return causes
