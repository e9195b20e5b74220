"""Keep the system's part of metadata right on every write, whatever clients send.

Follows apiserver/pkg/registry/rest/create.go, update.go and meta.go, and apimachinery/pkg/api/validation/
objectmeta.go. The objects are private copies that these functions change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from proa.apiserver.registry.definition import ResourceDefinition
from proa.client.protocol import Object
from proa.objects.errors import BadRequest, Cause
from proa.objects.meta import format_time, random_suffix
from proa.objects.randomness import random_bytes
from proa.objects.validation import (
    all_invalid,
    dns1035_label,
    dns_label,
    dns_subdomain,
    forbidden,
    invalid,
    path_segment,
    qualified_name,
    required,
    validate_annotations,
    validate_labels,
)
from proa.objects.validation_addresses import canonical_ip

MAX_GENERATED_BASE = 63 - 5
_KEPT = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
_OTHER_SERVERS = frozenset(("apiextensions.k8s.io", "apiregistration.k8s.io"))
"""Groups that are not the core server's own."""
STANDARD_FINALIZERS = frozenset(("orphan", "foregroundDeletion", "kubernetes"))
NAME_RULES = {
    "dns-subdomain": dns_subdomain,
    "dns-label": dns_label,
    "dns1035-label": dns1035_label,
    "path-segment": path_segment,
    "ip-address": canonical_ip,
}
"""What a name must look like, by `ResourceDefinition.name_rule`."""


def new_uid() -> str:
    """Return a random (version 4) UUID; half the cost of uuid.uuid4."""
    digits = bytearray(random_bytes(16))
    digits[6] = digits[6] & 0x0F | 0x40
    digits[8] = digits[8] & 0x3F | 0x80
    text = digits.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def metadata_of(obj: Object) -> dict[str, Any]:
    """Return `metadata`, made where it is missing."""
    found = obj.get("metadata")
    if not isinstance(found, dict):
        found = obj["metadata"] = {}
    return found


def match_namespace(metadata: dict[str, Any], namespace: str) -> None:
    """Set the URL's namespace ("" for cluster-scoped); raise BadRequest where the object says another."""
    given = metadata.get("namespace") or ""
    if given and given != namespace:
        if not namespace:
            raise BadRequest("namespace is not allowed on this type")
        raise BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if namespace:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)


def fill_new(metadata: dict[str, Any], definition: ResourceDefinition, now: float) -> None:
    """Wipe what only the system sets, and set it: uid, creationTimestamp, generation."""
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"):
        metadata.pop(key, None)
    metadata["uid"] = new_uid()
    metadata["creationTimestamp"] = _format_second(int(now))
    if definition.tracks_generation:
        metadata["generation"] = 1


@lru_cache(maxsize=4)
def _format_second(now: int) -> str:
    return format_time(now)


def generate_name(base: str) -> str:
    """Return `base` and five random characters, in 63 at most."""
    return base[:MAX_GENERATED_BASE] + random_suffix()


def carry_over(new: dict[str, Any], old: Mapping[str, Any]) -> list[Cause]:
    """Take the system's part from the old metadata; return what the client tried to change of it."""
    causes = []
    for key in _KEPT:
        kept, given = old.get(key), new.get(key)
        if key == "uid" and given and given != kept:
            causes.append(invalid("metadata.uid", given, "field is immutable"))
        if kept is None:
            new.pop(key, None)
        else:
            new[key] = kept
    new.pop("selfLink", None)
    if old.get("deletionTimestamp"):
        had = old.get("finalizers") or ()
        added = [f for f in new.get("finalizers") or () if f not in had]
        if added:
            listed = " ".join(f'"{f}"' for f in added)
            why = "no new finalizers can be added if the object is being deleted, found new finalizers"
            causes.append(forbidden("metadata.finalizers", f"{why} []string{{{listed}}}"))
    return causes


def drop_repeated_owners(metadata: dict[str, Any], *, is_admitted: bool = False) -> str:
    """Keep one of each owner reference; return the warning that tells of others, "" where there are none.

    As dedupOwnerReferencesAndAddWarning in apiserver/pkg/endpoints/handlers/rest.go.
    """
    owners = metadata.get("ownerReferences")
    if not owners or len(owners) == 1:
        return ""
    kept: dict[bytes, Any] = {}
    repeated: list[str] = []
    for owner in owners:
        if kept.setdefault(orjson.dumps(owner, option=orjson.OPT_SORT_KEYS), owner) is not owner:
            repeated.append(str(owner.get("uid", "")))
    if not repeated:
        return ""
    metadata["ownerReferences"] = list(kept.values())
    when = " after mutating admission happens" if is_admitted else ""
    return (
        f".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, "
        "and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
        + ", ".join(repeated)
    )


def drop_empty(metadata: dict[str, Any]) -> None:
    """Leave out what is empty, as Go's omitempty does."""
    for key in ("labels", "annotations", "finalizers", "ownerReferences", "resourceVersion", "generateName"):
        if key in metadata and not metadata[key]:
            del metadata[key]


def validate_metadata(metadata: Mapping[str, Any], definition: ResourceDefinition) -> list[Cause]:
    """Return what is wrong with names, labels, annotations, finalizers and owner references."""
    name = metadata.get("name")
    if name:
        causes = all_invalid("metadata.name", name, NAME_RULES[definition.name_rule](name))
    else:
        causes = [required("metadata.name", "name or generateName is required")]
    causes += validate_labels(metadata.get("labels"), "metadata.labels")
    causes += validate_annotations(metadata.get("annotations"), "metadata.annotations")
    is_core = not definition.is_custom and definition.resource.group not in _OTHER_SERVERS
    causes += _finalizer_causes(metadata.get("finalizers") or (), is_core=is_core)
    causes += _owner_causes(metadata.get("ownerReferences") or ())
    return causes


def validate_metadata_at(metadata: Mapping[str, Any], field: str) -> list[Cause]:
    """Return what is wrong with the metadata of an object within another, at `field`."""
    name = metadata.get("name") or ""
    causes = all_invalid(f"{field}.name", name, path_segment(name))
    base = metadata.get("generateName") or ""
    causes += all_invalid(f"{field}.generateName", base, path_segment(base))
    if space := metadata.get("namespace"):
        causes += all_invalid(f"{field}.namespace", space, dns_label(space))
    causes += validate_labels(metadata.get("labels"), f"{field}.labels")
    causes += validate_annotations(metadata.get("annotations"), f"{field}.annotations")
    causes += _finalizer_causes(metadata.get("finalizers") or (), f"{field}.finalizers", is_core=False)
    return causes + _owner_causes(metadata.get("ownerReferences") or (), f"{field}.ownerReferences")


def _finalizer_causes(
    finalizers: Sequence[str], field: str = "metadata.finalizers", *, is_core: bool
) -> list[Cause]:
    """Of the core's own kinds, finalizers must have a domain; pkg/apis/core/validation ValidateObjectMeta."""
    causes: list[Cause] = []
    for index, finalizer in enumerate(finalizers):
        if problems := qualified_name(finalizer):
            causes += all_invalid(field, finalizer, problems)
        elif is_core and "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            causes.append(invalid(f"{field}[{index}]", finalizer, why))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        causes.append(invalid(field, finalizers, why))
    return causes


def _owner_causes(
    owners: Sequence[Mapping[str, Any]], field: str = "metadata.ownerReferences"
) -> list[Cause]:
    causes = []
    for index, owner in enumerate(owners):
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                what = "version" if key == "apiVersion" else key
                causes.append(invalid(f"{field}[{index}].{key}", "", f"{what} must not be empty"))
    if sum(bool(owner.get("controller")) for owner in owners) > 1:
        why = 'Only one reference can have Controller set to true. Found "true" in more than one reference'
        causes.append(invalid(field, owners, why))
    return causes
