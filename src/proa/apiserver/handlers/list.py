"""List a resource's objects at one revision, in pages where asked, by splicing stored bytes.

Follows apiserver/pkg/endpoints/handlers/get.go (ListResource) and apiserver/pkg/storage/continue.go. Items of
built-in kinds have neither kind nor apiVersion, those of custom kinds have both, as upstream's.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import orjson

from proa.apiserver.handlers.negotiation import Representation, answer_aside, negotiate_for
from proa.apiserver.handlers.options import ListOptions, Selection, read_options_aside
from proa.apiserver.handlers.shapes import Ages, cells_of, check_include, make_row, partial, rows, table
from proa.apiserver.handlers.sieve import Sieve
from proa.apiserver.pace import Pace, slices, value_slices
from proa.apiserver.registry.refusals import unnamed_failure
from proa.apiserver.registry.registry import ResourceRegistry
from proa.apiserver.registry.stored_bytes import metadata_bytes, without_managed_fields
from proa.apiserver.registry.summaries import Summaries
from proa.client.protocol import Object, Request, Response
from proa.objects.errors import ApiError, BadRequest, Cause, Expired, Timeout
from proa.objects.quick_dataclass import dataclass
from proa.store.protocol import Compacted, Entry, FutureRevision

SIFTED_OBJECTS = 500
"""So many are looked at, unread, before others have their turn."""
LIST_TOO_OLD = "The resourceVersion for the provided list is too old."
CONTINUE_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
_ROW = b'{"cells":[%b],"object":{"kind":"PartialObjectMetadata","apiVersion":"%b","metadata":%b}}'


@dataclass(frozen=True, slots=True)
class Found:
    """One page: its entries, the metadata of the list, and where decoding was needed, the decoded objects."""

    entries: Sequence[Entry]
    metadata: dict[str, Any]


async def list_objects(request: Request, registry: ResourceRegistry, namespace: str, now: float) -> Response:
    """Answer a list."""
    representation = negotiate_for(request, registry.definition)
    options = await read_options_aside(request, registry.definition)
    include = check_include(request.parameter("includeObject")) if representation.shape == "Table" else ""
    found = await find_page(registry, namespace, options)
    if representation.shape == "Table":
        return await answer_aside(await _table(registry, found, representation, include, now), representation)
    if representation.shape:
        return await answer_aside(await _partial(registry, found, representation), representation)
    return await answer_aside(await _splice(registry, found), representation)


async def find_page(registry: ResourceRegistry, namespace: str, options: ListOptions) -> Found:
    """Return the entries that the options pick; raise Expired, Timeout."""
    prefix = registry.scope(namespace)
    start_after, revision = _where(registry, prefix, options)
    try:
        entries, revision, remaining, last_key = await _collect(
            registry, prefix, start_after, revision, options
        )
    except Compacted:
        raise _expired(options, start_after, prefix) from None
    except FutureRevision as error:
        raise too_large(error.asked, error.current) from None
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if last_key:
        metadata["continue"] = _encode_token(revision, last_key.removeprefix(prefix))
        if options.selection.everything:
            metadata["remainingItemCount"] = remaining
    return Found(entries, metadata)


def _where(registry: ResourceRegistry, prefix: str, options: ListOptions) -> tuple[str, int]:
    """Return the key after which to start, and the revision to read at (0: the newest).

    As in apiserver/pkg/storage/interfaces.go (ValidateListOptions).
    """
    asked = options.revision
    if options.continue_token:
        revision, start = _decode_token(options.continue_token)
        if asked:
            raise BadRequest("specifying resource version is not allowed when using continue")
        return prefix + start, max(revision, 0)
    if not asked:
        return "", 0
    if options.match == "Exact" or (not options.match and options.limit):
        return "", asked
    if asked > registry.store.revision:
        raise too_large(asked, registry.store.revision)
    return "", 0


async def _collect(
    registry: ResourceRegistry, prefix: str, start_after: str, revision: int, options: ListOptions
) -> tuple[Sequence[Entry], int, int, str]:
    """Return (entries, their revision, how many follow, the last key when something follows)."""
    selection, limit = options.selection, options.limit
    if options.revision == 0 and not options.continue_token:
        limit = 0  # upstream's cache takes no limit then (storage/cacher, computeListLimit)
    name = selection.fields.required_value("metadata.name")
    if name is not None and (prefix != registry.prefix or not registry.resource.namespaced):
        page = registry.store.range(prefix + name, limit=1, revision=revision)  # at most the one of that name
        found = [entry for entry in page.entries if entry.key == prefix + name]
        return await _picked(registry, selection, found), page.revision, 0, ""
    ending = "" if name is None else f"/{name}"
    if selection.everything or not limit:
        page = registry.store.range(
            prefix, start_after=start_after, limit=limit, revision=revision, ending=ending
        )
        entries = page.entries
        if not selection.everything:
            entries = await _picked(registry, selection, entries)
        last_key = page.entries[-1].key if page.remaining and page.entries else ""
        return entries, page.revision, page.remaining, last_key
    found = []
    while True:
        page = registry.store.range(
            prefix, start_after=start_after, limit=max(limit, 100), revision=revision, ending=ending
        )
        revision = page.revision
        picked = await _picked(registry, selection, page.entries)
        if len(found) + len(picked) >= limit:
            found += picked[: limit - len(found)]
            last_key = found[-1].key
            follows = page.remaining or last_key != page.entries[-1].key
            return found, revision, page.remaining, last_key if follows else ""
        found += picked
        if not page.remaining:
            return found, revision, 0, ""
        start_after = page.entries[-1].key


async def _picked(registry: ResourceRegistry, selection: Selection, entries: Sequence[Entry]) -> list[Entry]:
    converts = registry.conversion is not None and selection.knows_kind
    pace = Pace()
    picked: list[Entry] = []
    sieve = Sieve(selection)
    for every in slices(entries, SIFTED_OBJECTS):
        for part in value_slices(entry for entry in every if sieve.passes(entry.value)):
            objects = [orjson.loads(entry.value) for entry in part]
            if converts:
                objects = await registry.hub(objects)
            picked += [e for e, obj in zip(part, objects, strict=True) if selection.matches(obj)]
            await pace.give_way()
        await pace.give_way()
    return picked


async def _splice(registry: ResourceRegistry, found: Found) -> list[bytes]:
    """Return the body in pieces: stored bytes, for built-in kinds without the kind that each begins with."""
    resource = registry.resource
    is_custom = registry.definition.is_custom  # whose lists are maps upstream, with all that a map is given
    head = {
        "kind": registry.definition.kind_of_list,
        "apiVersion": resource.api_version,
        "metadata": {"continue": "", **found.metadata} if is_custom else found.metadata,
    }
    pieces = [orjson.dumps(head)[:-1] + b',"items":[']
    skip, expected = len(registry.head), registry.head
    pace = Pace()
    opening = b"{"
    for part in slices(found.entries):
        values = [e.value for e in part]
        if registry.conversion is not None:
            values = await registry.versions.served_values(values)
        if is_custom:
            items = [v[1:] for v in values]
        else:
            items = [v[skip:] if v.startswith(expected) else _without_kind(v)[1:] for v in values]
        pieces.append(opening + b",{".join(items))
        opening = b",{"
        await pace.give_way()
    pieces.append(b"]}")
    return pieces


def item_of(registry: ResourceRegistry, value: bytes) -> bytes:
    """Return an object's bytes as a list shows it: without its kind, unless that is a custom one."""
    if registry.definition.is_custom:
        return value
    head = registry.head
    return b"{" + value[len(head) :] if value.startswith(head) else _without_kind(value)


def _without_kind(value: bytes) -> bytes:
    obj = orjson.loads(value)
    obj.pop("kind", None)
    obj.pop("apiVersion", None)
    return orjson.dumps(obj)


async def _table(
    registry: ResourceRegistry, found: Found, representation: Representation, include: str, now: float
) -> list[bytes]:
    """Return a Table in pieces."""
    definition = registry.definition
    pieces = [orjson.dumps(table(definition, (), found.metadata, representation, include, now))[:-2]]
    pace = Pace()
    ages = Ages(now)
    is_stored = registry.conversion is None and include != "Object"
    for part in value_slices(found.entries):
        if is_stored and registry.summaries is not None:
            made = _kept_rows(registry.summaries, part, representation, include, ages)
        else:
            if is_stored:
                table_rows = _spliced_rows(registry, part, representation, include, now)
            else:
                shown = objects = [orjson.loads(entry.value) for entry in part]
                if registry.conversion is not None:
                    if include == "Object":
                        shown = await registry.served([orjson.loads(entry.value) for entry in part])
                    objects = await registry.hub(objects)
                table_rows = rows(definition, objects, shown, representation, include, now)
            made = orjson.dumps(table_rows)[1:-1]
        pieces.append(b"," + made if len(pieces) > 1 else made)
        await pace.give_way()
    pieces.append(b"]}")
    return pieces


def _kept_rows(
    summaries: Summaries,
    entries: Sequence[Entry],
    representation: Representation,
    include: str,
    ages: Ages,
) -> bytes:
    """Return rows as JSON, of which nothing is made anew but how old things are."""
    version, say = representation.api_version.encode(), ages.say
    made = []
    for entry in entries:
        cells, metadata = summaries.row(entry, say)
        if include == "None":
            made.append(b'{"cells":[%b],"object":null}' % cells)
            continue
        if metadata is None:
            metadata = orjson.dumps(orjson.loads(entry.value)["metadata"])
        made.append(_ROW % (cells, version, metadata))
    return b",".join(made)


def _spliced_rows(
    registry: ResourceRegistry,
    entries: Sequence[Entry],
    representation: Representation,
    include: str,
    now: float,
) -> list[Object]:
    """Return rows whose metadata are bytes, of objects whose managedFields are not read."""
    definition = registry.definition
    made = []
    for entry in entries:
        cells = cells_of(definition, without_managed_fields(entry), now)
        obj = _with_metadata(entry, registry.head) if include == "Metadata" else {}
        made.append(make_row(cells, obj, representation, include))
    return made


def _with_metadata(entry: Entry, head: bytes) -> Object:
    """Return something that has the object's metadata, as bytes where they can be had so."""
    metadata = metadata_bytes(entry, head)
    return orjson.loads(entry.value) if metadata is None else {"metadata": orjson.Fragment(metadata)}


async def _partial(registry: ResourceRegistry, found: Found, representation: Representation) -> list[bytes]:
    """Return a PartialObjectMetadataList in pieces."""
    head = {
        "kind": "PartialObjectMetadataList",
        "apiVersion": representation.api_version,
        "metadata": found.metadata,
    }
    pieces = [orjson.dumps(head)[:-1] + b',"items":[']
    pace = Pace()
    for part in value_slices(found.entries):
        made = orjson.dumps([partial(_with_metadata(e, registry.head), representation) for e in part])[1:-1]
        pieces.append(b"," + made if len(pieces) > 1 else made)
        await pace.give_way()
    pieces.append(b"]}")
    return pieces


def _encode_token(revision: int, start: str) -> str:
    token = {"v": "meta.k8s.io/v1", "rv": revision, "start": start + "\0"}
    return base64.urlsafe_b64encode(orjson.dumps(token)).decode().rstrip("=")


def _decode_token(text: str) -> tuple[int, str]:
    """Return (revision, the key below the prefix after which to start); raise BadRequest."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        token = orjson.loads(raw)
    except orjson.JSONDecodeError:
        shown = raw[:1].decode("latin-1")
        raise _bad_token(f": invalid character '{shown}' looking for beginning of value") from None
    except ValueError as error:
        raise _bad_token(f": {error}") from None
    if not isinstance(token, dict):
        shown = {list: "array", str: "string", bool: "bool"}.get(type(token), "number")
        raise _bad_token(f": json: cannot unmarshal {shown} into Go value of type storage.continueToken")
    if token.get("v") != "meta.k8s.io/v1":
        raise _bad_token(f": server does not recognize this encoded version {token.get('v') or ''}")
    revision, start = token.get("rv"), token.get("start")
    if not isinstance(revision, int) or not revision:
        raise _bad_token(": incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    if not isinstance(start, str) or not start:
        raise _bad_token(": encoded start key empty (version meta.k8s.io/v1)")
    if any(part in ("", ".", "..") for part in start.removeprefix("/").split("/")):
        raise _bad_token(f": {start}")
    return revision, start.removeprefix("/").removesuffix("\0")


def _bad_token(why: str) -> BadRequest:
    return BadRequest(f"invalid continue token: continue key is not valid{why}")


def _expired(options: ListOptions, start_after: str, prefix: str) -> ApiError:
    if not options.continue_token:
        return Expired(LIST_TOO_OLD)
    error = Expired(CONTINUE_TOO_OLD)
    error.list_metadata = {"continue": _encode_token(-1, start_after.removeprefix(prefix))}
    return error


def check_freshness(asked: str, current: int) -> None:
    """Raise Timeout where a revision that one asks to be no older than has not happened yet, or is none."""
    if not asked.isascii() or not asked.isdigit():
        why = (
            f'resourceVersion: Invalid value: "{asked}": strconv.ParseUint: parsing "{asked}": invalid syntax'
        )
        raise unnamed_failure(why)
    if int(asked) > current:
        raise too_large(int(asked), current)


def too_large(asked: int, current: int) -> ApiError:
    """Say that a revision has not happened yet."""
    error = Timeout(
        f"Timeout: Too large resource version: {asked}, current: {current}", retry_after_seconds=1
    )
    cause = Cause("ResourceVersionTooLarge", "Too large resource version", "")
    error.details = {
        "causes": [{"reason": cause.reason, "message": cause.message}],
        "retryAfterSeconds": 1,
    }
    return error
