"""Bring nodes, pods and what else decides from informers to snapshot, queue and nominations.

Follows pkg/scheduler/eventhandlers.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proa.client.protocol import Object
from proa.objects import meta, pods
from proa.objects.resource import (
    CSI_NODES,
    DEVICE_CLASSES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    STORAGE_CLASSES,
    Resource,
)
from proa.objects.resource_claims import made_claims
from proa.reconcile.informer import InformerFactory
from proa.scheduler.cluster_events import assigned_pod_events, assigned_pod_matters, node_events
from proa.scheduler.framework import Event, Profile
from proa.scheduler.gangs import Groups
from proa.scheduler.nominations import Nominations
from proa.scheduler.pod_info import PodInfo, make_pod_info, scheduler_name
from proa.scheduler.queue import SchedulingQueue
from proa.scheduler.snapshot import Placed, Snapshot

MOVERS: tuple[tuple[Resource, Event], ...] = (
    (PERSISTENT_VOLUME_CLAIMS, Event.CLAIM_CHANGED),
    (PERSISTENT_VOLUMES, Event.VOLUME_CHANGED),
    (STORAGE_CLASSES, Event.CLASS_CHANGED),
    (RESOURCE_SLICES, Event.RESOURCE_SLICE_CHANGED),
    (DEVICE_CLASSES, Event.DEVICE_CLASS_CHANGED),
)
"""What only plugins look at: it may help pods that they rejected."""


class Listening:
    """The listeners of one scheduler, which serves `profiles`, by name."""

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        snapshot: Snapshot,
        queue: SchedulingQueue,
        nominations: Nominations,
        groups: Groups,
    ) -> None:
        self._profiles = profiles
        self._snapshot = snapshot
        self._queue = queue
        self._nominations = nominations
        self._groups = groups

    def listen(self, informers: InformerFactory) -> None:
        """Begin to listen."""
        informers.informer(NAMESPACES).listen(self._namespace_changed)
        informers.informer(NODES).listen(self._node_changed)
        informers.informer(PODS).listen(self._pod_changed)
        informers.informer(CSI_NODES).listen(self._csi_node_changed)
        informers.informer(RESOURCE_CLAIMS).listen(self._resource_claim_changed)
        for resource, event in MOVERS:
            informers.informer(resource).listen(self._mover(event))

    def _mover(self, event: Event) -> Callable[[Object | None, Object | None], None]:
        def listen(old: Object | None, new: Object | None) -> None:
            if new is not None:
                self._queue.move(event, old, new)

        return listen

    def _resource_claim_changed(self, old: Object | None, new: Object | None) -> None:
        self._queue.move(Event.RESOURCE_CLAIM_CHANGED, old, new)

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        self._snapshot.set_namespace(meta.name(new or old or {}), new)
        if new is not None and (old is None or meta.labels(old) != meta.labels(new)):
            self._queue.move(Event.NAMESPACE_CHANGED, old, new)

    def _csi_node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or old is None or old["spec"] != new["spec"]:
            self._snapshot.touch(meta.name(new or old or {}))
            self._queue.move(Event.CSI_NODE_CHANGED, old, new)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._snapshot.remove_node(meta.name(old))
            self._queue.move(Event.NODE_REMOVED, old, None)
            return
        self._snapshot.set_node(new)
        for event in node_events(old, new):
            self._queue.move(event, old, new)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        if new is None or pods.is_terminated(new):
            self._groups.pod_changed(pod, is_finished=new is not None)
            self._pod_gone(pod)
        elif pods.node_name(new):
            self._assigned_pod_changed(old, new)
        elif scheduler_name(new) in self._profiles:
            self._waiting_pod_changed(new)

    def _pod_gone(self, pod: Object) -> None:
        uid = meta.uid(pod)
        self._queue.remove(uid)
        was_kept_room = bool(self._nominations.node_of(uid))
        self._nominations.forget(uid)
        if self._snapshot.remove_pod(uid) or was_kept_room:
            self._queue.move(Event.POD_REMOVED, pod, None)

    def _assigned_pod_changed(self, old: Object | None, new: Object) -> None:
        uid = meta.uid(new)
        known = self._snapshot.find(uid)
        if (
            known is not None
            and not known.assumed
            and old is not None
            and pods.node_name(old)
            and not assigned_pod_matters(old, new)
        ):
            return  # only its status changed
        self._queue.remove(uid)
        self._nominations.forget(uid)
        if known is not None and is_confirmed(known, new):
            known.assumed = False
        else:
            self._snapshot.add_pod(make_pod_info(new), pods.node_name(new))
        for event in assigned_pod_events(old, new):
            self._queue.move(event, old, new)

    def _waiting_pod_changed(self, pod: Object) -> None:
        """Queue a pod without a node; one that we have assumed is left to its binding."""
        uid = meta.uid(pod)
        if self._snapshot.node_of(uid):
            return
        profile = self._profiles[scheduler_name(pod)]
        if meta.is_deleting(pod) or any(plugin.pre_enqueue(pod) for plugin in profile.pre_enqueue):
            self._queue.remove(uid)
            self._nominations.forget(uid)
            return
        info = make_pod_info(pod)
        waiting = self._queue.find(uid)
        known = waiting.nominated_node if waiting is not None else ""
        if info.nominated_node != known:
            self._nominations.nominate(info, info.nominated_node)
        if waiting is not None and is_alike(waiting, info):
            self._queue.refresh(info)
        else:
            self._queue.add(info)


def is_confirmed(known: Placed, new: Object) -> bool:
    """Tell whether the API has a pod just where, and as, we count it: there is nothing to read anew."""
    pod = known.info.pod
    return (
        known.node_name == pods.node_name(new)
        and {**pod["spec"], "nodeName": known.node_name} == new["spec"]
        and meta.labels(pod) == meta.labels(new)
        and meta.is_deleting(pod) == meta.is_deleting(new)
    )


def is_alike(known: PodInfo, new: PodInfo) -> bool:
    """Tell whether two versions of a waiting pod are the same to scheduling."""
    return (
        known.shape == new.shape
        and known.priority == new.priority
        and known.kind == new.kind
        and known.terms == new.terms
        and known.claims == new.claims
        and made_claims(known.pod) == made_claims(new.pod)
    )
