"""Show a request's object to those outside who may change it, and take what they make of it, checked and defaulted.

Webhooks and policies name the version in which they want to see objects. Whatever they change, the system's part of the
object stays: upstream's strategies wipe it after admission (registry/rest/create.go, update.go).
"""

from __future__ import annotations

import orjson

from proa.apiserver.admission.matching import Match
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.registry.refusals import internal
from proa.client.protocol import Object
from proa.objects.managed_fields.entries import accepted
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import Resource
from proa.objects.schemas.check import prune
from proa.objects.schemas.load import find_definition_name, schema_named
from proa.objects.schemas.schema import Schema

_SYSTEMS = (
    "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
    "deletionGracePeriodSeconds", "selfLink",
)  # fmt: skip
_KEPT_BY_STATUS = ("labels", "ownerReferences", "generateName", "name")


@dataclass(frozen=True, slots=True)
class Views:
    """The request's objects in one version."""

    obj: Object | None
    old: Object | None


async def view(attributes: Attributes, match: Match) -> Views:
    """Return the objects in the matched version; where that is the one that they are in, as they are."""
    if not _is_foreign(attributes, match):
        return Views(attributes.obj, attributes.old)
    to = match.resource
    return Views(
        await _convert(attributes.obj, to, attributes), await _convert(attributes.old, to, attributes)
    )


async def replace(attributes: Attributes, match: Match, shown: Object | None, new: Object) -> bool:
    """Let the request's object be `new`, a private copy of the matched kind; return whether that is another.

    `shown` is the object as `view` returned it, unchanged. Raises InternalError where `new` is no such object.
    """
    assert attributes.obj is not None
    _check_kind(match, new)
    definition, schema = _rules_of(attributes, match)
    if schema is not None:
        faults = prune(new, schema)
        if faults is not None and faults.undecodable:
            raise internal(faults.undecodable)
    if new == shown:
        return False
    if definition is not None:
        definition.default(new)
    if _is_foreign(attributes, match):
        (new,) = await attributes.catalog.convert([new], attributes.definition.resource)
    _keep_systems_part(attributes, attributes.obj, new)
    _become(attributes.obj, new)
    return True


def _check_kind(match: Match, new: Object) -> None:
    """Say the kind where `new` does not; raise InternalError where it says another than the matched one."""
    kind = match.kind
    said = new.get("kind") or kind.kind, new.get("apiVersion") or kind.api_version
    if said != (kind.kind, kind.api_version):
        other = f"{str(said[1]).rpartition('/')[2]}.{said[0]}"
        own = f"{kind.group.partition('.')[0] or 'core'}.{kind.kind}"
        raise internal(f"converting ({other}) to ({own}): unknown conversion")
    new["kind"], new["apiVersion"] = said


def _is_foreign(attributes: Attributes, match: Match) -> bool:
    """Tell whether the objects at hand are of another version than the matched one."""
    is_whole = match.kind.api_version == match.resource.api_version
    return is_whole and match.resource.api_version != attributes.definition.resource.api_version


async def _convert(obj: Object | None, to: Resource, attributes: Attributes) -> Object | None:
    if obj is None:
        return None
    (converted,) = await attributes.catalog.convert([orjson.loads(orjson.dumps(obj))], to)
    return converted


def _rules_of(attributes: Attributes, match: Match) -> tuple[ResourceDefinition | None, Schema | None]:
    """Return what defaults and describes objects of the matched kind, where that is known."""
    resource, kind = match.resource, match.kind
    if (kind.api_version, kind.kind) == (resource.api_version, resource.kind):
        definition = attributes.catalog.of(resource).definition
        return definition, definition.object_schema
    name = find_definition_name(kind.api_version, kind.kind)
    return None, None if name is None else schema_named(name)


def _keep_systems_part(attributes: Attributes, had: Object, new: Object) -> None:
    """Undo in `new` what nobody outside may change."""
    kept = _SYSTEMS if attributes.operation == "CREATE" else (*_SYSTEMS, "name")
    metadata, before = new.setdefault("metadata", {}), had.get("metadata") or {}
    _take(metadata, before, kept)
    if metadata.get("managedFields") != before.get("managedFields"):
        metadata["managedFields"] = accepted(metadata.get("managedFields"), before.get("managedFields") or [])
    if attributes.subresource == "status":
        _take(new["metadata"], had["metadata"], _KEPT_BY_STATUS)
        _take(new, had, tuple(key for key in {**new, **had} if key not in ("metadata", "status")))
    elif not attributes.subresource and any(s.name == "status" for s in attributes.definition.subresources):
        _take(new, had, ("status",))


def _take(new: Object, had: Object, keys: tuple[str, ...]) -> None:
    for key in keys:
        if key in had:
            new[key] = had[key]
        else:
            new.pop(key, None)


def _become(obj: Object, new: Object) -> None:
    """Fill an object, which others hold as they do its metadata, with another's content."""
    metadata = obj.get("metadata")
    obj.clear()
    obj.update(new)
    if isinstance(metadata, dict):
        made = new.get("metadata") or {}
        metadata.clear()
        metadata.update(made)
        obj["metadata"] = metadata
