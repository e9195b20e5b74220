"""Delete the objects of a definition that goes, then let it go; give names to definitions when others free them.

Watches definitions. What a new definition is called is settled when it is written (the API server does that); here it
is seen to when the names that were in its way become free. Follows apiextensions-apiserver/pkg/controller/finalizer and
pkg/controller/status/naming_controller.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from proa.client.protocol import Client, Object
from proa.objects.errors import ApiError, Conflict, MethodNotAllowed, NotFound
from proa.objects.meta import finalizers, has_condition, is_deleting, name
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS, Resource
from proa.objects.structural.names import Condition, accepted, with_conditions
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "customresourcedefinition"
ACCOUNT = "custom-resource-definition-controller"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
LOOK_AGAIN_SECONDS = 1.0
"""Objects with finalizers of their own are looked at again after so long."""


def _concerned(obj: Object, caches: Caches) -> Iterable[Key]:
    """A definition concerns itself, and those of its group that wait for names."""
    yield Key("", name(obj))
    for other in caches(CUSTOM_RESOURCE_DEFINITIONS).list():
        if other["spec"].get("group") == obj["spec"].get("group") and not has_condition(
            other, "NamesAccepted"
        ):
            yield Key("", name(other))


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
    if has_condition(definition, "NamesAccepted") and wanted == status.get("acceptedNames"):
        return
    others = [
        (other.get("status") or {}).get("acceptedNames") or {}
        for other in context.caches(CUSTOM_RESOURCE_DEFINITIONS).list()
        if other["spec"].get("group") == definition["spec"].get("group") and name(other) != name(definition)
    ]
    names, conditions = accepted(wanted, status, others)
    await _write_status(context, definition, conditions, acceptedNames=names)


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
    resource = _served(definition)
    if resource is None:
        return 0
    try:
        found = (await client.list(resource)).items
        spaces = {obj["metadata"].get("namespace") for obj in found if not is_deleting(obj)}
        paths = [resource.path(space) for space in sorted(spaces, key=str)]
        await asyncio.gather(*(client.request("DELETE", path) for path in paths))
        return len((await client.list(resource)).items) if found else 0
    except (NotFound, MethodNotAllowed):  # it is not served any more
        return 0


def _served(definition: Object) -> Resource | None:
    """Return the definition's resource in a version that is served."""
    spec = definition["spec"]
    names = (definition.get("status") or {}).get("acceptedNames") or {}
    for version in spec["versions"]:
        if version.get("served"):
            return Resource(
                spec["group"], version["name"], names["plural"], names["kind"], spec["scope"] == "Namespaced"
            )
    return None


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
