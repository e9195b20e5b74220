"""Ask how many pods the controllers of some pods shall run together, by their scale subresource where need be.

Follows upstream's pkg/controller/disruption/disruption.go (getExpectedScale and the finders).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import ApiError, NotFound
from proa.objects.resource import (
    DEPLOYMENTS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    Resource,
)
from proa.reconcile.kinds import Kinds, UnknownKind
from proa.reconcile.protocol import Context

Scale = tuple[str, int]
"""The uid of a controller, and how many pods it shall run."""


class UnknownScale(Exception):
    """The number of pods cannot be found out; the message says why, in upstream's words."""


class Expected(NamedTuple):
    """The sum over all controllers, and the names of pods that have none."""

    pods: int
    unmanaged: tuple[str, ...]


class ScaleFinder:
    """Finds scales of any kind."""

    def __init__(self) -> None:
        self._kinds = Kinds(time.monotonic)

    async def expected_pods(self, context: Context, pods: Iterable[Object]) -> Expected:
        """Add up the scales of all controllers of the pods; raise UnknownScale, ApiError."""
        scales: dict[str, int] = {}
        unmanaged = []
        for pod in pods:
            reference = meta.controller_of(pod)
            if reference is None:
                unmanaged.append(meta.name(pod))
            elif reference["uid"] not in scales:
                found = find_built_in(context, reference, meta.namespace(pod))
                found = found or await self._find_scale(context, reference, meta.namespace(pod))
                if found is None:
                    raise UnknownScale(f'found no controllers for pod "{meta.name(pod)}"')
                scales[found[0]] = found[1]
        return Expected(sum(scales.values()), tuple(unmanaged))

    async def _find_scale(self, context: Context, reference: Object, namespace: str) -> Scale | None:
        try:
            resource, has_scale = await self._kinds.find(
                context.client, reference["apiVersion"], reference["kind"]
            )
        except UnknownKind as error:
            raise UnknownScale(str(error)) from None
        try:
            scale = await context.client.request("GET", resource.path(namespace, reference["name"], "scale"))
        except NotFound:
            if not has_scale:
                why = f"{resource.qualified_name} does not implement the scale subresource"
                raise UnknownScale(why) from None
            return None
        if meta.uid(scale) != reference["uid"]:
            return None
        return meta.uid(scale), (scale.get("spec") or {}).get("replicas", 0)


def find_built_in(context: Context, reference: Object, namespace: str) -> Scale | None:
    """Return the scale of a controller of a built-in kind; that of a ReplicaSet's Deployment where it has one."""
    if _is(reference, "ReplicationController", ""):
        return _scale_of(_find(context, REPLICATION_CONTROLLERS, reference, namespace))
    if _is(reference, "StatefulSet", "apps"):
        return _scale_of(_find(context, STATEFUL_SETS, reference, namespace))
    if not _is(reference, "ReplicaSet", "apps", "extensions"):
        return None
    replica_set = _find(context, REPLICA_SETS, reference, namespace)
    owner = meta.controller_of(replica_set) if replica_set is not None else None
    if owner is None or owner.get("kind") != "Deployment":
        return _scale_of(replica_set)
    if not _is(owner, "Deployment", "apps", "extensions"):
        return None
    return _scale_of(_find(context, DEPLOYMENTS, owner, namespace))


def _is(reference: Object, kind: str, *groups: str) -> bool:
    return reference["kind"] == kind and reference["apiVersion"].rpartition("/")[0] in groups


def _find(context: Context, resource: Resource, reference: Object, namespace: str) -> Object | None:
    found = context.caches(resource).get(reference["name"], namespace)
    return found if found is not None and meta.uid(found) == reference["uid"] else None


def _scale_of(controller: Object | None) -> Scale | None:
    if controller is None:
        return None
    return meta.uid(controller), int(controller["spec"].get("replicas", 1))


def why_unknown(error: Exception) -> str:
    """Return the message of what went wrong."""
    return error.message if isinstance(error, ApiError) else str(error)
