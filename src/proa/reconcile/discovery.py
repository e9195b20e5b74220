"""Find out what an API server serves: each resource, in its preferred version, with its verbs.

For the components that act on every kind (namespace deletion, garbage collection). Follows client-go's
discovery/discovery_client.go (ServerPreferredResources).
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from proa.client.protocol import Client, Object
from proa.objects.errors import ApiError, NotFound
from proa.objects.resource import Resource


class ServedResource(NamedTuple):
    """A resource and the verbs it offers."""

    resource: Resource
    verbs: frozenset[str]


class Discovered(NamedTuple):
    """What was found, and the group versions that did not answer, with the reason each."""

    served: tuple[ServedResource, ...]
    failed: dict[str, str]


async def discover(client: Client) -> Discovered:
    """Ask the server for all resources (no subresources), one version of each."""
    groups = (await client.request("GET", "/apis")).get("groups") or []
    wanted = ["v1", *(version for group in groups for version in _versions(group))]
    answers = await asyncio.gather(*(resources_of(client, version) for version in wanted))
    served: dict[tuple[str, str], ServedResource] = {}
    failed: dict[str, str] = {}
    for group_version, answer in zip(wanted, answers, strict=True):
        if isinstance(answer, str):
            failed[group_version] = answer
            continue
        for found in answer:
            served.setdefault((found.resource.group, found.resource.plural), found)
    return Discovered(tuple(served.values()), failed)


def _versions(group: Object) -> list[str]:
    """Return the group's versions, the preferred one first."""
    preferred = (group.get("preferredVersion") or {}).get("groupVersion", "")
    versions = [version["groupVersion"] for version in group.get("versions") or []]
    return sorted(versions, key=lambda version: version != preferred)


async def resources_of(client: Client, group_version: str) -> list[ServedResource] | str:
    """Return what one group version has, nothing where it is not served; why it does not answer where it does not."""
    group, _, version = group_version.rpartition("/")
    path = f"/apis/{group_version}" if group else f"/api/{group_version}"
    try:
        answer = await client.request("GET", path)
    except NotFound:  # the group went away since /apis was read
        return []
    except ApiError as error:
        return error.message
    return [
        ServedResource(
            Resource(group, version, entry["name"], entry["kind"], entry.get("namespaced", False)),
            frozenset(entry.get("verbs") or ()),
        )
        for entry in answer.get("resources") or []
        if "/" not in entry["name"]
    ]
