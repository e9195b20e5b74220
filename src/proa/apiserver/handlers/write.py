"""Create, replace, patch and delete objects: from the request's body to the registry, and the answer.

Follows create.go, update.go, patch.go and delete.go of apiserver/pkg/endpoints/handlers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from proa.apiserver.handlers.apply import APPLY_PATCH, apply_object
from proa.apiserver.handlers.bodies import (
    is_heavy,
    media_type_of,
    parse_json,
    read_auxiliary,
    read_object_aside,
    strictness_of,
)
from proa.apiserver.handlers.field_managers import tracker
from proa.apiserver.handlers.list import check_freshness, find_page, item_of
from proa.apiserver.handlers.negotiation import PLAIN, Representation, answer, answer_aside, negotiate_for
from proa.apiserver.handlers.options import read_options_aside, write_options
from proa.apiserver.handlers.shapes import check_include, shape_object
from proa.apiserver.handlers.upsert import update_or_create
from proa.apiserver.pace import Pace, decoded, value_slices
from proa.apiserver.registry.deletion import DeleteOptions, read_options
from proa.apiserver.registry.metadata import drop_repeated_owners, match_namespace, metadata_of
from proa.apiserver.registry.notes import warn
from proa.apiserver.registry.refusals import generic, invalid, uid_conflict
from proa.apiserver.registry.registry import ResourceRegistry
from proa.apiserver.registry.unwritable import check_name
from proa.client.protocol import Object, Request, Response, User
from proa.objects.errors import BadRequest, Invalid, NotFound, UnsupportedMediaType
from proa.objects.managed_fields.entries import note_reset
from proa.objects.patch.json_patch import apply_json_patch
from proa.objects.patch.merge_patch import apply_merge_patch
from proa.objects.patch.strategic_merge import apply_strategic_merge
from proa.objects.schemas.patched import check_patched
from proa.objects.schemas.schema import Schema
from proa.objects.validation import forbidden, not_supported
from proa.store.protocol import Entry

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"


async def get_object(request: Request, registry: ResourceRegistry, namespace: str, name: str) -> Response:
    """Answer a GET of one object; a `resourceVersion` says how new it must be at least."""
    if request.query and (asked := request.parameter("resourceVersion")):
        check_freshness(asked, registry.store.revision)
    representation = negotiate_for(request, registry.definition)
    value = await registry.read(namespace, name)
    return await show(request, registry, value, representation)


async def show(
    request: Request,
    registry: ResourceRegistry,
    value: bytes,
    representation: Representation,
    status: int = 200,
    warnings: tuple[str, ...] = (),
) -> Response:
    """Return an object's bytes, of the version served, in the representation asked for."""
    if representation.is_plain:
        return answer(value, PLAIN, status, warnings)
    include = check_include(request.parameter("includeObject"))
    obj = served = await decoded(value)
    if registry.conversion is not None:
        (obj,) = await registry.hub((await decoded(value),))
    shaped = shape_object(obj, served, registry.definition, representation, include, registry.now())
    return await answer_aside(orjson.dumps(shaped), representation, status, warnings)


async def create_object(request: Request, registry: ResourceRegistry, namespace: str) -> Response:
    """Answer a POST to a collection."""
    representation = negotiate_for(request, registry.definition)
    dry_run = is_dry_run(request, "CreateOptions")
    heavy = is_heavy(request, registry.definition)
    checked = await read_object_aside(request, registry.definition, heavy)
    track = tracker(request, registry, "CreateOptions")
    if registry.definition.review is not None:
        answered = await registry.review(checked.obj, namespace, request.user, dry_run=dry_run, track=track)
        return await show(request, registry, orjson.dumps(answered), representation, 201, checked.warnings)
    if repeated := drop_repeated_owners(metadata_of(checked.obj)):
        warn(repeated)
    value = await registry.create(
        checked.obj,
        namespace,
        request.user,
        dry_run=dry_run,
        track=track,
        options=write_options(request, "CreateOptions"),
        heavy=heavy,
    )
    return await show(request, registry, value, representation, 201, checked.warnings)


async def update_object(
    request: Request, registry: ResourceRegistry, namespace: str, name: str, subresource: str = ""
) -> Response:
    """Answer a PUT of an object, or of its status; of some kinds it creates what is not there."""
    representation = negotiate_for(request, registry.definition)
    dry_run = is_dry_run(request, "UpdateOptions")
    heavy = is_heavy(request, registry.definition)
    checked = await read_object_aside(request, registry.definition, heavy)
    metadata = metadata_of(checked.obj)
    match_namespace(metadata, namespace)
    check_name(metadata, name)
    if repeated := drop_repeated_owners(metadata):
        warn(repeated)
    uid = metadata.get("uid")
    body = orjson.dumps(checked.obj)
    track = tracker(request, registry, "UpdateOptions", subresource)

    def replace(old: Object) -> Object:
        if uid and uid != old["metadata"]["uid"]:
            raise uid_conflict(registry.resource, name, uid, old["metadata"]["uid"])
        return orjson.loads(body)  # type: ignore[no-any-return]

    async def update() -> bytes:
        return await registry.update(
            namespace,
            name,
            replace,
            request.user,
            subresource=subresource,
            dry_run=dry_run,
            track=track,
            options=write_options(request, "UpdateOptions"),
            heavy=heavy,
            replaces=True,
        )

    async def create() -> bytes:
        if uid:
            raise uid_conflict(registry.resource, name, uid, "")
        obj = orjson.loads(body)
        obj["metadata"].pop("resourceVersion", None)  # which upstream does not look at either
        return await registry.create(
            obj,
            namespace,
            request.user,
            dry_run=dry_run,
            track=track,
            options=write_options(request, "CreateOptions"),
            heavy=heavy,
        )

    if subresource or not registry.definition.created_by_update:
        value, is_new = await update(), False
    else:
        value, is_new = await update_or_create(request, registry, namespace, name, update, create)
    return await show(request, registry, value, representation, 201 if is_new else 200, checked.warnings)


async def patch_object(
    request: Request, registry: ResourceRegistry, namespace: str, name: str, subresource: str = ""
) -> Response:
    """Answer a PATCH of an object, or of its status."""
    representation = negotiate_for(request, registry.definition)
    dry_run = is_dry_run(request, "PatchOptions")
    if media_type_of(request) == APPLY_PATCH:
        value, is_new = await apply_object(request, registry, namespace, name, subresource, dry_run=dry_run)
        return await show(request, registry, value, representation, 201 if is_new else 200)
    track = tracker(request, registry, "PatchOptions", subresource)
    if request.parameter("force"):
        cause = forbidden("force", "may not be specified for non-apply patch")
        raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
    strictness = strictness_of(request)
    schema = registry.definition.object_schema
    apply = read_patch(request, schema, is_custom=registry.definition.is_custom)
    is_json_patch = media_type_of(request) == JSON_PATCH
    strategic = request.body if media_type_of(request) == STRATEGIC_PATCH else b""
    warnings: tuple[str, ...] = ()

    def transform(old: Object) -> Object:
        nonlocal warnings
        version = old["metadata"]["resourceVersion"]
        if not is_json_patch:  # which could address them; who sends none keeps them
            old["metadata"].pop("managedFields", None)
        new = apply(old)
        if not isinstance(new, dict):
            raise BadRequest("the patch does not make an object")
        if not isinstance(new.get("metadata"), dict):
            new["metadata"] = {}
        note_reset(new["metadata"])
        stored = {} if registry.definition.is_custom else old  # whose schema may have changed since
        checked = check_patched(new, schema, strictness, strategic, stored)
        warnings = checked.warnings
        checked.obj["metadata"].setdefault("resourceVersion", version)
        return checked.obj

    value = await registry.update(
        namespace,
        name,
        transform,
        request.user,
        subresource=subresource,
        dry_run=dry_run,
        unconditional=True,
        track=track,
        options=write_options(request, "UpdateOptions"),
        heavy=is_heavy(request, registry.definition),
    )
    return await show(request, registry, value, representation, 200, warnings)


def read_patch(request: Request, schema: Schema, *, is_custom: bool) -> Callable[[Object], Any]:
    """Return the function that applies the request's patch; raise UnsupportedMediaType, BadRequest."""
    media_type = media_type_of(request)
    if media_type == MERGE_PATCH:
        merge = parse_json(request.body, "")
        return lambda old: apply_merge_patch(old, merge)
    if is_custom and media_type != JSON_PATCH:
        accepted = ", ".join((JSON_PATCH, MERGE_PATCH, APPLY_PATCH))
        raise UnsupportedMediaType(
            f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )
    if media_type == STRATEGIC_PATCH:
        strategic = parse_json(request.body, "")
        return lambda old: apply_strategic_merge(old, strategic, schema)
    if media_type == JSON_PATCH:
        operations = parse_json(request.body, "")

        def apply(old: Object) -> Any:
            try:
                return apply_json_patch(old, operations)
            except Invalid:
                raise generic(
                    Invalid("the server rejected our request due to an error in our request")
                ) from None

        return apply
    raise generic(UnsupportedMediaType("415: Unsupported Media Type"))


async def delete_object(request: Request, registry: ResourceRegistry, namespace: str, name: str) -> Response:
    """Answer a DELETE of one object: the object while it is still there, else what upstream answers."""
    representation = negotiate_for(request, registry.definition)
    options = read_delete_options(request)
    value, gone = await registry.delete(namespace, name, options, request.user)
    if not gone or registry.definition.returns_deleted:
        return await show(request, registry, value, representation, 200)
    resource = registry.resource
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    details["uid"] = (await decoded(value))["metadata"]["uid"]
    if not resource.group:
        del details["group"]
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return answer(orjson.dumps(status), _unshaped(representation))


async def delete_collection(request: Request, registry: ResourceRegistry, namespace: str) -> Response:
    """Answer a DELETE of a collection: each object that the selectors pick, and the list of them."""
    representation = negotiate_for(request, registry.definition)
    delete_options = read_delete_options(request)
    options = await read_options_aside(request, registry.definition)
    found = await find_page(registry, namespace, options)
    items: list[bytes] = []
    pace = Pace()
    for part in value_slices(found.entries):  # writes that are under way together become durable together
        one_by_one = (_delete_one(registry, entry, delete_options, request.user) for entry in part)
        answers = await asyncio.gather(*one_by_one, return_exceptions=True)
        for shown in answers:
            if isinstance(shown, BaseException):
                raise shown
            items += [shown] if shown else []
        await pace.give_way()
    resource = registry.resource
    body = {
        "kind": registry.definition.kind_of_list,
        "apiVersion": resource.api_version,
        "metadata": {"resourceVersion": str(registry.store.revision)},
    }
    pieces = (orjson.dumps(body)[:-1], b',"items":[', b",".join(items), b"]}")
    return await answer_aside(pieces, _unshaped(representation))


async def _delete_one(
    registry: ResourceRegistry, entry: Entry, options: DeleteOptions, user: User | None
) -> bytes:
    """Delete an object of a collection; return how it is shown in a list, b"" where it was gone already."""
    namespace, _, name = entry.key.removeprefix(registry.prefix).rpartition("/")
    try:
        value, _ = await registry.delete(namespace, name, options, user)
    except NotFound:
        return b""
    return item_of(registry, value)


def read_delete_options(request: Request) -> DeleteOptions:
    """Return the DeleteOptions of the body or the query."""
    body = read_auxiliary(request, "DeleteOptions") if request.body else {}
    return read_options(body, request.query)


def is_dry_run(request: Request, kind: str) -> bool:
    """Tell whether nothing is to be stored; raise Invalid for anything but All."""
    values = request.query.get("dryRun")
    if not values:
        return False
    wrong = [v for v in values if v != "All"]
    if wrong:
        raise invalid(kind, "meta.k8s.io", "", [not_supported("dryRun", wrong[0], ("All",))])
    return True


def _unshaped(representation: Representation) -> Representation:
    """A Status or a list made for the answer has no Table."""
    return Representation(representation.media_type)
