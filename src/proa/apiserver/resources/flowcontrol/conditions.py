"""Say what is wrong with the conditions of flow control's kinds (pkg/apis/flowcontrol/validation)."""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import duplicate, required


def validate_conditions(obj: Object) -> list[Cause]:
    """Check that each condition has a type, and that there is one of a type."""
    causes: list[Cause] = []
    kinds: set[str] = set()
    for index, condition in enumerate((obj.get("status") or {}).get("conditions") or ()):
        kind, field = condition.get("type", ""), f"status.conditions[{index}].type"
        if kind in kinds:
            causes.append(duplicate(field, kind))
        kinds.add(kind)
        if not kind:
            causes.append(required(field, "must not be empty"))
    return causes
