"""Answer server-side apply: PATCH with application/apply-patch+yaml, of an object that is there or not yet.

Follows applyPatcher in apiserver/pkg/endpoints/handlers/patch.go; what applying does is in objects/managed_fields.
"""

from __future__ import annotations

from typing import Any

import orjson

from proa.apiserver.handlers.bodies import is_heavy, strictness_of
from proa.apiserver.handlers.field_managers import read_writer
from proa.apiserver.handlers.options import write_options
from proa.apiserver.handlers.upsert import update_or_create
from proa.apiserver.handlers.yaml_bodies import find_repeated_keys, load_yaml
from proa.apiserver.pace import aside
from proa.apiserver.registry.refusals import conflict
from proa.apiserver.registry.registry import ResourceRegistry
from proa.client.protocol import Object, Request
from proa.objects.errors import BadRequest
from proa.objects.managed_fields.apply import apply, check_config
from proa.objects.managed_fields.entries import Entry
from proa.objects.managed_fields.sets import LEAF, FieldSet
from proa.objects.schemas.patched import check_patched
from proa.objects.schemas.schema import Schema

APPLY_PATCH = "application/apply-patch+yaml"
_NOT_THROUGH_STATUS = {"f:labels": LEAF, "f:ownerReferences": LEAF, "f:generateName": LEAF}
"""What of metadata a write to the status subresource leaves alone."""


async def apply_object(
    request: Request,
    registry: ResourceRegistry,
    namespace: str,
    name: str,
    subresource: str = "",
    *,
    dry_run: bool = False,
) -> tuple[bytes, bool]:
    """Return the object as it is after the apply, and whether it is new; raise BadRequest, Conflict, Invalid."""
    writer = read_writer(request, registry, "PatchOptions", subresource, required=True)
    force = is_forced(request)
    is_strict = strictness_of(request) == "Strict"
    schema = registry.definition.object_schema
    heavy = is_heavy(request, registry.definition)
    kind = (registry.resource.kind, registry.resource.api_version)
    if heavy:
        config = await aside(read_config, request, *kind, schema)
    else:
        config = read_config(request, *kind, schema)
    ignored = _ignored(registry, schema, subresource)
    entries: list[Entry] = []

    def transform(live: Object | None) -> Object:
        nonlocal entries
        new, entries = apply(live, config, schema, writer, force=force, ignored=ignored)
        if is_strict and (repeated := find_repeated_keys(request.body)):
            said = "\n  ".join(["error converting YAML to JSON: yaml: unmarshal errors:", *repeated])
            raise BadRequest(f"error strict decoding YAML: {said}")
        return check_patched(orjson.loads(orjson.dumps(new)), schema, "Ignore").obj

    def track(old: Object | None, new: Object) -> list[Entry]:
        return entries

    async def update() -> bytes:
        return await registry.update(
            namespace,
            name,
            transform,
            request.user,
            subresource=subresource,
            dry_run=dry_run,
            unconditional=True,
            track=track,
            options=write_options(request, "UpdateOptions"),
            heavy=heavy,
        )

    async def create() -> bytes:
        _check_new(config, registry, name)
        return await registry.create(
            await aside(transform, None) if heavy else transform(None),
            namespace,
            request.user,
            dry_run=dry_run,
            track=track,
            options=write_options(request, "CreateOptions"),
            heavy=heavy,
        )

    if subresource:
        return await update(), False
    return await update_or_create(request, registry, namespace, name, update, create)


def is_forced(request: Request) -> bool:
    """Tell whether what others have is taken; raise BadRequest for what is no boolean."""
    said = request.parameter("force", "false").lower()
    if said not in ("true", "false", "1", "0", "t", "f", ""):
        raise BadRequest(f'strconv.ParseBool: parsing "{said}": invalid syntax')
    return said in ("true", "1", "t")


def read_config(request: Request, kind: str, api_version: str, schema: Schema) -> Object:
    """Return what is applied, which fits the schema and is of the kind; raise BadRequest, ApiError."""
    try:
        config: Any = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        config = load_yaml(request.body)
    if not isinstance(config, dict):
        raise BadRequest("error decoding patch: the patch is not an object")
    said, version = config.get("kind") or "", config.get("apiVersion") or ""
    if (said, version) != (kind, api_version):
        shown = version if "/" in str(version) else f"/{version}"
        raise BadRequest(f"invalid object type: {shown}, Kind={said}")
    check_config(config, schema)
    return config


def _ignored(registry: ResourceRegistry, schema: Schema, subresource: str) -> FieldSet:
    """Return what a write to the resource, or to its status, leaves as it is."""
    if subresource != "status":
        return {"f:status": LEAF} if registry.has_status else {}
    others = schema.properties.keys() - {"metadata", "status", "kind", "apiVersion"}
    return {"f:metadata": _NOT_THROUGH_STATUS, **{f"f:{key}": LEAF for key in others}}


def _check_new(config: Object, registry: ResourceRegistry, name: str) -> None:
    """Raise BadRequest or Conflict where there is no object of the URL's name and this cannot become it."""
    metadata = config.get("metadata") or {}
    said = metadata.get("name")
    if not said:
        raise BadRequest(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    if said != name:
        raise BadRequest(f"the name of the object ({said}) does not match the name on the URL ({name})")
    if metadata.get("uid"):
        why = f"uid mismatch: the provided object specified uid {metadata['uid']}, and no existing object was found"
        raise conflict(registry.resource, name, why)
