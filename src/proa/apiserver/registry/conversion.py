"""Let one resource be stored in one version and served in several, in the same group or another.

Upstream's registries work on a form of the object that no client sees, the hub: the internal version of a built-in
kind, the request's own version of a custom one (apiextensions-apiserver/pkg/apiserver/customresource_handler.go,
HubGroupVersion). Here the hub of a built-in kind is the stored version. A registry whose definition has a
`Conversion` brings stored objects to the hub, decides there, and shows the result in its own version; a registry
without one hands on stored bytes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Literal

from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import Resource

if TYPE_CHECKING:
    from proa.apiserver.registry.definition import ResourceDefinition

Convert = Callable[[list[Object], Resource], list[Object] | Awaitable[list[Object]]]
"""Returns the objects, in order, in the version of a resource, their `kind` and `apiVersion` too.

The objects are of any version but that one, private copies that it may change and return; it changes no metadata but
labels and annotations. One that must wait (a webhook) returns an awaitable; it raises ApiError when it cannot.
"""


@dataclass(frozen=True, slots=True)
class Conversion:
    """How a resource's versions relate. `hub` says of which version the objects are that the definition's rules see.

    With the hub "stored", the definition's `prepare_*`, `validate*`, `allocate`, `release`, `cells` and
    `field_selectors` get objects as they are stored, and admission sees the stored version's definition; `default`
    and `scale_paths` are of the served version, and the stored version's `default` is run too. With the hub "served",
    all of them are of the definition's own version.
    The stored version has a Conversion of its own, to itself, where the store may hold objects of other versions:
    those that were written before the stored version was another.
    """

    stored_as: Resource
    convert: Convert
    hub: Literal["stored", "served"] = "stored"
    stale_until: int = 0
    """Objects stored at this revision or before may not be as the schema has them now: `renew` makes them so."""
    renew: Callable[[Object], None] | None = None


def make_conversion(
    stored_as: Resource,
    served_as: Resource,
    to_stored: Callable[[Object], Object],
    to_served: Callable[[Object], Object],
) -> Conversion:
    """Return the conversion of a built-in kind by two functions that each change or return one object.

    They need not set `kind` and `apiVersion`.
    """

    def convert(objects: list[Object], to: Resource) -> list[Object]:
        change = to_stored if to == stored_as else to_served
        target = stored_as if to == stored_as else served_as
        made = [change(obj) for obj in objects]
        for obj in made:
            obj["kind"], obj["apiVersion"] = target.kind, target.api_version
        return made

    return Conversion(stored_as, convert)


async def converted(convert: Convert, objects: Sequence[Object], to: Resource) -> list[Object]:
    """Return objects of any versions in the version of `to`; those that are of it are returned as they are."""
    made = list(objects)
    foreign = [index for index, obj in enumerate(made) if obj.get("apiVersion") != to.api_version]
    if not foreign:
        return made
    waiting = convert([made[index] for index in foreign], to)
    found = waiting if isinstance(waiting, list) else await waiting
    for index, obj in zip(foreign, found, strict=True):
        made[index] = obj
    return made


def renew_stale(conversion: Conversion, objects: Sequence[Object], to: Resource) -> None:
    """Bring those objects of the version of `to` up to date, in place, that were stored before its schema changed."""
    if conversion.renew is None:
        return
    for obj in objects:
        said = str(obj["metadata"].get("resourceVersion") or "")
        if obj.get("apiVersion") == to.api_version and said.isdigit() and int(said) <= conversion.stale_until:
            conversion.renew(obj)


_REVISION = re.compile(rb'"resourceVersion":"([0-9]+)"')


def revision_in(value: bytes) -> int:
    """Return the revision that stored bytes say of themselves; 0 where none is found."""
    found = _REVISION.search(value)
    return int(found[1]) if found else 0


def stored_resource(definition: ResourceDefinition) -> Resource:
    """Return the resource under which a definition's objects are stored."""
    conversion = definition.conversion
    return definition.resource if conversion is None else conversion.stored_as
