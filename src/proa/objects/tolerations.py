"""Decide whether tolerations cover a taint (component-helpers/scheduling/corev1/helpers.go)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Object = dict[str, Any]


def tolerates(tolerations: Iterable[Object], taint: Object) -> bool:
    """Tell whether any toleration covers the taint."""
    return any(covers(toleration, taint) for toleration in tolerations)


def find_untolerated(tolerations: Iterable[Object], taints: Iterable[Object]) -> Object | None:
    """Return the first taint that keeps pods off (NoSchedule, NoExecute) and that no toleration covers."""
    for taint in taints:
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not tolerates(tolerations, taint):
            return taint
    return None


def covers(toleration: Object, taint: Object) -> bool:
    """Tell whether one does: an empty effect covers all effects, an empty key with Exists all taints."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    key = toleration.get("key", "")
    if key and key != taint["key"]:
        return False
    match toleration.get("operator") or "Equal":
        case "Exists":
            return True
        case "Equal":
            return bool(key) and (toleration.get("value") or "") == (taint.get("value") or "")
    return False
