"""Show objects as Tables or as metadata only: apiserver/pkg/endpoints/handlers/response.go, meta/v1/types.go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from proa.apiserver.handlers.negotiation import Representation, Shape
from proa.apiserver.registry.definition import Ago, ResourceDefinition
from proa.apiserver.resources.printing import age, ago
from proa.client.protocol import Object
from proa.objects.errors import BadRequest

INCLUDES = ("Metadata", "Object", "None")


def check_include(asked: str) -> str:
    """Return `includeObject`, which says how much of each object a Table's row holds; raise BadRequest."""
    if asked and asked not in INCLUDES:
        raise BadRequest(f'unrecognized includeObject value: "{asked}"')
    return asked or "Metadata"


def partial(obj: Object, representation: Representation) -> Object:
    """Return a PartialObjectMetadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": representation.api_version,
        "metadata": obj["metadata"],
    }


def table(
    definition: ResourceDefinition,
    objects: Sequence[Object],
    list_metadata: dict[str, Any],
    representation: Representation,
    include: str,
    now: float,
    *,
    headers: bool = True,
    shown: Sequence[Object] | None = None,
) -> Object:
    """Return a Table of the objects; its rows hold those of `shown`, where these are of another version."""
    columns = [
        {
            "name": c.name,
            "type": c.type,
            "format": c.format,
            "description": c.description,
            "priority": c.priority,
        }
        for c in definition.columns
    ]
    return {
        "kind": "Table",
        "apiVersion": representation.api_version,
        "metadata": list_metadata,
        "columnDefinitions": columns if headers else None,
        "rows": rows(definition, objects, shown or objects, representation, include, now),
    }


def rows(
    definition: ResourceDefinition,
    objects: Sequence[Object],
    shown: Sequence[Object],
    representation: Representation,
    include: str,
    now: float,
) -> list[Object]:
    """Return a Table's rows: the cells of each of `objects`, and what `include` says of its like in `shown`."""
    return [
        _row(definition, obj, other, representation, include, now)
        for obj, other in zip(objects, shown, strict=True)
    ]


def _row(
    definition: ResourceDefinition,
    obj: Object,
    other: Object,
    representation: Representation,
    include: str,
    now: float,
) -> Object:
    return make_row(cells_of(definition, obj, now), other, representation, include)


def cells_of(definition: ResourceDefinition, obj: Object, now: float) -> Sequence[Any]:
    """Return the cells of an object's row."""
    if definition.summary is not None:
        return [ago(cell, now) if isinstance(cell, Ago) else cell for cell in definition.summary(obj)]
    if definition.cells is None:
        return obj["metadata"]["name"], age(obj, now)
    return definition.cells(obj, now)


class Ages:
    """What times say at one moment: most objects of a list were made at the same few."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._known: dict[Ago, bytes] = {}

    def say(self, cell: Ago) -> bytes:
        """Return the cell as JSON."""
        known = self._known.get(cell)
        if known is None:
            known = self._known[cell] = orjson.dumps(ago(cell, self._now))
        return known


def make_row(cells: Sequence[Any], obj: Object, representation: Representation, include: str) -> Object:
    """Return a row with what `include` says of its object."""
    shown: Object | None = None
    if include == "Metadata":
        shown = partial(obj, representation)
    elif include == "Object":
        shown = obj
    return {"cells": list(cells), "object": shown}


def shape_object(
    obj: Object,
    served: Object,
    definition: ResourceDefinition,
    representation: Representation,
    include: str,
    now: float,
) -> Object:
    """Return one object, `served`, in the shape asked for; `obj` is the same as its kind's rules want it."""
    shape: Shape = representation.shape
    if shape == "Table":
        version = obj["metadata"].get("resourceVersion")
        metadata = {"resourceVersion": version} if version else {}
        return table(definition, (obj,), metadata, representation, include, now, shown=(served,))
    return partial(served, representation) if shape else served
