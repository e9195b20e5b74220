"""Bring an object to what a manager applies: its fields as it says them, less those that it no longer says.

Follows apimachinery/pkg/util/managedfields/internal (structuredmerge.go, lastappliedmanager.go,
lastappliedupdater.go, conflict.go) and structured-merge-diff/merge/update.go (Apply).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from proa.objects.errors import ApiError, BadRequest, Cause, Conflict
from proa.objects.managed_fields.elements import printed
from proa.objects.managed_fields.entries import Entry, Writer, fields_of, identifier, in_order, updated
from proa.objects.managed_fields.sets import (
    EMPTY,
    LEAF,
    FieldSet,
    difference,
    intersection,
    is_member,
    paths,
    union,
)
from proa.objects.managed_fields.typed import Node, node_of
from proa.objects.managed_fields.update import EMPTY_OBJECT, STRIPPED, changes, ownable
from proa.objects.quick_dataclass import dataclass
from proa.objects.schemas.schema import Schema

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
BEFORE_FIRST_APPLY = "before-first-apply"
KUBECTL = "kubectl"
MAX_ANNOTATIONS_BYTES = 256 * 1024
_STRIP: FieldSet = {
    "f:apiVersion": LEAF,
    "f:kind": LEAF,
    "f:metadata": {".": LEAF, **{f"f:{key}": LEAF for key in STRIPPED}},
}


@dataclass(frozen=True, slots=True)
class _Contest:
    """A field that another manager has with another value."""

    entry: Entry
    path: tuple[str, ...]


class _Contested(Exception):
    def __init__(self, contests: Sequence[_Contest]) -> None:
        super().__init__()
        self.contests = contests


def check_config(config: dict[str, Any], schema: Schema) -> None:
    """Raise ApiError where what is applied does not fit the schema, in the words of upstream's merge library."""
    faults = list(node_of(schema).faults(config, ()))
    if not faults:
        return
    metadata, version = config.get("metadata"), str(config.get("apiVersion", ""))
    names = metadata if isinstance(metadata, dict) else {}
    version = version if "/" in version else f"/{version}"
    said = faults[0] if len(faults) == 1 else "\n".join(["errors:", *(f"  {fault}" for fault in faults)])
    error = ApiError(
        f"failed to create typed patch object ({names.get('namespace', '')}/{names.get('name', '')}; "
        f"{version}, Kind={config.get('kind', '')}): {said}"
    )
    error.reason = ""
    raise error


def apply(
    live: dict[str, Any] | None,
    config: dict[str, Any],
    schema: Schema,
    writer: Writer,
    *,
    force: bool,
    ignored: FieldSet = EMPTY,
) -> tuple[dict[str, Any], list[Entry]]:
    """Return the object to store and its entries; raise Conflict where others have fields with other values.

    `live` is None where there is no object yet. `ignored` is what the subresource does not write, with all below.
    The object is not checked nor defaulted, and may hold nulls for maps and lists of which nothing is left.
    """
    if (config.get("metadata") or {}).get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    work = _Work(live, config, schema, writer, ignored)
    try:
        new, entries = work.run(force)
    except _Contested as error:
        contests = error.contests
        if writer.manager != KUBECTL or live is None:
            raise _conflict(contests) from None
        allowed = _last_applied(live, config, schema)
        contests = [c for c in contests if not _has(allowed, c.path)]
        if contests:
            raise _conflict(contests) from None
        new, entries = work.run(True)
    return (_with_last_applied(new, config) if writer.manager == KUBECTL else new), entries


class _Work:
    """One apply."""

    def __init__(
        self,
        live: dict[str, Any] | None,
        config: dict[str, Any],
        schema: Schema,
        writer: Writer,
        ignored: FieldSet,
    ) -> None:
        self._live = live or {"metadata": {}}
        self._config = config
        self._schema = schema
        self._node: Node = node_of(schema)
        self._writer = writer
        self._ignored = ignored
        entries = self._live["metadata"].get("managedFields") or []
        if not entries and live is not None:
            before = Writer(BEFORE_FIRST_APPLY, writer.api_version, writer.now, writer.subresource)
            changed, removed = self._node.diff(EMPTY_OBJECT, ownable(live))
            changed = changed and _less_ignored(changed, ignored)
            entries = updated([], changed, removed, before)
        self._last = next((e for e in entries if writer.owns(e, "Apply")), None)
        self._others = [e for e in entries if e is not self._last]

    def run(self, force: bool) -> tuple[dict[str, Any], list[Entry]]:
        """Return the object and its entries; raise _Contested."""
        live = {**self._live, "metadata": {**self._live["metadata"]}}
        live["metadata"].pop("managedFields", None)
        mine = _less_ignored(self._node.owned(self._config) or EMPTY, self._ignored)
        merged = self._node.merged(live, self._config)
        new = self._pruned(merged, mine)
        changed, removed = changes(live, new, self._schema)
        changed = _less_ignored(changed or EMPTY, self._ignored)
        removed = _less_ignored(removed or EMPTY, self._ignored)
        others = self._after(changed, removed, force)
        mine = difference(mine, _STRIP)
        if mine:
            is_same = self._last is not None and new == live
            time = (self._last or {}).get("time") or "" if is_same else self._writer.now
            if self._last is None and new == live:
                time = ""
            others.append(self._writer.entry("Apply", mine, time))
        return new, in_order(others)

    def _pruned(self, merged: dict[str, Any], mine: FieldSet) -> dict[str, Any]:
        """Return the merged object less what this manager applied last and nobody has now."""
        last = fields_of(self._last) if self._last else EMPTY
        if not last or not difference(last, mine):  # all of it is applied again: nothing can go
            return merged
        return self._without_abandoned(merged, mine, last)

    def _without_abandoned(self, merged: dict[str, Any], mine: FieldSet, last: FieldSet) -> dict[str, Any]:
        node = self._node
        named_last = node.named(last)
        pruned = node.without(merged, named_last) or {}
        managed = mine
        for entry in self._others:
            managed = union(managed, fields_of(entry))
        whole = node.named(node.owned(merged) or EMPTY)
        kept = union(node.named(node.owned(pruned) or EMPTY), node.named(managed))
        pruned = node.without(merged, difference(whole, kept)) or {}
        dangling = difference(whole, node.named(node.owned(pruned) or EMPTY))
        result: dict[str, Any] = node.without(merged, intersection(dangling, named_last)) or {}
        return result

    def _after(self, changed: FieldSet, removed: FieldSet, force: bool) -> list[Entry]:
        """Return the other managers' entries, less what this apply takes; raise _Contested."""
        kept, contests = [], []
        for entry in self._others:
            fields = fields_of(entry)
            taken = intersection(fields, changed)
            contests += [_Contest(entry, path) for path in paths(taken)]
            rest = difference(difference(fields, taken), removed)
            if rest is fields:
                kept.append(entry)
            elif rest:
                kept.append({**entry, "fieldsV1": rest})
        if contests and not force:
            raise _Contested(sorted(contests, key=lambda c: identifier(c.entry)))
        return kept


def _less_ignored(fields: FieldSet, ignored: FieldSet) -> FieldSet:
    """Return the set without the ignored fields and all that is below them."""
    if not ignored:
        return fields
    out = {}
    for step, below in fields.items():
        other = ignored.get(step)
        if other is None:
            out[step] = below
        elif not is_member(other):
            rest = _less_ignored(below, other)
            if rest or is_member(below):
                out[step] = rest
    return out


def _has(fields: FieldSet, path: tuple[str, ...]) -> bool:
    below: FieldSet | None = fields
    for step in path:
        below = None if below is None else below.get(step)
    return below is not None and is_member(below)


def _conflict(contests: Sequence[_Contest]) -> Conflict:
    causes = [
        Cause("FieldManagerConflict", f"conflict with {_shown_manager(c.entry)}", printed(c.path))
        for c in contests
    ]
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
        return Conflict(message, causes=causes)
    lines: list[str] = []
    shown = ""
    for contest in contests:
        if identifier(contest.entry) != shown:
            shown = identifier(contest.entry)
            lines.append(f"conflicts with {_shown_manager(contest.entry)}:")
        lines.append(f"- {printed(contest.path)}")
    return Conflict(f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines), causes=causes)


def _shown_manager(entry: Entry) -> str:
    shown = f'"{entry["manager"]}"'
    if entry.get("subresource"):
        shown += f' with subresource "{entry["subresource"]}"'
    return f"{shown} using {entry['apiVersion']}" if entry["operation"] == "Update" else shown


def _last_applied(live: dict[str, Any], config: dict[str, Any], schema: Schema) -> FieldSet:
    """Return the fields that `kubectl apply` on the client's side wrote and that are still so: they may be taken."""
    said = ((live["metadata"].get("annotations")) or {}).get(LAST_APPLIED)
    try:
        last = orjson.loads(said or "")
    except orjson.JSONDecodeError:
        return EMPTY
    if not isinstance(last, dict) or last.get("apiVersion") != config.get("apiVersion"):
        return EMPTY
    node = node_of(schema)
    if any(True for _ in node.faults(last, ())):
        return EMPTY
    changed, removed = node.diff(last, live)
    return difference(difference(node.owned(last) or EMPTY, changed or EMPTY), removed or EMPTY)


def _with_last_applied(new: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return the object with kubectl's annotation brought to what is applied, where the object has one."""
    annotations = (new.get("metadata") or {}).get("annotations") or {}
    if not annotations.get(LAST_APPLIED):
        return new
    shown = config
    own = (config.get("metadata") or {}).get("annotations") or {}
    if LAST_APPLIED in own:
        rest = {key: value for key, value in own.items() if key != LAST_APPLIED}
        metadata = {key: value for key, value in config["metadata"].items() if key != "annotations"}
        shown = {**config, "metadata": {**metadata, "annotations": rest} if rest else metadata}
    annotations = {
        **annotations,
        LAST_APPLIED: orjson.dumps(shown, option=orjson.OPT_SORT_KEYS).decode() + "\n",
    }
    if sum(len(key) + len(value) for key, value in annotations.items()) > MAX_ANNOTATIONS_BYTES:
        del annotations[LAST_APPLIED]
    return {**new, "metadata": {**new["metadata"], "annotations": annotations}}
