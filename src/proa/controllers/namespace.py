"""Empty a namespace that is being deleted, then take away its `kubernetes` finalizer, so that it goes.

Pods go first, so that nothing runs on while what it needs disappears. What is in the way is told in the
namespace's conditions. Watches namespaces, and pods and claims, whose going is what the rest waits for.
Follows upstream's pkg/controller/namespace/deletion/namespaced_resources_deleter.go and KEP-5080.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.errors import ApiError, Conflict, MethodNotAllowed, NotFound
from proa.objects.meta import finalizers, is_deleting, name, namespace, uid, with_condition
from proa.objects.pods import is_terminated
from proa.objects.resource import NAMESPACES, PERSISTENT_VOLUME_CLAIMS, PODS, Resource
from proa.reconcile.discovery import Discovered, ServedResource, discover
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "namespace"
FINALIZER = "kubernetes"
LOOK_AGAIN_SECONDS = 0.05, 2.0
"""Kinds that are not watched here are looked at again while any of them remain: the sooner the less time has passed."""


def _terminating_namespace(obj: Object, caches: Caches) -> Iterable[Key]:
    found = caches(NAMESPACES).get(namespace(obj))
    return (Key("", namespace(obj)),) if found is not None and is_deleting(found) else ()


WATCHES = (
    Watch(NAMESPACES),
    Watch(PODS, find_keys=_terminating_namespace),
    Watch(PERSISTENT_VOLUME_CLAIMS, find_keys=_terminating_namespace),
)


class Remains(NamedTuple):
    """What a sweep found: how many of each resource and finalizer are left, and what went wrong."""

    resources: Mapping[Resource, int] = MappingProxyType({})
    finalizers: Mapping[str, int] = MappingProxyType({})
    errors: Sequence[str] = ()
    undiscovered: Mapping[str, str] = MappingProxyType({})

    @property
    def is_empty(self) -> bool:
        """Return whether the namespace is known to hold nothing."""
        return not (self.resources or self.errors or self.undiscovered)


class Plan(NamedTuple):
    """The conditions to write, and whether the finalizer may go."""

    conditions: list[Object]
    finalize: bool


_FINE = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": ("ContentRemoved", "All content successfully removed"),
}


def plan(existing: Object, remains: Remains, now: float) -> Plan:
    """Decide what to say of the sweep, and whether the namespace is done with."""
    troubles = dict(_troubles(remains))
    conditions = (existing.get("status") or {}).get("conditions") or []
    for type, fine in _FINE.items():
        status = "True" if type in troubles else "False"
        reason, message = troubles.get(type, fine)
        conditions = with_condition(conditions, type, status, reason, message, now)
    return Plan(conditions=conditions, finalize=remains.is_empty)


def _troubles(remains: Remains) -> Iterable[tuple[str, tuple[str, str]]]:
    if remains.undiscovered:
        failed = ", ".join(f"{version}: {why}" for version, why in sorted(remains.undiscovered.items()))
        message = (
            f"Discovery failed for some groups, {len(remains.undiscovered)} failing: "
            f"unable to retrieve the complete list of server APIs: {failed}"
        )
        yield "NamespaceDeletionDiscoveryFailure", ("DiscoveryFailed", message)
    if remains.errors:
        texts = ", ".join(sorted(remains.errors))
        message = f"Failed to delete all resource types, {len(remains.errors)} remaining: {texts}"
        yield "NamespaceDeletionContentFailure", ("ContentDeletionFailed", message)
    if remains.resources:
        texts = ", ".join(
            sorted(f"{r.plural}.{r.group} has {n} resource instances" for r, n in remains.resources.items())
        )
        yield "NamespaceContentRemaining", ("SomeResourcesRemain", f"Some resources are remaining: {texts}")
    if remains.finalizers:
        texts = ", ".join(sorted(f"{f} in {n} resource instances" for f, n in remains.finalizers.items()))
        yield (
            "NamespaceFinalizersRemaining",
            ("SomeFinalizerRemain", f"Some finalizers are remaining: {texts}"),
        )


async def reconcile(context: Context, key: Key) -> Result:
    """Sweep the namespace `key.name` if it is going; finalize it once it is empty."""
    existing = context.caches(NAMESPACES).get(key.name)
    if existing is None or not is_deleting(existing):
        return DONE
    if FINALIZER not in (existing["spec"].get("finalizers") or []):
        return DONE
    now = context.now()
    seconds = now - meta.parse_time(existing["metadata"]["deletionTimestamp"])
    pods_take_time = _pods_take_longer_than(seconds, context.caches(PODS).by_index("namespace", key.name))
    remains = await _sweep(context.client, key.name, pods_take_time=pods_take_time)
    decided = plan(existing, remains, now)
    try:
        if decided.finalize:
            await _finalize(context.client, existing)
            return DONE
        await _write_conditions(context.client, existing, decided.conditions)
    except NotFound:
        return DONE
    soonest, latest = LOOK_AGAIN_SECONDS
    return Result(requeue_after=min(max(soonest, seconds / 10), latest))


def _pods_take_longer_than(seconds: float, pods: Iterable[Object]) -> bool:
    """Tell whether the pods were given more time than that (upstream's estimateGracefulTerminationForPods)."""
    graces = (p["spec"].get("terminationGracePeriodSeconds") or 0 for p in pods if not is_terminated(p))
    return seconds < max(graces, default=0)


async def _sweep(client: Client, space: str, *, pods_take_time: bool) -> Remains:
    """Delete everything in the namespace, pods first; return what is left."""
    discovered = await discover(client)
    sweepable = [
        served
        for served in discovered.served
        if served.resource.namespaced and served.verbs >= {"delete", "list"}
    ]
    pods = [served for served in sweepable if served.resource == PODS]
    remains = await _sweep_all(client, space, pods, discovered, may_take_time=pods_take_time)
    if remains.resources or remains.errors:
        return remains
    return await _sweep_all(client, space, [s for s in sweepable if s.resource != PODS], discovered)


async def _sweep_all(
    client: Client,
    space: str,
    sweepable: Iterable[ServedResource],
    discovered: Discovered,
    *,
    may_take_time: bool = False,
) -> Remains:
    wanted = list(sweepable)
    answers = await asyncio.gather(*(_sweep_resource(client, space, served) for served in wanted))
    left: dict[Resource, int] = {}
    by_finalizer: Counter[str] = Counter()
    errors = []
    for served, answer in zip(wanted, answers, strict=True):
        if isinstance(answer, ApiError):
            errors.append(answer.message)
        elif answer:
            left[served.resource] = len(answer)
            holding = Counter(finalizer for obj in answer for finalizer in finalizers(obj))
            by_finalizer += holding
            if not holding and not may_take_time:
                errors.append(_unexpected(space, served.resource))
    return Remains(left, by_finalizer, errors, discovered.failed)


async def _sweep_resource(client: Client, space: str, served: ServedResource) -> list[Object] | ApiError:
    """Delete all objects of one resource; return those that take their time, or the refusal."""
    resource = served.resource
    try:
        found = (await client.list(resource, space, metadata_only=True)).items
        if all(is_deleting(obj) for obj in found):
            return found
        if "deletecollection" in served.verbs:
            await client.request("DELETE", resource.path(space) + "?propagationPolicy=Background")
        else:
            await asyncio.gather(*(_delete(client, resource, obj) for obj in found if not is_deleting(obj)))
        return (await client.list(resource, space, metadata_only=True)).items
    except (NotFound, MethodNotAllowed):  # the kind itself has gone since discovery
        return []
    except ApiError as error:
        return error


def _unexpected(space: str, resource: Resource) -> str:
    named = f"{resource.group}/{resource.version}, Resource={resource.plural}"
    return f"unexpected items still remain in namespace: {space} for gvr: {named}"


async def _delete(client: Client, resource: Resource, obj: Object) -> None:
    try:
        await client.delete(
            resource, name(obj), namespace(obj), uid=uid(obj), propagation_policy="Background"
        )
    except (NotFound, Conflict):
        return


async def _write_conditions(client: Client, existing: Object, conditions: list[Object]) -> None:
    status: dict[str, Any] = {
        **(existing.get("status") or {}),
        "phase": "Terminating",
        "conditions": conditions,
    }
    if status != existing.get("status"):
        await client.update(NAMESPACES, {**existing, "status": status}, subresource="status")


async def _finalize(client: Client, existing: Object) -> None:
    kept = [entry for entry in existing["spec"].get("finalizers") or [] if entry != FINALIZER]
    spec = {**existing["spec"], "finalizers": kept}
    await client.update(NAMESPACES, {**existing, "spec": spec}, subresource="finalize")
