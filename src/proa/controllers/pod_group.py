"""Say of each PodGroup how far its pods are: Pending, Scheduling, Running, Finished or Failed.

Makes the kind, where it is missing, once the cluster is ready; watches PodGroups and the pods that name one; writes
their status. Whether a group's pods run at all is decided by the
scheduler (scheduler/gangs.py). Follows kubernetes-sigs/scheduler-plugins, pkg/controllers/podgroup_controller.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from proa.client.protocol import Object
from proa.objects import meta, pods
from proa.objects.errors import AlreadyExists, Conflict, NotFound
from proa.objects.pod_groups import LABEL, POD_GROUPS, group_of, make_definition, min_member
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS, PODS
from proa.reconcile.informer import Informer
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch
from proa.reconcile.reflector import Scope

FINAL = ("Finished", "Failed")


def _group_key(pod: Object) -> Iterable[Key]:
    group = group_of(pod)
    return (Key(*group),) if group else ()


def _is_same_phase(old: Object, new: Object) -> bool:
    return pods.phase(old) == pods.phase(new) and group_of(old) == group_of(new)


def plan(group: Object, members: Sequence[Object]) -> Object | None:
    """Return the status that the group should have, None where it has it; one that has ended stays as it is."""
    status = group.get("status") or {}
    if status.get("phase") in FINAL or meta.is_deleting(group):
        return None
    wanted = min_member(group)
    counts = {
        name: sum(pods.phase(pod) == phase for pod in members)
        for name, phase in (("running", "Running"), ("succeeded", "Succeeded"), ("failed", "Failed"))
    }
    running, succeeded, failed = counts.values()
    if len(members) < max(wanted, 1):
        phase = "Pending"
    elif succeeded >= wanted:
        phase = "Finished"
    elif failed and failed + running + succeeded >= wanted:
        phase = "Failed"
    else:
        phase = "Running" if succeeded + running >= wanted else "Scheduling"
    found = {
        **status,
        "phase": phase,
        **{name: count for name, count in counts.items() if count or name in status},
    }
    if phase != "Pending" and not status.get("occupiedBy") and (owners := _owners(members[0])):
        found["occupiedBy"] = owners
    return None if found == status else found


def _owners(pod: Object) -> str:
    """Return what a pod belongs to, as namespace/name."""
    return ",".join(sorted(f"{meta.namespace(pod)}/{owner['name']}" for owner in meta.owner_references(pod)))


class PodGroupController:
    """Has the cache of the kind that it makes."""

    NAME = "pod-group"
    WATCHES = (Watch(PODS, keys_of=_group_key, ignores=_is_same_phase),)

    def __init__(self) -> None:
        self._groups: Informer | None = None

    async def run(self, context: Context, enqueue: Callable[[Key], None]) -> None:
        """Make the kind and follow its objects until cancelled."""
        body = {
            "apiVersion": CUSTOM_RESOURCE_DEFINITIONS.api_version,
            "kind": CUSTOM_RESOURCE_DEFINITIONS.kind,
        }
        with suppress(AlreadyExists):
            await context.client.create(CUSTOM_RESOURCE_DEFINITIONS, {**body, **make_definition()})
        self._groups = Informer(context.client, Scope(POD_GROUPS))

        def listen(old: Object | None, new: Object | None) -> None:
            if new is not None:
                enqueue(Key(meta.namespace(new), meta.name(new)))

        self._groups.listen(listen)
        await self._groups.run()

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Write the status where it is another."""
        group = self._groups.get(key.name, key.namespace) if self._groups is not None else None
        if group is None:
            return DONE
        found = context.caches(PODS).by_index("label", f"{LABEL}={key.name}")
        members = [pod for pod in found if meta.namespace(pod) == key.namespace]
        status = plan(group, members)
        if status is not None:
            try:
                await context.client.update(POD_GROUPS, {**group, "status": status}, "status")
            except (Conflict, NotFound):
                return DONE  # the change that it lost against brings it here again
        return DONE
