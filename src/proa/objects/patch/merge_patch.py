"""Apply a JSON merge patch as RFC 7396 defines it: maps merge, null removes, everything else replaces."""

from __future__ import annotations

from typing import Any

from proa.objects.errors import BadRequest
from proa.objects.patch.refusals import too_deep
from proa.objects.patch.values import json_type_name, private_copy


def apply_merge_patch(obj: dict[str, Any], patch: Any) -> dict[str, Any]:
    """Return a new object, which shares with `obj` what the patch does not touch, and nothing with the patch.

    Raises BadRequest when the patch is not an object.
    """
    if not isinstance(patch, dict):
        raise BadRequest(
            f"error decoding patch: json: cannot unmarshal {json_type_name(patch)} "
            "into Go value of type map[string]interface {}"
        )
    try:
        return _merged(obj, patch)
    except RecursionError:
        raise too_deep() from None


def _merged(target: Any, patch: dict[str, Any]) -> dict[str, Any]:
    kept = target if isinstance(target, dict) else {}
    result = {key: value for key, value in kept.items() if key not in patch}
    for key, value in patch.items():
        if isinstance(value, dict):
            result[key] = _merged(kept.get(key), value)
        elif value is not None:
            result[key] = private_copy(value)
    return result
