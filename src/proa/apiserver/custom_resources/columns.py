"""Show custom resources in Tables by the columns that their definitions name.

Follows apiextensions-apiserver/pkg/registry/customresource/tableconvertor/tableconvertor.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from proa.apiserver.registry.definition import Column
from proa.apiserver.resources.printing import NAME, age, doc, since
from proa.client.protocol import Object
from proa.objects.json_path import BadJsonPath, Step, find_values, parse_json_path

AGE = Column("Age", type="date", description=doc("meta.v1.ObjectMeta.creationTimestamp"))
Cells = Callable[[Object, float], Sequence[Any]]
Cell = Callable[[Object, float], Any]


def make_columns(version: Object) -> tuple[tuple[Column, ...], Cells]:
    """Return a version's columns, and what makes a row of an object and the time."""
    said = version.get("additionalPrinterColumns")
    if not said:
        return (NAME, AGE), lambda obj, now: (obj["metadata"]["name"], age(obj, now))
    columns, cells = [NAME], []
    for column in said:
        path, kind = column["jsonPath"], column["type"]
        try:
            steps = parse_json_path(path)
        except BadJsonPath:
            return (NAME,), lambda obj, now: (obj["metadata"]["name"],)
        description = (
            column.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
        )
        columns.append(
            Column(column["name"], kind, column.get("format") or "", description, column.get("priority") or 0)
        )
        cells.append(_cell(kind, steps))
    return tuple(columns), lambda obj, now: (obj["metadata"]["name"], *(cell(obj, now) for cell in cells))


def _cell(kind: str, steps: tuple[Step, ...]) -> Cell:
    show = _SHOW[kind]

    def cell(obj: Object, now: float) -> Any:
        found = find_values(obj, steps)
        return show(found[0], now) if found and found[0] is not None else None

    return cell


def _string(value: Any, now: float) -> str:
    if isinstance(value, (dict, list)):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _integer(value: Any, now: float) -> int | None:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _number(value: Any, now: float) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _boolean(value: Any, now: float) -> bool | None:
    return value if isinstance(value, bool) else None


def _date(value: Any, now: float) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        return since(value, now)
    except ValueError:
        return "<invalid>"


_SHOW: dict[str, Callable[[Any, float], Any]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
}
