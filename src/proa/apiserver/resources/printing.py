"""Show objects in `kubectl get` as upstream does: the columns that many kinds share, and the words in their cells.

Follows pkg/printers/internalversion/printers.go and apimachinery/pkg/util/duration/duration.go. A column that shows a
field is described as the API describes that field; those sentences are in columns.json, which
tools/generate_schemas.py writes for each `doc("...")` in this folder.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import orjson

from proa.apiserver.registry.definition import Ago, Column
from proa.client.protocol import Object
from proa.objects.errors import BadRequest
from proa.objects.meta import parse_time
from proa.objects.selectors import selector_from_dict

DESCRIPTIONS = Path(__file__).with_name("columns.json")
NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"


def doc(field: str) -> str:
    """Return the API's own description of a field, e.g. core.v1.PodStatus.podIP; raise KeyError for one not kept."""
    try:
        return _descriptions()[field]
    except KeyError:
        raise KeyError(f"{field} is not in {DESCRIPTIONS.name}: run tools/generate_schemas.py") from None


@cache
def _descriptions() -> dict[str, str]:
    descriptions: dict[str, str] = orjson.loads(DESCRIPTIONS.read_bytes())
    return descriptions


NAME = Column("Name", format="name", description=doc("meta.v1.ObjectMeta.name"))
AGE = Column("Age", description=doc("meta.v1.ObjectMeta.creationTimestamp"))
CONTAINERS = Column("Containers", description="Names of each container in the template.", priority=1)
IMAGES = Column("Images", description="Images referenced by each container in the template.", priority=1)


def age(obj: Object, now: float) -> str:
    """Return how long ago the object was made, as `kubectl get` shows it."""
    return since(obj["metadata"].get("creationTimestamp"), now)


def since(timestamp: str | None, now: float) -> str:
    """Return how long ago a time was."""
    return human_duration(now - parse_time(timestamp)) if timestamp else UNKNOWN


def ago(cell: Ago, now: float) -> str:
    """Return what such a cell says now."""
    return cell.words.format(since(cell.time, now))


def human_duration(seconds: float) -> str:
    """Return a duration in at most two units: 119s, 4m5s, 23h, 5d4h, 2y3d."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 60 * 2:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 60 * 3:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 24 * 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return f"{days // 365}y{days % 365}d" if days % 365 else f"{days // 365}y"
    return f"{days // 365}y"


def container_cells(template: Object) -> tuple[str, str]:
    """Return the names and the images of a pod template's containers."""
    containers = (template.get("spec") or {}).get("containers") or []
    return ",".join(c.get("name", "") for c in containers), ",".join(c.get("image", "") for c in containers)


def selector_cell(selector: Any) -> str:
    """Return a label selector in one line."""
    if selector is None:
        return NONE
    try:
        return str(selector_from_dict(selector)) or NONE
    except BadRequest:
        return "<error>"


def labels_cell(labels: dict[str, str] | None) -> str:
    """Return labels in one line."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def some_of(items: list[str], empty: str, most: int = 3) -> str:
    """Return the first items in one line, and how many more there are."""
    shown = ",".join(items[:most]) or empty
    return f"{shown} + {len(items) - most} more..." if len(items) > most else shown
