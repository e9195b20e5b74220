"""Find the resource of a kind that an object names (a scale target, an owner, a described object): a RESTMapper.

Only the group version that is named is asked for, and the other versions of its group where that does not have the
kind; what was found is asked for again after a while. Follows apimachinery/pkg/api/meta/restmapper.go and client-go's
restmapper/discovery.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from proa.client.protocol import Client, Object
from proa.objects.errors import NotFound
from proa.objects.resource import Resource

REMEMBER_SECONDS = 30.0


class UnknownKind(Exception):
    """The server has no such kind."""


class Kind(NamedTuple):
    """What a server calls objects of a kind, and whether they can be scaled."""

    resource: Resource
    has_scale: bool


class Kinds:
    """The kinds that were asked for lately. `now` returns seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._known: dict[tuple[str, str], tuple[Kind, float]] = {}

    async def find(self, client: Client, api_version: str, kind: str) -> Kind:
        """Return the kind in that version, else in the one that the server prefers; raise UnknownKind."""
        now = self._now()
        self._known = {key: entry for key, entry in self._known.items() if entry[1] > now}
        if (known := self._known.get((api_version, kind))) is not None:
            return known[0]
        found = await _in_version(client, api_version, kind) or await _in_group(client, api_version, kind)
        if found is None:
            raise UnknownKind(f'no matches for kind "{kind}" in version "{api_version}"')
        self._known[api_version, kind] = found, now + REMEMBER_SECONDS
        return found


async def _in_group(client: Client, api_version: str, kind: str) -> Kind | None:
    group = api_version.rpartition("/")[0]
    if not group:
        return None
    document = await _read(client, f"/apis/{group}")
    versions = [entry["groupVersion"] for entry in document.get("versions") or ()]
    for other in versions:
        if other != api_version and (found := await _in_version(client, other, kind)) is not None:
            return found
    return None


async def _in_version(client: Client, api_version: str, kind: str) -> Kind | None:
    group, _, version = api_version.rpartition("/")
    document = await _read(client, f"/apis/{api_version}" if group else f"/api/{version}")
    served = document.get("resources") or []
    names = {entry["name"] for entry in served}
    for entry in served:
        if entry["kind"] == kind and "/" not in entry["name"]:
            plural, namespaced = entry["name"], bool(entry.get("namespaced"))
            return Kind(Resource(group, version, plural, kind, namespaced), f"{plural}/scale" in names)
    return None


async def _read(client: Client, path: str) -> Object:
    try:
        return await client.request("GET", path)
    except NotFound:
        return {}
