"""Delete the objects of a definition that goes, then let it go; give names to definitions when others free them.

Watches definitions. What a new definition is called is settled when it is written (the API server does that); here it
is seen to when the names that were in its way become free. Follows apiextensions-apiserver/pkg/controller/finalizer and
pkg/controller/status/naming_controller.go. Where two were given one name at the same moment, the younger loses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from proa.client.protocol import Client, Object
from proa.objects.errors import ApiError, Conflict, MethodNotAllowed, NotFound
from proa.objects.meta import finalizers, has_condition, is_deleting, name
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS, Resource
from proa.objects.structural.names import Condition, accepted, collide, seniority, with_conditions
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "customresourcedefinition"
ACCOUNT = "custom-resource-definition-controller"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
LOOK_AGAIN_SECONDS = 1.0
"""Objects with finalizers of their own are looked at again after so long."""


def _concerned(obj: Object, caches: Caches) -> Iterable[Key]:
    """A definition concerns itself, and those of its group that wait for names or have one of its."""
    yield Key("", name(obj))
    for other in _others(caches, obj):
        if not has_condition(other, "NamesAccepted") or collide(_accepted(other), _accepted(obj)):
            yield Key("", name(other))


def _others(caches: Caches, definition: Object) -> list[Object]:
    """Return the group's other definitions."""
    group, own = definition["spec"].get("group"), name(definition)
    found = caches(CUSTOM_RESOURCE_DEFINITIONS).list()
    return [other for other in found if other["spec"].get("group") == group and name(other) != own]


def _accepted(definition: Object) -> Object:
    found: Object = (definition.get("status") or {}).get("acceptedNames") or {}
    return found


WATCHES = (Watch(CUSTOM_RESOURCE_DEFINITIONS, find_keys=_concerned),)


async def reconcile(context: Context, key: Key) -> Result:
    """Finalize the definition `key.name` if it is going, else see to its names."""
    found = context.caches(CUSTOM_RESOURCE_DEFINITIONS).get(key.name)
    if found is None:
        return DONE
    try:
        if is_deleting(found):
            return await _finalize(context, found) if FINALIZER in finalizers(found) else DONE
        await _settle_names(context, found)
    except (NotFound, Conflict):
        return DONE  # its own change wakes us
    return DONE


async def _settle_names(context: Context, definition: Object) -> None:
    status, wanted = definition.get("status") or {}, definition["spec"].get("names") or {}
    others = _others(context.caches, definition)
    if has_condition(definition, "NamesAccepted") and wanted == status.get("acceptedNames"):
        if not any(_gave_way(definition, other) for other in others):
            return
        status = {}  # as if it was new
    names, conditions = accepted(wanted, status, [_accepted(other) for other in others])
    await _write_status(context, definition, conditions, acceptedNames=names)


def _gave_way(definition: Object, other: Object) -> bool:
    """Tell whether both were given a name at the same moment, which the other keeps."""
    is_younger = seniority(other) < seniority(definition)
    return (
        is_younger
        and has_condition(other, "NamesAccepted")
        and collide(_accepted(definition), _accepted(other))
    )


async def _finalize(context: Context, definition: Object) -> Result:
    if not has_condition(definition, "Established"):
        condition = Condition("Terminating", "False", "NeverEstablished", "resource was never established")
        return await _let_go(context, definition, condition)
    said = Condition(
        "Terminating", "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"
    )
    try:
        remaining = await _delete_objects(context.client, definition)
    except ApiError as error:
        why = f"could not issue all deletes: {error.message}"
        failed = Condition("Terminating", "True", "InstanceDeletionFailed", why)
        await _write_status(context, definition, [failed])
        raise
    if remaining:
        await _write_status(context, definition, [said])
        return Result(requeue_after=LOOK_AGAIN_SECONDS)
    done = Condition("Terminating", "False", "InstanceDeletionCompleted", "removed all instances")
    return await _let_go(context, definition, done)


async def _let_go(context: Context, definition: Object, condition: Condition) -> Result:
    """Say how it ended, and take the finalizer away."""
    client = context.client
    written = await _write_status(context, definition, [condition]) or definition
    metadata = dict(written["metadata"])
    metadata["finalizers"] = [entry for entry in finalizers(written) if entry != FINALIZER]
    await client.update(CUSTOM_RESOURCE_DEFINITIONS, {**written, "metadata": metadata})
    return DONE


async def _delete_objects(client: Client, definition: Object) -> int:
    """Delete all objects; return how many take their time."""
    resource = _sweepable(definition)
    try:
        found = (await client.list(resource)).items
        spaces = {obj["metadata"].get("namespace") for obj in found if not is_deleting(obj)}
        paths = [resource.path(space) for space in sorted(spaces, key=str)]
        await asyncio.gather(*(client.request("DELETE", path) for path in paths))
        return len((await client.list(resource)).items) if found else 0
    except (NotFound, MethodNotAllowed):  # it is not served any more
        return 0


def _sweepable(definition: Object) -> Resource:
    """Return the definition's resource in the version that is stored, or where that is not served, in one that is."""
    spec, names = definition["spec"], _accepted(definition)
    stored = [version for version in spec["versions"] if version.get("storage")]
    served = [version for version in spec["versions"] if version.get("served")]
    version = next((version for version in stored if version in served), (served or stored)[0])
    return Resource(
        spec["group"], version["name"], names["plural"], names["kind"], spec["scope"] == "Namespaced"
    )


async def _write_status(
    context: Context, definition: Object, conditions: list[Condition], **changes: Any
) -> Object | None:
    """Write what is new in the status; return what was written."""
    had = definition.get("status") or {}
    status = {
        **had,
        **changes,
        "conditions": with_conditions(had.get("conditions"), conditions, context.now()),
    }
    if status == had:
        return None
    return await context.client.update(
        CUSTOM_RESOURCE_DEFINITIONS, {**definition, "status": status}, subresource="status"
    )
