"""Give every pod that asks for this scheduler the best node that may run it, and say why where there is none.

Watches nodes, pods, claims, volumes and storage classes; writes bindings, the PodScheduled condition and events.
Deciding is synchronous and sees all earlier decisions at once (they are assumed); binding goes on meanwhile, many
at a time. A binding that fails is taken back and the pod tried again. Follows kube-scheduler's
pkg/scheduler/schedule_one.go and eventhandlers.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from proa.client.protocol import STRATEGIC_MERGE_PATCH, Client, Object
from proa.objects import meta, pods
from proa.objects.errors import ApiError, NotFound
from proa.objects.resource import (
    CSI_NODES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    Resource,
)
from proa.reconcile.informer import InformerFactory
from proa.reconcile.protocol import EventRecorder
from proa.reconcile.workqueue import Timers
from proa.scheduler.failure import fit_error, pod_error
from proa.scheduler.framework import Event, Facts, Profile, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.plugins import default_plugins
from proa.scheduler.pod_info import PodInfo, make_pod_info
from proa.scheduler.queue import QueuedPod, SchedulingQueue
from proa.scheduler.ranking import Rankings
from proa.scheduler.snapshot import Snapshot

logger = logging.getLogger(__name__)

DEFAULT_PROFILE = "default-scheduler"
PODS_A_TURN = 64
"""After so many decisions the event loop gets its turn."""
MESSAGE_LIMIT = 1024


class Scheduler:
    """One scheduler. `now` returns seconds since the epoch, `random` breaks ties between equal nodes.

    `timers` measure back-off; the event loop does where none are given.
    """

    def __init__(
        self,
        client: Client,
        informers: InformerFactory,
        events: EventRecorder,
        now: Callable[[], float],
        random: Callable[[], float],
        profile: str = DEFAULT_PROFILE,
        timers: Timers | None = None,
    ) -> None:
        self._client = client
        self._informers = informers
        self._events = events
        self._now = now
        self._snapshot = Snapshot()
        self._profile = Profile(profile, default_plugins(client, informers, self._snapshot))
        self._rankings = Rankings(self._profile, self._snapshot, random)
        self._timers = timers
        self._ready = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[Any] | None = None

    async def run(self) -> None:
        """Schedule until cancelled or stopped. Start informers first where nobody else has."""
        self._running = asyncio.current_task()
        timers = self._timers or asyncio.get_running_loop()
        self._queue = SchedulingQueue(_sort_key, lambda pod: self._profile, self._ready.set, timers)
        self._listen()
        self._informers.start()
        try:
            await self._informers.wait_synced()
            while True:
                await self._ready.wait()
                self._ready.clear()
                await self._schedule_ready()
        finally:
            self._queue.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> None:
        """End `run` and every binding under way; a pod without its binding is scheduled after the next start."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    # Deciding

    async def _schedule_ready(self) -> None:
        decided = 0
        while (queued := self._queue.pop()) is not None:
            self._schedule(queued)
            decided += 1
            if decided % PODS_A_TURN == 0:
                await asyncio.sleep(0)

    def _schedule(self, queued: QueuedPod) -> None:
        """Decide for one pod: assume it on the best node and begin to bind it, or say why there is none."""
        pod = queued.info
        facts = self._profile.run_pre_filters(pod)
        if isinstance(facts, Status):
            self._reject(queued, frozenset({facts.plugin}), pod_error(facts, len(self._snapshot.nodes)))
            return
        ranking = self._rankings.ranking_for(pod, facts)
        node = ranking.best()
        if node is None:
            diagnosis = ranking.diagnose()
            has_victims = self._snapshot.has_lower_priority_pod(pod.priority)
            # Without nodes no plugin was asked: any that waits for a node will do.
            plugins = diagnosis.plugins or frozenset(plugin.NAME for plugin in self._profile.plugins)
            self._reject(queued, plugins, fit_error(diagnosis, has_victims=has_victims))
            return
        self._snapshot.add_pod(pod, node.name, assumed=True)
        self._spawn(self._bind(queued, node, facts))

    def _reject(self, queued: QueuedPod, plugins: frozenset[str], message: str) -> None:
        self._queue.reject(queued, plugins)
        self._events.event(queued.info.pod, "Warning", "FailedScheduling", message[:MESSAGE_LIMIT])
        self._spawn(self._write_condition(queued.info, "Unschedulable", message))

    # Acting

    async def _bind(self, queued: QueuedPod, node: NodeInfo, facts: Facts) -> None:
        pod = queued.info
        try:
            for plugin in self._profile.pre_binds:
                await plugin.pre_bind(pod, node, facts.get(plugin.NAME))
            binding = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
                "target": {"apiVersion": "v1", "kind": "Node", "name": node.name},
            }
            await self._client.create_subresource(PODS, pod.name, "binding", binding, pod.namespace)
        except ApiError as error:
            await self._binding_failed(queued, node, error)
            return
        message = f"Successfully assigned {pod.namespace}/{pod.name} to {node.name}"
        self._events.event(pod.pod, "Normal", "Scheduled", message)

    async def _binding_failed(self, queued: QueuedPod, node: NodeInfo, error: ApiError) -> None:
        """Take the decision back; unless the pod is gone or has a node, it is tried again."""
        pod = queued.info
        current = self._informers(PODS).get(pod.name, pod.namespace)
        was_assumed = self._snapshot.forget(pod.uid)
        if was_assumed:
            self._queue.move(Event.POD_REMOVED)
        if isinstance(error, NotFound) and current is None:
            return
        if not was_assumed or current is None or meta.uid(current) != pod.uid or pods.node_name(current):
            return
        logger.warning(
            "binding failed namespace=%s name=%s node=%s error=%s", pod.namespace, pod.name, node.name, error
        )
        queued.info = make_pod_info(current)
        self._queue.retry(queued)
        self._events.event(pod.pod, "Warning", "FailedScheduling", error.message[:MESSAGE_LIMIT])
        await self._write_condition(queued.info, "SchedulerError", error.message)

    async def _write_condition(self, pod: PodInfo, reason: str, message: str) -> None:
        """Set PodScheduled to False, unless it already says so."""
        known = meta.find_condition(pod.pod, "PodScheduled")
        if known and (known.get("status"), known.get("reason"), known.get("message")) == (
            "False",
            reason,
            message,
        ):
            return
        conditions = (pod.pod.get("status") or {}).get("conditions") or []
        changed = meta.with_condition(conditions, "PodScheduled", "False", reason, message, self._now())
        condition = next(c for c in changed if c["type"] == "PodScheduled")
        patch = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(
                PODS, pod.name, patch, pod.namespace, patch_type=STRATEGIC_MERGE_PATCH, subresource="status"
            )
        except NotFound:  # nobody is left to be told
            return
        except ApiError as error:
            logger.warning(
                "condition not written namespace=%s name=%s error=%s", pod.namespace, pod.name, error
            )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Listening

    def _listen(self) -> None:
        self._informers.informer(NAMESPACES).listen(self._namespace_changed)
        self._informers.informer(NODES).listen(self._node_changed)
        self._informers.informer(PODS).listen(self._pod_changed)
        others: tuple[tuple[Resource, Event], ...] = (
            (PERSISTENT_VOLUME_CLAIMS, Event.CLAIM_CHANGED),
            (PERSISTENT_VOLUMES, Event.VOLUME_CHANGED),
            (STORAGE_CLASSES, Event.CLASS_CHANGED),
        )
        for resource, event in others:
            self._informers.informer(resource).listen(self._mover(event))
        self._informers.informer(CSI_NODES).listen(self._csi_node_changed)

    def _mover(self, event: Event) -> Callable[[Object | None, Object | None], None]:
        def listen(old: Object | None, new: Object | None) -> None:
            if new is not None:
                self._queue.move(event, old, new)

        return listen

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
        uid = meta.uid(pod)
        if new is None or pods.is_terminated(new):
            self._queue.remove(uid)
            if self._snapshot.remove_pod(uid):
                self._queue.move(Event.POD_REMOVED, old or new, None)
        elif pods.node_name(new):
            self._assigned_pod_changed(old, new)
        elif new["spec"].get("schedulerName", DEFAULT_PROFILE) == self._profile.name:
            self._waiting_pod_changed(new)

    def _assigned_pod_changed(self, old: Object | None, new: Object) -> None:
        known = self._snapshot.find(meta.uid(new))
        if known is not None and old is not None and not assigned_pod_matters(old, new):
            return  # only its status changed
        self._queue.remove(meta.uid(new))
        self._snapshot.add_pod(make_pod_info(new), pods.node_name(new))
        for event in assigned_pod_events(old, new):
            self._queue.move(event, old, new)

    def _waiting_pod_changed(self, pod: Object) -> None:
        """Queue a pod without a node; one that we have assumed is left to its binding."""
        uid = meta.uid(pod)
        if self._snapshot.node_of(uid):
            return
        if meta.is_deleting(pod) or any(plugin.pre_enqueue(pod) for plugin in self._profile.pre_enqueue):
            self._queue.remove(uid)
            return
        info = make_pod_info(pod)
        waiting = self._queue.find(uid)
        if waiting is not None and (waiting.shape, waiting.priority) == (info.shape, info.priority):
            self._queue.refresh(info)
        else:
            self._queue.add(info)


def _sort_key(pod: PodInfo) -> int:
    """Higher priority first; the queue puts the older first among equals (plugins/queuesort)."""
    return -pod.priority


def node_events(old: Object | None, new: Object) -> list[Event]:
    """Return what of a node's change could help a pod."""
    if old is None:
        return [Event.NODE_ADDED]
    found = []
    if meta.labels(old) != meta.labels(new):
        found.append(Event.NODE_LABELS)
    before, after = old.get("spec") or {}, new.get("spec") or {}
    if (before.get("taints"), before.get("unschedulable")) != (
        after.get("taints"),
        after.get("unschedulable"),
    ):
        found.append(Event.NODE_TAINTS)
    if (old.get("status") or {}).get("allocatable") != (new.get("status") or {}).get("allocatable"):
        found.append(Event.NODE_ALLOCATABLE)
    return found


def assigned_pod_matters(old: Object, new: Object) -> bool:
    """Tell whether an assigned pod changed in what is counted of it."""
    return (
        old["spec"] != new["spec"]
        or meta.labels(old) != meta.labels(new)
        or meta.is_deleting(old) != meta.is_deleting(new)
    )


def assigned_pod_events(old: Object | None, new: Object) -> list[Event]:
    """Return what of an assigned pod's change could help another pod."""
    if old is None or not pods.node_name(old) or meta.labels(old) != meta.labels(new):
        return [Event.POD_ADDED]
    if old["spec"] == new["spec"]:
        return []
    before, after = pods.resource_requests(old), pods.resource_requests(new)
    is_less = any(after.get(resource, 0) < amount for resource, amount in before.items())
    return [Event.POD_SCALED_DOWN] if is_less else []
