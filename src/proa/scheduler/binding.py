"""Write to the API what was decided: bindings, conditions, nominations, evictions, and the events about them.

Many writes go on at a time, while decisions are made. Follows pkg/scheduler/schedule_one.go (bindingCycle,
handleSchedulingFailure) and pkg/scheduler/framework/preemption/executor.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from proa.client.protocol import STRATEGIC_MERGE_PATCH, Client, Object
from proa.objects import meta
from proa.objects.errors import ApiError, NotFound
from proa.objects.resource import PODS
from proa.reconcile.protocol import EventRecorder
from proa.scheduler.framework import Facts, Profile
from proa.scheduler.pod_info import PodInfo

logger = logging.getLogger(__name__)

MESSAGE_LIMIT = 1024


class Writer:
    """What one scheduler writes. `now` returns seconds since the epoch."""

    def __init__(
        self, client: Client, events: Callable[[str], EventRecorder], now: Callable[[], float]
    ) -> None:
        """`events(name)` is the recorder of the scheduler that is called so."""
        self._client = client
        self._events = events
        self._now = now
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let a write go on meanwhile."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End all writes under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def bind(self, profile: Profile, pod: PodInfo, node_name: str, facts: Facts) -> None:
        """Prepare what plugins must and bind the pod; raise ApiError."""
        for plugin in profile.pre_binds:
            await plugin.pre_bind(pod, node_name, facts.get(plugin.NAME))
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node_name},
        }
        await self._client.create_subresource(PODS, pod.name, "binding", binding, pod.namespace)
        message = f"Successfully assigned {pod.namespace}/{pod.name} to {node_name}"
        self._event(pod.pod, pod, "Normal", "Scheduled", message)

    def tell_failure(self, pod: PodInfo, reason: str, message: str, nominated: str | None = None) -> None:
        """Tell of a pod that has no node: by an event, and by a condition, written meanwhile.

        `nominated` is the node that is kept for it now; None: as before.
        """
        self._event(pod.pod, pod, "Warning", "FailedScheduling", message[:MESSAGE_LIMIT])
        patch = self._failure_patch(pod, reason, message, nominated)
        if patch:
            self.spawn(self._patch_status(pod, patch))

    async def evict(
        self, pod: PodInfo, node_name: str, victims: Sequence[Object], losers: Sequence[PodInfo]
    ) -> bool:
        """Delete `victims`, and take from `losers` the room on the node that was kept for them; tell if all went."""
        for loser in losers:
            await self._patch_status(loser, {"nominatedNodeName": None})
        results = await asyncio.gather(*(self._evict_one(pod, node_name, victim) for victim in victims))
        return all(results)

    async def _evict_one(self, pod: PodInfo, node_name: str, victim: Object) -> bool:
        conditions = (victim.get("status") or {}).get("conditions") or []
        message = f"{pod.scheduler_name}: preempting to accommodate a higher priority pod"
        condition = self._condition(
            victim, conditions, "DisruptionTarget", "True", "PreemptionByScheduler", message
        )
        name, namespace, uid = meta.name(victim), meta.namespace(victim), meta.uid(victim)
        patch = {"metadata": {"uid": uid}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(
                PODS, name, patch, namespace, patch_type=STRATEGIC_MERGE_PATCH, subresource="status"
            )
            await self._client.delete(PODS, name, namespace, uid=uid)
        except NotFound:  # it went by itself
            return True
        except ApiError as error:
            logger.warning("pod not preempted namespace=%s name=%s error=%s", namespace, name, error)
            return False
        self._event(victim, pod, "Normal", "Preempted", f"Preempted by pod {pod.uid} on node {node_name}")
        return True

    def _failure_patch(self, pod: PodInfo, reason: str, message: str, nominated: str | None) -> Object:
        """Return what changes in the pod's status: PodScheduled, unless it says so already, and the nomination."""
        status = pod.pod.get("status") or {}
        known = meta.find_condition(pod.pod, "PodScheduled") or {}
        patch: Object = {}
        if (known.get("status"), known.get("reason"), known.get("message")) != ("False", reason, message):
            conditions = status.get("conditions") or []
            patch["conditions"] = [
                self._condition(pod.pod, conditions, "PodScheduled", "False", reason, message)
            ]
        if nominated is not None and nominated != (status.get("nominatedNodeName") or ""):
            patch["nominatedNodeName"] = nominated or None
        return patch

    def _condition(
        self, pod: Object, conditions: Sequence[Object], type: str, status: str, reason: str, message: str
    ) -> Object:
        changed = meta.with_condition(conditions, type, status, reason, message, self._now())
        condition = next(each for each in changed if each["type"] == type)
        generation = pod["metadata"].get("generation")
        return {**condition, "observedGeneration": generation} if generation else condition

    async def _patch_status(self, pod: PodInfo, status: Object) -> None:
        patch = {"metadata": {"uid": pod.uid}, "status": status}
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

    def _event(self, about: Object, pod: PodInfo, type: str, reason: str, message: str) -> None:
        self._events(pod.scheduler_name).event(about, type, reason, message)
