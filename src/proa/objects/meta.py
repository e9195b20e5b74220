"""Read and make the metadata that every object has, without knowing its kind.

Optional fields read as empty values; nothing here mutates its arguments. Follows
apimachinery/pkg/apis/meta/v1 (OwnerReference, Time, MicroTime) and api/meta/conditions.go.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from proa.objects.randomness import random_bytes
from proa.objects.resource import Resource

Object = dict[str, Any]

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""What generated names end in: no vowels, so no words (apimachinery/pkg/util/rand)."""

LAST_SECOND = 253_402_300_799
"""The end of the year 9999: RFC 3339 has no later one, and a grace period may be any number of seconds."""


def name(obj: Object) -> str:
    """Return metadata.name."""
    return _meta(obj).get("name") or ""


def namespace(obj: Object) -> str:
    """Return metadata.namespace; "" for a cluster-scoped object."""
    return _meta(obj).get("namespace") or ""


def uid(obj: Object) -> str:
    """Return metadata.uid."""
    return _meta(obj).get("uid") or ""


def resource_version(obj: Object) -> str:
    """Return metadata.resourceVersion."""
    return _meta(obj).get("resourceVersion") or ""


def generation(obj: Object) -> int:
    """Return metadata.generation, 0 where the kind has none."""
    return _meta(obj).get("generation") or 0


def labels(obj: Object) -> dict[str, str]:
    """Return metadata.labels."""
    return _meta(obj).get("labels") or {}


def annotations(obj: Object) -> dict[str, str]:
    """Return metadata.annotations."""
    return _meta(obj).get("annotations") or {}


def finalizers(obj: Object) -> list[str]:
    """Return metadata.finalizers."""
    return _meta(obj).get("finalizers") or []


def owner_references(obj: Object) -> list[Object]:
    """Return metadata.ownerReferences."""
    return _meta(obj).get("ownerReferences") or []


def is_deleting(obj: Object) -> bool:
    """Tell whether deletion has been asked for (deletionTimestamp is set)."""
    return bool(_meta(obj).get("deletionTimestamp"))


def key_of(obj: Object) -> str:
    """Return "namespace/name", or "name" for a cluster-scoped object."""
    space = namespace(obj)
    return f"{space}/{name(obj)}" if space else name(obj)


def controller_of(obj: Object) -> Object | None:
    """Return the owner reference whose `controller` is true."""
    for reference in owner_references(obj):
        if reference.get("controller"):
            return reference
    return None


def is_controlled_by(obj: Object, owner: Object) -> bool:
    """Tell whether `owner`, by uid, is the controller of `obj`."""
    reference = controller_of(obj)
    return reference is not None and reference.get("uid") == uid(owner)


def make_owner_reference(owner: Object, resource: Resource) -> Object:
    """Build the reference that makes `owner`, an object of `resource`, the controller of another object."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": name(owner),
        "uid": uid(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def find_condition(obj: Object, type: str) -> Object | None:
    """Return the entry of status.conditions of that type."""
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == type:
            return condition  # type: ignore[no-any-return]
    return None


def has_condition(obj: Object, type: str, status: str = "True") -> bool:
    """Tell whether the condition is there with that status."""
    condition = find_condition(obj, type)
    return condition is not None and condition.get("status") == status


def with_condition(
    conditions: Sequence[Object], type: str, status: str, reason: str, message: str, now: float
) -> list[Object]:
    """Return the conditions with one set; its lastTransitionTime changes only when its status does.

    Other fields of an existing condition (lastProbeTime, observedGeneration) survive; an empty reason or
    message is left out.
    """
    result = [dict(condition) for condition in conditions]
    found = next((condition for condition in result if condition.get("type") == type), None)
    if found is None:
        found = {"type": type}
        result.append(found)
    if found.get("status") != status:
        found["status"] = status
        found["lastTransitionTime"] = format_time(now)
    for field, text in (("reason", reason), ("message", message)):
        if text:
            found[field] = text
        else:
            found.pop(field, None)
    return result


def format_time(epoch: float) -> str:
    """Return seconds since the epoch as metav1.Time: "2026-01-02T03:04:05Z"; the year 9999 is the last there is."""
    return datetime.fromtimestamp(min(int(epoch), LAST_SECOND), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(epoch: float) -> str:
    """Return seconds since the epoch as metav1.MicroTime: "2026-01-02T03:04:05.000006Z"."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> float:
    """Return RFC 3339 time, with any fraction and offset, as seconds since the epoch; raise ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: write e.g. {text}Z")
    return moment.timestamp()


def random_suffix(n: int = 5) -> str:
    """Return `n` random characters fit for the end of a generated name."""
    return "".join([SUFFIX_ALPHABET[byte % len(SUFFIX_ALPHABET)] for byte in random_bytes(n)])


def _meta(obj: Object) -> Mapping[str, Any]:
    return obj.get("metadata") or {}
