"""Keep the entries of metadata.managedFields: who wrote which fields, how, when, and in which version.

Follows apimachinery/pkg/util/managedfields/internal/managedfields.go, managedfieldsupdater.go and capmanagers.go.
Entries are values: nothing here changes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from proa.objects.managed_fields.sets import EMPTY, FieldSet, difference, from_client, ordered, union
from proa.objects.quick_dataclass import dataclass

Entry = dict[str, Any]
"""A ManagedFieldsEntry."""
MAX_UPDATE_MANAGERS = 10
ANCIENT = "ancient-changes"
UNKNOWN = "unknown"
RESET: list[Entry] = [{}]
"""What a client sends to have the fields of an object owned by nobody."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, through which subresource, in which version. `now` is the time of the write as objects have it."""

    manager: str
    api_version: str
    now: str
    subresource: str = ""

    def entry(self, operation: str, fields: FieldSet, now: str) -> Entry:
        """Return an entry of this writer; without a time if `now` is empty."""
        entry = {"manager": self.manager or UNKNOWN, "operation": operation, "apiVersion": self.api_version}
        if now:
            entry["time"] = now
        entry["fieldsType"] = "FieldsV1"
        made: Entry = {**entry, "fieldsV1": fields}
        if self.subresource:
            made["subresource"] = self.subresource
        return made

    def owns(self, entry: Entry, operation: str) -> bool:
        """Tell whether the entry is this writer's. Who applies keeps one entry through all versions."""
        return bool(
            entry["manager"] == (self.manager or UNKNOWN)
            and entry["operation"] == operation
            and (operation == "Apply" or entry["apiVersion"] == self.api_version)
            and entry.get("subresource", "") == self.subresource
        )


def fields_of(entry: Entry) -> FieldSet:
    """Return the entry's set."""
    return entry.get("fieldsV1") or EMPTY


def identifier(entry: Entry) -> str:
    """Return what tells managers apart and sorts them, as upstream spells it."""
    keys = ("manager", "operation", "apiVersion", "subresource")
    shown = {key: entry[key] for key in keys if entry.get(key)}
    if entry["operation"] == "Apply":
        del shown["apiVersion"]
    return orjson.dumps(shown).decode()


def accepted(sent: object, live: list[Entry]) -> list[Entry]:
    """Return the entries that a write starts from: those that the client sent, or where it cannot, the object's."""
    if not sent or sent == live:
        return live
    if sent == RESET:
        return []
    try:
        return [_checked(entry) for entry in sent]  # type: ignore[attr-defined]
    except (ValueError, TypeError, AttributeError):
        return live


def note_reset(metadata: object) -> None:
    """Let an empty list of entries, which is there, be told from none: it resets them too (isResetManagedFields)."""
    if isinstance(metadata, dict) and metadata.get("managedFields") == []:
        metadata["managedFields"] = [{}]


def _checked(entry: Entry) -> Entry:
    if entry.get("operation") not in ("Apply", "Update"):
        raise ValueError("operation must be `Apply` or `Update`")
    if not entry.get("apiVersion"):
        raise ValueError("apiVersion must not be empty")
    if entry.get("fieldsType") != "FieldsV1":
        raise ValueError("invalid fieldsType")
    checked = {"manager": "", **entry, "fieldsV1": from_client(entry.get("fieldsV1") or {})}
    return {key: checked[key] for key in _KEYS if key in checked}


_KEYS = ("manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource")


def updated(
    entries: list[Entry], changed: FieldSet | None, removed: FieldSet | None, writer: Writer
) -> list[Entry]:
    """Return the entries after an update: the writer owns what it changed, nobody what it removed."""
    if not changed and not removed:
        return entries
    kept: list[Entry] = []
    mine: Entry | None = None
    for entry in entries:
        fields = fields_of(entry)
        rest = difference(fields, removed) if removed else fields
        if changed and mine is None and writer.owns(entry, "Update"):
            joined = union(rest, changed)
            mine = {**entry, "fieldsV1": joined if joined is fields else ordered(joined)}
            continue
        if changed:
            rest = difference(rest, changed)
        if rest is fields:
            kept.append(entry)
        elif rest:
            kept.append({**entry, "fieldsV1": rest})
    if changed:
        fields = changed if mine is None else mine["fieldsV1"]
        kept.append(writer.entry("Update", fields, writer.now))
    return in_order(_capped(kept)) if len(kept) > 1 else kept


def is_timing_alone(new: dict[str, Any], old: dict[str, Any]) -> bool:
    """Tell whether an object differs from the stored one in nothing but the times of its entries."""
    now, before = new["metadata"].get("managedFields"), old["metadata"].get("managedFields")
    if now == before or not now or not before or len(now) != len(before):
        return False
    if any({**a, "time": ""} != {**b, "time": ""} for a, b in zip(now, before, strict=True)):
        return False
    return {**new, "metadata": {**new["metadata"], "managedFields": before}} == old


def in_order(entries: list[Entry]) -> list[Entry]:
    """Return the entries as upstream orders them: Apply before Update, then by time."""
    return sorted(
        entries,
        key=lambda e: (
            e["operation"],
            e.get("time") or "",
            e["manager"],
            e["apiVersion"],
            e.get("subresource", ""),
        ),
    )


def _capped(entries: list[Entry]) -> list[Entry]:
    """Return the entries with the oldest updates merged into one a version, when there are too many."""
    if len(entries) <= MAX_UPDATE_MANAGERS:
        return entries
    updates = [entry for entry in entries if entry["operation"] == "Update"]
    excess = len(updates) - MAX_UPDATE_MANAGERS
    if excess <= 0:
        return entries
    updates.sort(key=lambda e: (e.get("time") or "", identifier(e)))
    return [e for e in entries if e["operation"] == "Apply"] + _merged(updates, excess)


def _merged(updates: Sequence[Entry], excess: int) -> list[Entry]:
    kept = {identifier(entry): entry for entry in updates}
    firsts: dict[str, str] = {}
    for entry in updates:
        if excess <= 0:
            break
        version, name = entry["apiVersion"], identifier(entry)
        bucket = {**Writer(ANCIENT, version, "").entry("Update", EMPTY, "")}
        bucket_name = identifier(bucket)
        if version not in firsts:
            firsts[version] = name
            continue
        if bucket_name not in kept:
            kept[bucket_name] = kept.pop(firsts[version])
        joined = ordered(union(fields_of(entry), fields_of(kept[bucket_name])))
        kept.pop(name, None)
        kept[bucket_name] = Writer(ANCIENT, version, "").entry("Update", joined, entry.get("time") or "")
        excess -= 1
    return list(kept.values())
