"""Give a writer that creates, replaces or patches an object the fields that it changed.

Follows apimachinery/pkg/util/managedfields/internal/fieldmanager.go, stripmeta.go and skipnonapplied.go, and
structured-merge-diff/merge/update.go (Update).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from proa.objects.managed_fields.entries import Entry, Writer, accepted, updated
from proa.objects.managed_fields.sets import EMPTY, FieldSet
from proa.objects.managed_fields.typed import Difference, Node, node_of
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
SPECS = 128
MIN_SPEC_BYTES, MAX_SPEC_BYTES = 256, 4096
"""Specs of so many bytes are remembered: smaller ones cost little, sets of larger ones hold too much memory."""


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
    view, node = ownable(new), node_of(schema)
    try:
        spec = orjson.dumps(view.get("spec"))
    except orjson.JSONEncodeError:  # it will not be stored
        spec = b""
    if len(spec) <= MIN_SPEC_BYTES or len(spec) > MAX_SPEC_BYTES:
        changed, removed = node.diff(EMPTY_OBJECT, view)
    else:
        del view["spec"]
        changed, removed = _both(node.diff(EMPTY_OBJECT, view), _of_spec(node, spec))
    return updated(accepted(sent, []), changed, removed, writer)


@lru_cache(maxsize=SPECS)
def _of_spec(node: Node, spec: bytes) -> Difference:
    """Return who creates an object with such a spec has of it: the same for all that are made of one template."""
    return node.diff(EMPTY, {"spec": orjson.loads(spec)})


def _both(first: Difference, second: Difference) -> Difference:
    """Return the union of what is about different fields, in the order of `diff`."""
    return _joined(first[0], second[0]), _joined(first[1], second[1])


def _joined(first: FieldSet | None, second: FieldSet | None) -> FieldSet | None:
    if first is None or second is None:
        return first or second
    return dict(sorted({**first, **second}.items()))


def replaced(old: Mapping[str, Any], new: Mapping[str, Any], schema: Schema, writer: Writer) -> list[Entry]:
    """Return the entries of an object that is written in place of another. What nobody tracks stays untracked."""
    live = old["metadata"].get("managedFields") or []
    entries = live if writer.subresource else accepted(new["metadata"].get("managedFields"), live)
    return updated(entries, *changes(old, new, schema), writer) if entries else []
