"""Decide what a DELETE does to an object: remove it now, mark it as being deleted, or nothing more.

Pure. Follows BeforeDelete in apiserver/pkg/registry/rest/delete.go and Delete in registry/generic/registry/
store.go: graceful deletion first, then the garbage collector's finalizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.registry.refusals import invalid, precondition_conflict
from proa.client.protocol import Object
from proa.objects import validation
from proa.objects.errors import BadRequest
from proa.objects.meta import format_time, parse_time
from proa.objects.quick_dataclass import dataclass

_POLICIES = ("Foreground", "Background", "Orphan")
_COLLECTOR_FINALIZERS = ("orphan", "foregroundDeletion")


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """metav1.DeleteOptions, checked."""

    grace_seconds: int | None = None
    policy: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """`obj` is the object's next state: what is stored for "mark", its last state for "remove"."""

    act: Literal["remove", "mark", "nothing"]
    obj: Object


def read_options(body: Mapping[str, Any], query: Mapping[str, list[str]]) -> DeleteOptions:
    """Read a DeleteOptions body, else the query parameters of the same names; raise Invalid."""

    def given(name: str) -> Any:
        if name in body:
            return body[name]
        values = query.get(name)
        return values[0] if values else None

    grace, policy, orphan = given("gracePeriodSeconds"), given("propagationPolicy"), given("orphanDependents")
    dry_run = body.get("dryRun") or query.get("dryRun") or []
    causes = []
    if policy is not None and orphan is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        causes.append(validation.invalid("propagationPolicy", policy, why))
    if policy is not None and policy not in _POLICIES:
        causes.append(validation.not_supported("propagationPolicy", policy, (*_POLICIES, "nil")))
    if any(value != "All" for value in dry_run):
        causes.append(validation.not_supported("dryRun", dry_run, ("All",)))
    if causes:
        raise invalid("DeleteOptions", "meta.k8s.io", "", causes)
    if orphan is not None:
        policy = "Orphan" if orphan in (True, "true") else "Background"
    preconditions = body.get("preconditions") or {}
    return DeleteOptions(
        None if grace is None else _seconds(grace),
        policy or "",
        preconditions.get("uid") or "",
        preconditions.get("resourceVersion") or "",
        bool(dry_run),
    )


def options_object(options: DeleteOptions) -> Object:
    """Return the options as admission is shown them."""
    shown: Object = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    if options.grace_seconds is not None:
        shown["gracePeriodSeconds"] = options.grace_seconds
    said = {"uid": options.uid, "resourceVersion": options.resource_version}
    if preconditions := {key: value for key, value in said.items() if value}:
        shown["preconditions"] = preconditions
    if options.policy:
        shown["propagationPolicy"] = options.policy
    if options.dry_run:
        shown["dryRun"] = ["All"]
    return shown


def _seconds(grace: int | str) -> int:
    try:
        return int(grace)
    except ValueError:
        raise BadRequest(f'strconv.ParseInt: parsing "{grace}": invalid syntax') from None


def decide(old: Object, definition: ResourceDefinition, options: DeleteOptions, now: float) -> Decision:
    """Return what becomes of `old`, which is a private copy; raise Conflict where a precondition fails."""
    metadata = old["metadata"]
    check_preconditions(metadata, definition, options)
    graceful, pending = _begin_grace(old, definition, options, now)
    if pending:
        return Decision("nothing", old)
    _set_collector_finalizers(metadata, definition, options)
    waits = bool(metadata.get("finalizers"))
    if not graceful:
        if not waits:
            return Decision("remove", old)
        _mark(metadata, now)
        return Decision("mark", old)
    if waits or metadata["deletionGracePeriodSeconds"] > 0:
        return Decision("mark", old)
    return Decision("remove", old)


def ends_with_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Tell whether an update that makes `new` metadata of `old` removes the object: its last finalizer went."""
    return (
        bool(old.get("deletionTimestamp"))
        and not new.get("finalizers")
        and not old.get("deletionGracePeriodSeconds")
    )


def check_preconditions(
    metadata: Mapping[str, Any], definition: ResourceDefinition, options: DeleteOptions
) -> None:
    """Raise Conflict where the caller means another object, or another version of it."""
    resource, name = definition.resource, metadata["name"]
    if options.uid and options.uid != metadata["uid"]:
        raise precondition_conflict(
            resource,
            name,
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']}). The "
            "object might have been deleted and then recreated",
        )
    version = metadata["resourceVersion"]
    if options.resource_version and options.resource_version != version:
        raise precondition_conflict(
            resource,
            name,
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({version}). The object might have been modified",
        )


def _begin_grace(
    old: Object, definition: ResourceDefinition, options: DeleteOptions, now: float
) -> tuple[bool, bool]:
    """Mark a graceful deletion; return (is graceful, is already pending with a grace no longer)."""
    if definition.grace_seconds is None:
        return False, False
    metadata = old["metadata"]
    asked = options.grace_seconds
    if asked is not None and asked < 0:
        asked = 1
    if metadata.get("deletionTimestamp"):
        period = metadata.get("deletionGracePeriodSeconds")
        if not period:
            return False, False
        if asked is None or asked >= period:
            return False, True
        ends = parse_time(metadata["deletionTimestamp"]) - period + asked
        if ends < now:
            ends = now
            asked = 1 if asked else 0
        metadata["deletionTimestamp"] = format_time(ends)
        metadata["deletionGracePeriodSeconds"] = asked
        return True, False
    period = definition.grace_seconds(old, asked)
    metadata["deletionTimestamp"] = format_time(now + period)
    metadata["deletionGracePeriodSeconds"] = period
    _raise_generation(metadata)
    return True, False


def _set_collector_finalizers(
    metadata: dict[str, Any], definition: ResourceDefinition, options: DeleteOptions
) -> None:
    """Have the finalizer that the policy asks for: the option, else one already there, else the kind's default."""
    had = metadata.get("finalizers") or []
    policy = options.policy
    if not policy:
        kept = [f for f in had if f in _COLLECTOR_FINALIZERS]
        if kept:
            return
        policy = definition.default_propagation
    finalizers = [f for f in had if f not in _COLLECTOR_FINALIZERS]
    if policy == "Orphan":
        finalizers.append("orphan")
    elif policy == "Foreground":
        finalizers.append("foregroundDeletion")
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)


def _mark(metadata: dict[str, Any], now: float) -> None:
    if not metadata.get("deletionTimestamp"):
        _raise_generation(metadata)
        metadata["deletionTimestamp"] = format_time(now)
    elif parse_time(metadata["deletionTimestamp"]) > now:
        metadata["deletionTimestamp"] = format_time(now)
    metadata["deletionGracePeriodSeconds"] = 0


def _raise_generation(metadata: dict[str, Any]) -> None:
    if metadata.get("generation"):
        metadata["generation"] += 1
