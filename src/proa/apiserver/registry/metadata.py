"""Keep the system's part of metadata right on every write, whatever clients send.

Follows apiserver/pkg/registry/rest/create.go, update.go and meta.go, and apimachinery/pkg/api/validation/
objectmeta.go. The objects are private copies that these functions change.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.registry.names import name_problems
from proa.client.protocol import Object
from proa.objects.errors import BadRequest, Cause
from proa.objects.meta import format_time, random_suffix
from proa.objects.randomness import random_bytes
from proa.objects.selectors import label_key_problem, label_value_problem

MAX_GENERATED_BASE = 63 - 5
MAX_ANNOTATIONS_BYTES = 256 * 1024
_KEPT = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
STANDARD_FINALIZERS = frozenset(("orphan", "foregroundDeletion", "kubernetes"))


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
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields", "generation"):
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
        if key in ("uid", "creationTimestamp") and given and given != kept:
            causes.append(immutable(f"metadata.{key}", given))
        if kept is None:
            new.pop(key, None)
        else:
            new[key] = kept
    new.pop("selfLink", None)
    if "managedFields" in old:
        new["managedFields"] = old["managedFields"]
    else:
        new.pop("managedFields", None)
    if old.get("deletionTimestamp"):
        had = old.get("finalizers") or ()
        added = [f for f in new.get("finalizers") or () if f not in had]
        if added:
            listed = " ".join(f'"{f}"' for f in added)
            causes.append(
                Cause(
                    "FieldValueForbidden",
                    "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
                    f"[]string{{{listed}}}",
                    "metadata.finalizers",
                )
            )
    return causes


def immutable(field: str, value: object) -> Cause:
    """Say that a field may not change."""
    return Cause("FieldValueInvalid", f"Invalid value: {shown(value)}: field is immutable", field)


def shown(value: object) -> str:
    """Print a value as upstream's messages do: JSON."""
    return orjson.dumps(value).decode()


def drop_empty(metadata: dict[str, Any]) -> None:
    """Leave out what is empty, as Go's omitempty does."""
    for key in ("labels", "annotations", "finalizers", "ownerReferences", "resourceVersion", "generateName"):
        if key in metadata and not metadata[key]:
            del metadata[key]


def validate_metadata(metadata: Mapping[str, Any], definition: ResourceDefinition) -> list[Cause]:
    """Return what is wrong with names, labels, annotations, finalizers and owner references."""
    causes: list[Cause] = []
    name = metadata.get("name")
    if not name:
        causes.append(
            Cause("FieldValueRequired", "Required value: name or generateName is required", "metadata.name")
        )
    else:
        causes += [
            Cause("FieldValueInvalid", f"Invalid value: {shown(name)}: {problem}", "metadata.name")
            for problem in name_problems(name, definition.name_rule)
        ]
    labels = metadata.get("labels")
    if labels:
        causes += _label_causes(labels)
    annotations = metadata.get("annotations")
    if annotations:
        causes += _annotation_causes(annotations)
    causes += _finalizer_causes(metadata.get("finalizers") or ())
    owners = metadata.get("ownerReferences")
    if owners:
        causes += _owner_causes(owners)
    return causes


def _label_causes(labels: Mapping[str, str]) -> list[Cause]:
    causes = []
    for key, value in labels.items():
        if problem := label_key_problem(key):
            causes.append(
                Cause("FieldValueInvalid", f"Invalid value: {shown(key)}: {problem}", "metadata.labels")
            )
        if problem := label_value_problem(value):
            causes.append(
                Cause("FieldValueInvalid", f"Invalid value: {shown(value)}: {problem}", "metadata.labels")
            )
    return causes


def _annotation_causes(annotations: Mapping[str, str]) -> list[Cause]:
    causes, size = [], 0
    for key, value in annotations.items():
        size += len(key) + len(value)
        if problem := label_key_problem(key.lower()):
            causes.append(
                Cause("FieldValueInvalid", f"Invalid value: {shown(key)}: {problem}", "metadata.annotations")
            )
    if size > MAX_ANNOTATIONS_BYTES:
        causes.append(
            Cause(
                "FieldValueTooLong",
                f"Too long: may not be more than {MAX_ANNOTATIONS_BYTES} bytes",
                "metadata.annotations",
            )
        )
    return causes


def _finalizer_causes(finalizers: Any) -> list[Cause]:
    causes = []
    for index, finalizer in enumerate(finalizers):
        field = f"metadata.finalizers[{index}]"
        if problem := label_key_problem(finalizer):
            causes.append(
                Cause(
                    "FieldValueInvalid",
                    f"Invalid value: {shown(finalizer)}: {problem}",
                    "metadata.finalizers",
                )
            )
        elif "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            causes.append(
                Cause(
                    "FieldValueInvalid",
                    f"Invalid value: {shown(finalizer)}: name is neither a standard finalizer name nor is it fully "
                    "qualified",
                    field,
                )
            )
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        causes.append(
            Cause(
                "FieldValueInvalid",
                f"Invalid value: {shown(list(finalizers))}: finalizer orphan and foregroundDeletion cannot be both "
                "set",
                "metadata.finalizers",
            )
        )
    return causes


def _owner_causes(owners: Any) -> list[Cause]:
    causes = []
    controllers = 0
    for index, owner in enumerate(owners):
        field = f"metadata.ownerReferences[{index}]"
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                what = "version must not be empty" if key == "apiVersion" else f"{key} must not be empty"
                causes.append(Cause("FieldValueInvalid", f'Invalid value: "": {what}', f"{field}.{key}"))
        controllers += bool(owner.get("controller"))
    if controllers > 1:
        causes.append(
            Cause(
                "FieldValueInvalid",
                "Invalid value: "
                f'{shown(owners)}: Only one reference can have Controller set to true. Found "true" in more than '
                "one reference",
                "metadata.ownerReferences",
            )
        )
    return causes
