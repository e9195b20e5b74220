"""Warn of what a definition's schemas say in vain: formats that nobody knows, sets of what is not scalar.

Follows WarningsOnCreate in apiextensions-apiserver/pkg/registry/customresourcedefinition/strategy.go.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects.structural.formats import is_known
from proa.objects.structural.node import Json
from proa.objects.structural.schema_rules import every


def warnings_about(spec: Object) -> list[str]:
    """Return the warnings, each once."""
    formats: dict[str, None] = {}
    sets: set[str] = set()
    for raw in schemas_of(spec):
        for schema in every(raw):
            form = schema.get("format") or ""
            if form and not is_known(form, schema.get("type") or ""):
                formats[f'unrecognized format "{form}"'] = None
            items = schema.get("items")
            kind = items.get("type") if isinstance(items, dict) else None
            if schema.get("x-kubernetes-list-type") == "set" and kind in ("object", "array"):
                sets.add(
                    f'x-kubernetes-list-type: set for items of type "{kind}" is not supported by server-side apply or '
                    "CEL validation rules"
                )
    return [*formats, *sorted(sets)]


def schemas_of(spec: Object) -> list[Json]:
    """Return the schema of each version that has one."""
    found = [(version.get("schema") or {}).get("openAPIV3Schema") for version in spec.get("versions") or ()]
    return [raw for raw in found if raw is not None]
