"""Decide which of the names that a definition asks for it gets: none that another of its group has.

Pure. Follows apiextensions-apiserver/pkg/controller/status/naming_controller.go and controller/establish.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proa.objects.meta import format_time
from proa.objects.quick_dataclass import dataclass
from proa.objects.validation import quote

_KEYS = (("plural", "PluralConflict"), ("singular", "SingularConflict"))
_KINDS = (("kind", "KindConflict"), ("listKind", "ListKindConflict"))


@dataclass(frozen=True, slots=True)
class Condition:
    """What a condition says, without its time."""

    type: str
    status: str
    reason: str
    message: str


def accepted(spec_names: Mapping[str, Any], status: Mapping[str, Any], taken: Iterable[Mapping[str, Any]]) -> (
    tuple[dict[str, Any], list[Condition]]
):  # fmt: skip
    """Return the names that are accepted, and the conditions NamesAccepted and Established.

    `taken` are the accepted names of the group's other definitions, `status` is the definition's own so far.
    """
    mine: Mapping[str, Any] = status.get("acceptedNames") or {}
    resources, kinds = _taken(taken)
    names = {key: value for key, value in mine.items() if value}
    problem: tuple[str, str] | None = None
    for key, reason in (*_KEYS, *_KINDS):
        used = kinds if (key, reason) in _KINDS else resources
        wanted = spec_names.get(key) or ""
        if wanted != (mine.get(key) or "") and wanted in used:
            problem = (reason, f"{quote(wanted)} is already in use")
        else:
            names[key] = wanted
        if key == "singular":
            problem = _short_names(spec_names, mine, resources, names) or problem
    if spec_names.get("categories"):
        names["categories"] = list(spec_names["categories"])
    else:
        names.pop("categories", None)
    return names, _conditions(problem, status)


def _taken(others: Iterable[Mapping[str, Any]]) -> tuple[set[str], set[str]]:
    resources: set[str] = set()
    kinds: set[str] = set()
    for names in others:
        resources |= {
            names.get("plural") or "",
            names.get("singular") or "",
            *(names.get("shortNames") or ()),
        }
        kinds |= {names.get("kind") or "", names.get("listKind") or ""}
    return resources - {""}, kinds - {""}


def _short_names(
    wanted: Mapping[str, Any], mine: Mapping[str, Any], used: set[str], names: dict[str, Any]
) -> tuple[str, str] | None:
    asked, had = wanted.get("shortNames") or [], mine.get("shortNames") or []
    clashes = [name for name in asked if name not in had and name in used]
    if clashes:
        said = [f"{quote(name)} is already in use" for name in clashes]
        return "ShortNamesConflict", said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    if asked:
        names["shortNames"] = list(asked)
    else:
        names.pop("shortNames", None)
    return None


def collide(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two definitions of a group have accepted a name in common."""
    (resources, kinds), (others, other_kinds) = _taken((one,)), _taken((other,))
    return bool(resources & others or kinds & other_kinds)


def seniority(definition: Mapping[str, Any]) -> tuple[str, str]:
    """Return what is least of the definition that keeps a name which two were given at the same moment."""
    metadata = definition["metadata"]
    return metadata.get("creationTimestamp") or "", metadata["name"]


def _conditions(problem: tuple[str, str] | None, status: Mapping[str, Any]) -> list[Condition]:
    was = next((c for c in status.get("conditions") or () if c.get("type") == "Established"), None)
    if problem is None:
        return [
            Condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
            Condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted"),
        ]
    found = [Condition("NamesAccepted", "False", *problem)]
    if was is None or was.get("status") != "True":
        found.append(Condition("Established", "False", "NotAccepted", "not all names are accepted"))
    return found


def with_conditions(
    had: Sequence[Mapping[str, Any]] | None, new: Sequence[Condition], now: float
) -> list[dict[str, Any]]:
    """Return the conditions with the new ones in the old ones' places; a time changes with the status alone."""
    found = [dict(condition) for condition in had or ()]
    for condition in new:
        said = {"reason": condition.reason, "message": condition.message}
        for index, old in enumerate(found):
            if old["type"] == condition.type:
                time = old["lastTransitionTime"] if old["status"] == condition.status else format_time(now)
                found[index] = {**_ordered(condition, time), **said}
                break
        else:
            found.append({**_ordered(condition, format_time(now)), **said})
    return found


def _ordered(condition: Condition, time: str) -> dict[str, Any]:
    return {"type": condition.type, "status": condition.status, "lastTransitionTime": time}
