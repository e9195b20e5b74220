"""Let the managers of an object's replicas be those of its Scale, and the other way round.

Follows apimachinery/pkg/util/managedfields/scalehandler.go, in two places less literally: entries of versions that are
not served stay, and where upstream stores two entries of one manager, of which it reads the second alone, one is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.objects.managed_fields.entries import Entry, fields_of, identifier, in_order
from proa.objects.managed_fields.sets import LEAF, FieldSet, difference, paths

VERSION = "autoscaling/v1"
IN_SCALE = ("f:spec", "f:replicas")
Path = tuple[str, ...]
"""Steps of a field set."""


def path_of(dotted: str) -> Path:
    """Return the steps to a field that is named as `.spec.replicas`."""
    return tuple(f"f:{part}" for part in dotted.strip(".").split("."))


def to_scale(entries: Iterable[Entry], path: Path) -> list[Entry]:
    """Return the entries that a Scale has: of those who have the field at `path`, the replicas."""
    return [
        {**entry, "apiVersion": VERSION, "fieldsV1": _set_of(IN_SCALE)}
        for entry in entries
        if path in paths(fields_of(entry))
    ]


def to_parent(
    entries: Sequence[Entry], of_scale: Iterable[Entry], path: Path, api_version: str
) -> list[Entry]:
    """Return the object's entries, which were `entries`, after its Scale's came to be `of_scale`."""
    had = {identifier(entry): entry for entry in of_scale if IN_SCALE in paths(fields_of(entry))}
    alone = _set_of(path)
    kept: list[Entry] = []
    for entry in entries:
        if path not in paths(fields_of(entry)) or had.pop(identifier(entry), None) is not None:
            kept.append(entry)
        elif rest := difference(fields_of(entry), alone):
            kept.append({**entry, "fieldsV1": rest})
    known = {identifier(entry) for entry in kept}
    for entry in had.values():
        timeless = {key: value for key, value in entry.items() if key != "time"}
        new = {**timeless, "apiVersion": api_version, "fieldsV1": alone}
        if identifier(new) not in known:
            kept.append(new)
    return in_order(kept)


def _set_of(path: Path) -> FieldSet:
    fields = LEAF
    for step in reversed(path):
        fields = {step: fields}
    return fields
