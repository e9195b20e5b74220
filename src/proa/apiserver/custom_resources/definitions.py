"""Make of a stored CustomResourceDefinition what the API server must know of each version that it serves.

Follows getOrCreateServingInfoFor in apiextensions-apiserver/pkg/apiserver/customresource_handler.go. The definition's
bytes are kept until the first object of a version comes; only then its schema is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from proa.apiserver.custom_resources.columns import make_columns
from proa.apiserver.custom_resources.conversion import make_convert
from proa.apiserver.custom_resources.rules import CustomRules
from proa.apiserver.handlers.discovery import version_rank
from proa.apiserver.registry.conversion import Conversion, Convert
from proa.apiserver.registry.definition import ResourceDefinition, Subresource, Verb
from proa.apiserver.webhooks.webhooks import Webhooks
from proa.client.protocol import Object
from proa.objects.json_path import find_values, parse_json_path
from proa.objects.meta import has_condition
from proa.objects.resource import Resource
from proa.objects.structural.kind import CustomKind

VERBS: tuple[Verb, ...] = (
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
)
"""In the order in which discovery shows them."""
SWEEPING_VERBS: tuple[Verb, ...] = ("delete", "deletecollection", "get", "list")
"""What can be done with objects of a definition that serves none of its versions, while it is being deleted."""
MANY_RULES = 100
"""A kind with more expressions and patterns is worked on aside: each is compiled when it first counts."""


def make_definitions(
    definition: Object, value: bytes, webhooks: Webhooks, stale_until: int
) -> list[ResourceDefinition]:
    """Return the versions that `definition` serves; `value` is its bytes, `stale_until` see `Conversion`.

    Where it serves none and is being deleted, its objects can be listed and deleted in the version that is stored.
    """
    spec, names = definition["spec"], definition["status"]["acceptedNames"]
    resources = {version["name"]: _resource(spec, names, version["name"]) for version in spec["versions"]}
    schemas = _Schemas(value)
    kinds = {
        version["name"]: CustomKind(
            schemas.loader(version["name"]), keeps_all=bool(spec.get("preserveUnknownFields"))
        )
        for version in spec["versions"]
    }
    stored = next(resources[version["name"]] for version in spec["versions"] if version.get("storage"))
    has_others = len(definition["status"].get("storedVersions") or ()) > 1
    convert = make_convert(definition, resources, kinds, webhooks)
    is_terminating = "deletionTimestamp" in definition["metadata"] or has_condition(definition, "Terminating")
    made = []
    serves_none = not any(version.get("served") for version in spec["versions"])
    for version in spec["versions"]:
        if version.get("served") or (serves_none and is_terminating and version.get("storage")):
            resource, kind = resources[version["name"]], kinds[version["name"]]
            conversion = None
            if resource != stored or has_others or stale_until:
                conversion = _conversion(stored, convert, kind, stale_until)
            defined = _make(spec, names, version, resource, kind, conversion, is_terminating)
            made.append(replace(defined, heavy_bytes=0) if schemas.rules > MANY_RULES else defined)
    return (
        [replace(definition, verbs=SWEEPING_VERBS, subresources=()) for definition in made]
        if serves_none
        else made
    )


def _resource(spec: Object, names: Object, version: str) -> Resource:
    return Resource(spec["group"], version, names["plural"], names["kind"], spec["scope"] == "Namespaced")


def _conversion(stored: Resource, convert: Convert, kind: CustomKind, stale_until: int) -> Conversion:
    def renew(obj: Object) -> None:
        kind.decode(obj)
        kind.default(obj)

    return Conversion(stored, convert, "served", stale_until, renew)


class _Schemas:
    """The schemas of a definition's versions, decoded all at once when the first is asked for."""

    def __init__(self, value: bytes) -> None:
        self.rules = sum(value.count(rule) for rule in (b'"x-kubernetes-validations"', b'"pattern"'))
        """How many expressions and patterns there are to compile, about."""
        self._value = value
        self._found: dict[str, Mapping[str, Any]] = {}

    def loader(self, name: str) -> Callable[[], Mapping[str, Any]]:
        """Return what returns the schema of a version."""
        return lambda: self._take(name)

    def _take(self, name: str) -> Mapping[str, Any]:
        if not self._found:
            versions = orjson.loads(self._value)["spec"]["versions"]
            self._found = {v["name"]: (v.get("schema") or {}).get("openAPIV3Schema") or {} for v in versions}
        return self._found[name]


def _make(
    spec: Object,
    names: Object,
    version: Object,
    resource: Resource,
    kind: CustomKind,
    conversion: Conversion | None,
    is_terminating: bool,
) -> ResourceDefinition:
    subresources = version.get("subresources") or {}
    rules = CustomRules(resource, kind, subresources, is_terminating=is_terminating)
    columns, cells = make_columns(version)
    scale = subresources.get("scale")
    return ResourceDefinition(
        resource=resource,
        singular=names["singular"],
        schema=kind.schema,
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        verbs=VERBS,
        subresources=tuple(_subresources(resource, subresources)),
        default=kind.default,
        prepare_create=rules.prepare_create,
        prepare_update=rules.prepare_update,
        prepare_status_update=rules.prepare_status_update,
        validate=rules.validate,
        validate_update=rules.validate_update,
        validates_change_alone=True,
        validate_status_update=rules.validate_status_update,
        columns=columns,
        cells=cells,
        field_selectors=_selectable_fields(version),
        tracks_generation=True,
        unconditional_update=False,
        deprecation=_deprecation(spec, version),
        scale_paths=_scale_paths(scale) if scale is not None else None,
        openapi=lambda: kind.raw,
        list_kind=names["listKind"],
        conversion=conversion,
    )


def _subresources(resource: Resource, said: Object) -> Iterator[Subresource]:
    verbs = ("get", "patch", "update")
    if said.get("status") is not None:
        yield Subresource("status", resource.kind, verbs)
    if said.get("scale") is not None:
        yield Subresource("scale", "Scale", verbs, "autoscaling/v1")


def _scale_paths(scale: Object) -> tuple[str, str, str]:
    return scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath") or ""


def _selectable_fields(version: Object) -> dict[str, Callable[[Object], str]]:
    return {
        field["jsonPath"].removeprefix("."): _selector(field["jsonPath"])
        for field in version.get("selectableFields") or ()
    }


def _selector(path: str) -> Callable[[Object], str]:
    steps = parse_json_path(path)

    def select(obj: Object) -> str:
        found = find_values(obj, steps)
        if not found or found[0] is None:
            return ""
        value = found[0]
        return ("true" if value else "false") if isinstance(value, bool) else str(value)

    return select


def _deprecation(spec: Object, version: Object) -> str:
    """Return the warning of a deprecated version."""
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning") is not None:
        return str(version["deprecationWarning"])
    group, kind = spec["group"], spec["names"]["kind"]
    said = f"{group}/{version['name']} {kind} is deprecated"
    better = [
        v["name"]
        for v in spec["versions"]
        if v.get("served")
        and not v.get("deprecated")
        and version_rank(v["name"]) < version_rank(version["name"])
    ]
    return f"{said}; use {group}/{min(better, key=version_rank)} {kind}" if better else said
