"""Serve the scale subresource: how many replicas an object wants and has, whatever its kind (autoscaling/v1 Scale).

Follows pkg/registry/apps/deployment/storage (ScaleREST), and that of apiextensions-apiserver's customresource/etcd.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from proa.apiserver.handlers.apply import APPLY_PATCH, is_forced, read_config
from proa.apiserver.handlers.bodies import (
    AUXILIARY,
    check_auxiliary,
    media_type_of,
    read_auxiliary,
    strictness_of,
)
from proa.apiserver.handlers.field_managers import read_writer
from proa.apiserver.handlers.negotiation import answer_object, negotiate
from proa.apiserver.handlers.options import write_options
from proa.apiserver.handlers.write import is_dry_run, read_patch
from proa.apiserver.registry.admission import Face
from proa.apiserver.registry.refusals import invalid, method_not_allowed, uid_conflict
from proa.apiserver.registry.registry import ResourceRegistry
from proa.apiserver.registry.unwritable import check_name
from proa.client.protocol import Object, Request, Response
from proa.objects.errors import BadRequest, InternalError
from proa.objects.managed_fields.apply import apply
from proa.objects.managed_fields.entries import Entry, Writer
from proa.objects.managed_fields.scale import VERSION, path_of, to_parent, to_scale
from proa.objects.managed_fields.update import replaced
from proa.objects.quick_dataclass import dataclass
from proa.objects.schemas.load import schema_named
from proa.objects.selectors import selector_from_dict
from proa.objects.validation import validate_non_negative

SCHEMA = AUXILIARY["Scale"]
UNSET = -(2**31)
"""The replicas of a custom resource that says none, while one is made to say some."""
Change = Callable[[Object], tuple[Object, list[Entry]]]
"""Makes a Scale of the stored one, and says who has the replicas then."""


async def serve_scale(request: Request, registry: ResourceRegistry, namespace: str, name: str) -> Response:
    """Answer GET, PUT and PATCH of the scale subresource."""
    representation = negotiate(request.headers.get("accept", ""))
    paths = _paths(registry)
    if request.method in ("GET", "HEAD"):
        obj = orjson.loads(await registry.read(namespace, name))
        if registry.definition.is_custom and _get_path(obj, paths.wanted) is None:
            why = f'the spec replicas field "{paths.wanted}" does not exist'
            raise InternalError(f"Internal error occurred: {why}")
        return answer_object(make_scale(obj, paths), representation)
    dry_run = is_dry_run(request, "UpdateOptions" if request.method == "PUT" else "PatchOptions")
    if request.method == "PUT":
        change = _read_put(request, registry, name)
    elif request.method == "PATCH":
        apply_it = media_type_of(request) == APPLY_PATCH
        change = _read_apply(request, registry) if apply_it else _read_patch(request, registry)
    else:
        raise method_not_allowed()
    entries: list[Entry] = []

    def transform(old: Object) -> Object:
        nonlocal entries
        before, metadata = make_scale(old, paths), old["metadata"]
        if registry.definition.is_custom and _get_path(old, paths.wanted) is None:
            before["spec"] = {"replicas": UNSET}
        parents, path = metadata.get("managedFields") or [], path_of(paths.wanted)
        before["metadata"]["managedFields"] = to_scale(parents, path)
        said, of_scale = change(before)
        check_name(said.get("metadata") or {}, name)
        replicas = (said.get("spec") or {}).get("replicas") or 0
        if replicas == UNSET:
            raise BadRequest(f'the spec replicas field "{paths.wanted}" cannot be empty')
        if causes := validate_non_negative(replicas, "spec.replicas"):
            raise invalid("Scale", "autoscaling", name, causes)
        if version := (said.get("metadata") or {}).get("resourceVersion"):
            metadata["resourceVersion"] = version
        entries = to_parent(parents, of_scale, path, registry.resource.api_version)
        _set_path(old, paths.wanted, replicas)
        return old

    value = await registry.update(
        namespace,
        name,
        transform,
        request.user,
        subresource="",
        dry_run=dry_run,
        unconditional=True,
        track=lambda old, new: entries,
        options=write_options(request, "UpdateOptions"),
        face=Face(
            "scale",
            lambda obj: make_scale(obj, paths),
            lambda obj, scale: _set_path(obj, paths.wanted, (scale.get("spec") or {}).get("replicas") or 0),
        ),
    )
    return answer_object(make_scale(orjson.loads(value), paths), representation)


def _read_put(request: Request, registry: ResourceRegistry, name: str) -> Change:
    body = orjson.dumps(read_auxiliary(request, "Scale"))
    writer = _writer(request, registry, "UpdateOptions")

    def change(old: Object) -> tuple[Object, list[Entry]]:
        new, uid = orjson.loads(body), old["metadata"]["uid"]
        said = (new.get("metadata") or {}).get("uid") or uid
        if said != uid:
            raise uid_conflict(registry.resource, name, said, uid)
        return _tracked(old, new, writer)

    return change


def _read_patch(request: Request, registry: ResourceRegistry) -> Change:
    patch = read_patch(request, schema_named(SCHEMA), is_custom=registry.definition.is_custom)
    writer = _writer(request, registry, "PatchOptions")

    def change(old: Object) -> tuple[Object, list[Entry]]:
        shown = {**old, "metadata": {k: v for k, v in old["metadata"].items() if k != "managedFields"}}
        return _tracked(old, patch(orjson.loads(orjson.dumps(shown))), writer)

    return change


def _tracked(old: Object, new: Any, writer: Writer) -> tuple[Object, list[Entry]]:
    said = check_auxiliary(new, "Scale")
    if "spec" in said and not said["spec"].get("replicas"):
        said["spec"] = {}  # as Go's omitempty has it
    return said, replaced(old, {"metadata": {}, **said}, schema_named(SCHEMA), writer)


def _read_apply(request: Request, registry: ResourceRegistry) -> Change:
    schema = schema_named(SCHEMA)
    writer = _writer(request, registry, "PatchOptions", required=True)
    force = is_forced(request)
    strictness_of(request)
    config = read_config(request, "Scale", VERSION, schema)

    def change(old: Object) -> tuple[Object, list[Entry]]:
        new, entries = apply(old, config, schema, writer, force=force)
        return check_auxiliary(orjson.loads(orjson.dumps(new)), "Scale"), entries

    return change


def _writer(request: Request, registry: ResourceRegistry, options: str, *, required: bool = False) -> Writer:
    return read_writer(request, registry, options, "scale", required=required, api_version=VERSION)


@dataclass(frozen=True, slots=True)
class _Paths:
    """Where a kind has what a Scale shows."""

    wanted: str
    there: str
    selector: str


def make_scale(obj: Object, paths: _Paths) -> Object:
    """Return an object's autoscaling/v1 Scale."""
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas = _get_path(obj, paths.wanted)
    selector = _get_path(obj, paths.selector) if paths.selector else None
    status: Object = {"replicas": _get_path(obj, paths.there) or 0}
    if isinstance(selector, str):
        if selector:
            status["selector"] = selector
    elif selector:
        is_label_selector = "matchLabels" in selector or "matchExpressions" in selector
        status["selector"] = str(
            selector_from_dict(selector if is_label_selector else {"matchLabels": selector})
        )
    return {
        "kind": "Scale",
        "apiVersion": VERSION,
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def _paths(registry: ResourceRegistry) -> _Paths:
    paths = registry.definition.scale_paths
    if paths is None:
        raise method_not_allowed()
    return _Paths(*paths)


def _get_path(obj: Object, path: str) -> Any:
    found: Any = obj
    for part in path.strip(".").split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(part)
    return found


def _set_path(obj: Object, path: str, value: Any) -> None:
    *parents, last = path.strip(".").split(".")
    for part in parents:
        obj = obj.setdefault(part, {})
    obj[last] = value
