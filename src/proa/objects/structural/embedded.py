"""Keep the metadata of objects inside objects as that of objects: typed, and without unknown fields.

A schema marks such places with x-kubernetes-embedded-resource. Follows apiextensions-apiserver/pkg/apiserver/schema/
objectmeta.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proa.objects.errors import Cause
from proa.objects.schemas.check import prune as prune_to_schema
from proa.objects.schemas.load import schema_named
from proa.objects.structural.node import EMBEDDED, Node
from proa.objects.validation import dns1035_label, invalid, required

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
MetadataRules = Callable[[Mapping[str, Any], str], list[Cause]]
"""Returns what is wrong with the metadata at a path."""


class Malformed(Exception):
    """Metadata, or the kind of an embedded object, cannot be decoded; the message is complete."""


def coerce_metadata(obj: dict[str, Any], path: str = "") -> list[str]:
    """Bring `obj["metadata"]` to ObjectMeta; return the paths of unknown fields. Raise Malformed in Go's words."""
    metadata = obj.get("metadata")
    if metadata is None:
        return []
    if type(metadata) is not dict:
        found = {str: "string", bool: "bool", list: "array"}.get(type(metadata), "number")
        raise Malformed(f"json: cannot unmarshal {found} into Go value of type v1.ObjectMeta")
    faults = prune_to_schema(metadata, schema_named(OBJECT_META))
    if faults is None:
        return []
    if faults.undecodable:
        raise Malformed(faults.undecodable)
    prefix = f"{path}.metadata" if path else "metadata"
    return [f"{prefix}.{field}" for field in faults.unknown]


def coerce_embedded(value: Any, node: Node, path: str = "") -> list[str]:
    """Do so for every embedded object below the root; return the paths of unknown fields. Raise Malformed."""
    if not node.holds & EMBEDDED:
        return []
    unknown: list[str] = []
    for below, item, child in _below(value, node, path):
        if child.is_embedded and type(item) is dict:
            unknown += _coerce(item, below)
        unknown += coerce_embedded(item, child, below)
    return unknown


def _coerce(item: dict[str, Any], path: str) -> list[str]:
    for key in ("apiVersion", "kind"):
        if key in item and not isinstance(item[key], str):
            cause = invalid(f"{path}.{key}", item[key], "must be a string")
            raise Malformed(f"{cause.field}: {cause.message}")
    try:
        unknown = coerce_metadata(item, path)
    except Malformed as error:
        cause = invalid(f"{path}.metadata", item["metadata"], str(error))
        raise Malformed(f"{cause.field}: {cause.message}") from None
    if item.get("metadata") is not None and item["metadata"].get("creationTimestamp") is None:
        item["metadata"].pop("creationTimestamp", None)
    return unknown


def validate_embedded(value: Any, node: Node, rules: MetadataRules, path: str = "") -> list[Cause]:
    """Return what is wrong with the kinds and metadata of embedded objects."""
    if not node.holds & EMBEDDED:
        return []
    causes: list[Cause] = []
    for below, item, child in _below(value, node, path):
        if child.is_embedded and type(item) is dict:
            causes += validate_object(item, below, rules)
        causes += validate_embedded(item, child, rules, below)
    return causes


def validate_object(item: Mapping[str, Any], path: str, rules: MetadataRules) -> list[Cause]:
    """Return what is wrong with one embedded object's apiVersion, kind and metadata."""
    causes: list[Cause] = []
    for key in ("apiVersion", "kind"):
        field = f"{path}.{key}" if path else key
        said = item.get(key)
        if key not in item:
            causes.append(required(field))
        elif not isinstance(said, str):
            causes.append(invalid(field, said, "must be a string"))
        elif not said:
            causes.append(invalid(field, said, "must not be empty"))
        elif key == "apiVersion" and said.count("/") > 1:
            causes.append(invalid(field, said, f"unexpected GroupVersion string: {said}"))
        elif key == "kind" and (problems := dns1035_label(said.lower())):
            why = "may have mixed case, but should otherwise match: " + ",".join(problems)
            causes.append(invalid(field, said, why))
    metadata = item.get("metadata")
    if isinstance(metadata, dict):
        field = f"{path}.metadata" if path else "metadata"
        causes += rules({**metadata, "name": metadata.get("name") or "fakename"}, field)
    return causes


def _below(value: Any, node: Node, path: str) -> list[tuple[str, Any, Node]]:
    """Return what is directly inside a value, with its path and node."""
    if type(value) is dict:
        found = []
        for key, item in value.items():
            child = node.child(key)
            if child is not None:
                found.append((f"{path}.{key}" if path else key, item, child))
            elif (others := node.others) is not None:
                found.append((f"{path}[{key}]", item, others))
        return found
    if type(value) is list and (items := node.items) is not None:
        return [(f"{path}[{index}]", item, items) for index, item in enumerate(value)]
    return []
