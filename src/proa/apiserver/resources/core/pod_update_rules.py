"""Say which changes of a pod are not allowed (pkg/apis/core/validation ValidatePodUpdate)."""

from __future__ import annotations

from typing import Any

from proa.apiserver.resources.core.annotation_rules import validate_annotation_change
from proa.apiserver.resources.core.differences import show_difference
from proa.apiserver.resources.core.gated_rules import validate_gated_change
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import forbidden, invalid

UPDATABLE = (
    "`spec.containers[*].image`",
    "`spec.initContainers[*].image`",
    "`spec.activeDeadlineSeconds`",
    "`spec.tolerations` (only additions to existing tolerations)",
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
)


def validate_pod_update(new: Object, old: Object) -> list[Cause]:
    """Check that only images, deadlines, tolerations and gates changed."""
    after, before = new["spec"], old["spec"]
    causes = validate_annotation_change(new, old)
    for key in ("containers", "initContainers"):
        if len(after.get(key, ())) != len(before.get(key, ())):
            return [*causes, forbidden(f"spec.{key}", "pod updates may not add or remove containers")]
    if after == before:
        return causes
    deadline = _validate_deadline(after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    causes += deadline
    if deadline and after.get("activeDeadlineSeconds") is not None:
        return causes
    causes += _validate_tolerations(after.get("tolerations", []), before.get("tolerations", []))
    causes += _validate_gates(after, before)
    if before.get("schedulingGates"):
        causes += validate_gated_change(after, before)
    allowed = _with_allowed_changes(after, before)
    if allowed == before:
        return causes
    detail = f"pod updates may not change fields other than {','.join(UPDATABLE)}\n{show_difference(before, allowed)}"
    return [*causes, forbidden("spec", detail)]


def _validate_deadline(new: int | None, old: int | None) -> list[Cause]:
    field = "spec.activeDeadlineSeconds"
    if new is None or old is None:
        return (
            []
            if old is None
            else [invalid(field, None, "must not update from a positive integer to nil value")]
        )
    return [] if new <= old else [invalid(field, new, "must be less than or equal to previous value")]


def _validate_tolerations(new: list[Object], old: list[Object]) -> list[Cause]:
    kept = [{k: v for k, v in t.items() if k != "tolerationSeconds"} for t in new]
    missing = [t for t in old if {k: v for k, v in t.items() if k != "tolerationSeconds"} not in kept]
    detail = "existing toleration can not be modified except its tolerationSeconds"
    return [forbidden("spec.tolerations", detail)] if missing else []


def _validate_gates(new: Object, old: Object) -> list[Cause]:
    before = {gate.get("name", "") for gate in old.get("schedulingGates", ())}
    return [
        forbidden(
            f"spec.schedulingGates[{index}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate.get('name', '')}'",
        )
        for index, gate in enumerate(new.get("schedulingGates", ()))
        if gate.get("name", "") not in before
    ]


def _with_allowed_changes(new: Object, old: Object) -> Object:
    """Return `new` with the old values wherever a change is allowed."""
    result = dict(new)
    for key in ("containers", "initContainers"):
        pairs = zip(new.get(key, ()), old.get(key, ()), strict=True)
        merged = [{**mine, **_only(theirs, "image")} for mine, theirs in pairs]
        if merged:
            result[key] = merged
    allowed = ["activeDeadlineSeconds", "tolerations", "schedulingGates"]
    if old.get("schedulingGates"):
        allowed.append("nodeSelector")
        _restore_node_affinity(result, old)
    if old.get("terminationGracePeriodSeconds", 0) < 0 and new.get("terminationGracePeriodSeconds") == 1:
        allowed.append("terminationGracePeriodSeconds")
    for key in allowed:
        result.pop(key, None)
        result.update(_only(old, key))
    return result


def _restore_node_affinity(result: dict[str, Any], old: Object) -> None:
    affinity = {k: v for k, v in (result.pop("affinity", None) or {}).items() if k != "nodeAffinity"}
    affinity |= _only(old.get("affinity") or {}, "nodeAffinity")
    if affinity:
        result["affinity"] = affinity


def _only(obj: Object, key: str) -> dict[str, Any]:
    return {key: obj[key]} if key in obj else {}
