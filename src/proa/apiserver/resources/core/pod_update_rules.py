"""Say which changes of a pod are not allowed (pkg/apis/core/validation ValidatePodUpdate, ValidatePodStatusUpdate)."""

from __future__ import annotations

from typing import Any

from proa.apiserver.resources.core.differences import show_difference
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import all_invalid, dns_subdomain, forbidden, invalid

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
    causes: list[Cause] = []
    for key in ("containers", "initContainers"):
        mine, theirs = after.get(key, []), before.get(key, [])
        if len(mine) != len(theirs):
            return [*causes, forbidden(f"spec.{key}", "pod updates may not add or remove containers")]
    causes += _validate_deadline(after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    causes += _validate_tolerations(after.get("tolerations", []), before.get("tolerations", []))
    causes += _validate_gates(after, before)
    if causes:
        return causes
    allowed = _with_allowed_changes(after, before)
    if allowed == before:
        return []
    detail = f"pod updates may not change fields other than {','.join(UPDATABLE)}\n{show_difference(before, allowed)}"
    return [forbidden("spec", detail)]


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
    before = [gate.get("name", "") for gate in old.get("schedulingGates", ())]
    added = [name for gate in new.get("schedulingGates", ()) if (name := gate.get("name", "")) not in before]
    if not added:
        return []
    detail = f"only deletion is allowed, but found new scheduling gate '{added[0]}'"
    return [forbidden("spec.schedulingGates", detail)]


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
        allowed += ["nodeSelector", "affinity"]
    if old.get("terminationGracePeriodSeconds", 0) < 0 and new.get("terminationGracePeriodSeconds") == 1:
        allowed.append("terminationGracePeriodSeconds")
    for key in allowed:
        result.pop(key, None)
        result.update(_only(old, key))
    return result


def _only(obj: Object, key: str) -> dict[str, Any]:
    return {key: obj[key]} if key in obj else {}


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check that a restarting pod's containers stay restartable, and the nominated node's name."""
    status = new.get("status") or {}
    nominated = status.get("nominatedNodeName", "")
    causes: list[Cause] = []
    if nominated:
        causes += all_invalid("status.nominatedNodeName", nominated, dns_subdomain(nominated))
    return causes + _validate_transitions(status, old)


def _validate_transitions(status: Object, old: Object) -> list[Cause]:
    """A container that will not be restarted stays terminated (ValidateContainerStateTransition)."""
    policy = old["spec"].get("restartPolicy")
    ended = {}
    for container in (old.get("status") or {}).get("containerStatuses", ()):
        terminated = (container.get("state") or {}).get("terminated")
        if terminated and (policy == "Never" or (policy == "OnFailure" and not terminated.get("exitCode"))):
            ended[container.get("name")] = terminated
    return [
        forbidden(
            f"status.containerStatuses[{index}].state", "may not be transitioned to non-terminated state"
        )
        for index, container in enumerate(status.get("containerStatuses", ()))
        if container.get("name") in ended and "terminated" not in (container.get("state") or {})
    ]
