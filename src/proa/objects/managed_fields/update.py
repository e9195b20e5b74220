"""Give a writer that creates, replaces or patches an object the fields that it changed.

Follows apimachinery/pkg/util/managedfields/internal/fieldmanager.go, stripmeta.go and skipnonapplied.go, and
structured-merge-diff/merge/update.go (Update).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.objects.managed_fields.entries import Entry, Writer, accepted, updated
from proa.objects.managed_fields.typed import Difference, node_of
from proa.objects.schemas.schema import Schema

STRIPPED = frozenset(
    (
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    )
)
"""Fields of metadata that nobody owns; nor are kind and apiVersion."""
EMPTY_OBJECT: dict[str, Any] = {"metadata": {}}


def ownable(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object without what nobody owns."""
    view = {key: value for key, value in obj.items() if key != "kind" and key != "apiVersion"}
    view["metadata"] = {k: v for k, v in (obj.get("metadata") or {}).items() if k not in STRIPPED}
    return view


def changes(old: Mapping[str, Any], new: Mapping[str, Any], schema: Schema) -> Difference:
    """Return what a write added or modified, and what it removed, of what can be owned."""
    before, after = ownable(old), ownable(new)
    return (None, None) if before == after else node_of(schema).diff(before, after)


def created(new: Mapping[str, Any], sent: object, schema: Schema, writer: Writer) -> list[Entry]:
    """Return the entries of a new object, of which the client sent `sent`."""
    changed, removed = node_of(schema).diff(EMPTY_OBJECT, ownable(new))
    return updated(accepted(sent, []), changed, removed, writer)


def replaced(old: Mapping[str, Any], new: Mapping[str, Any], schema: Schema, writer: Writer) -> list[Entry]:
    """Return the entries of an object that is written in place of another. What nobody tracks stays untracked."""
    live = old["metadata"].get("managedFields") or []
    entries = live if writer.subresource else accepted(new["metadata"].get("managedFields"), live)
    return updated(entries, *changes(old, new, schema), writer) if entries else []
