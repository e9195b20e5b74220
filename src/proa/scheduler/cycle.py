"""Give every pod that asks for one of our profiles the best node that may run it, and say why where there is none.

Watches nodes, pods and what plugins look at; writes bindings, the PodScheduled condition, nominations, evictions and
events. Deciding is synchronous and sees all earlier decisions at once (they are assumed); writes go on meanwhile. A
binding that fails is taken back and the pod tried again. Follows kube-scheduler's pkg/scheduler/schedule_one.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from proa.client.protocol import Client, Object
from proa.objects import meta, pods
from proa.objects.errors import ApiError, NotFound
from proa.objects.resource import POD_DISRUPTION_BUDGETS, PODS
from proa.reconcile.informer import InformerFactory
from proa.reconcile.protocol import EventRecorder
from proa.reconcile.workqueue import Timers
from proa.scheduler.binding import MESSAGE_LIMIT, Writer
from proa.scheduler.configuration import Configuration
from proa.scheduler.decision import Decider, Placement, Refusal
from proa.scheduler.failure import fit_error
from proa.scheduler.framework import Event, Profile
from proa.scheduler.gangs import Groups
from proa.scheduler.group_cycle import GroupCycle
from proa.scheduler.listening import Listening
from proa.scheduler.nominations import Nominations
from proa.scheduler.plugins import Parts
from proa.scheduler.plugins.coscheduling import NAME as COSCHEDULING
from proa.scheduler.plugins.default_preemption import NAME as PREEMPTION
from proa.scheduler.pod_info import DEFAULT_SCHEDULER, PodInfo, make_pod_info
from proa.scheduler.preemption import Candidate, Preemption
from proa.scheduler.profiles import make_profile
from proa.scheduler.queue import BackOff, QueuedPod, SchedulingQueue
from proa.scheduler.snapshot import Snapshot

logger = logging.getLogger(__name__)

DEFAULT_PROFILE = DEFAULT_SCHEDULER
TURN_SECONDS = 0.005
"""After so long the event loop gets its turn."""


DEFAULT_CONFIGURATION = Configuration()


class Scheduler:
    """One scheduler. `now` returns seconds since the epoch, `random` breaks ties between equal nodes.

    `events(name)` returns the recorder of the profile that is called so. `timers` measure back-off; the event loop
    does where none are given.
    """

    def __init__(
        self,
        client: Client,
        informers: InformerFactory,
        events: Callable[[str], EventRecorder],
        now: Callable[[], float],
        random: Callable[[], float],
        timers: Timers | None = None,
        configuration: Configuration = DEFAULT_CONFIGURATION,
    ) -> None:
        self._informers = informers
        self._pods = informers.informer(PODS)
        self._budgets = informers.informer(POD_DISRUPTION_BUDGETS)
        self._snapshot = Snapshot()
        self._nominations = Nominations()
        parts = Parts(client, informers, self._snapshot)
        self._configuration = configuration
        self._profiles = {each.name: make_profile(each, parts) for each in configuration.profiles}
        self._deciders = {
            name: Decider(profile, self._snapshot, self._nominations, random)
            for name, profile in self._profiles.items()
        }
        self._preemptions = {
            name: Preemption(
                decider, self._snapshot, self._nominations, self._budgets.list, self._current, random
            )
            for name, decider in self._deciders.items()
            if decider.profile.takes_part(PREEMPTION, "postFilter")
        }
        self._groups = Groups(informers)
        self._writer = Writer(client, events, now)
        self._timers = timers
        self._ready = asyncio.Event()
        self._preempting: set[str] = set()
        self._running: asyncio.Task[Any] | None = None

    async def run(self) -> None:
        """Schedule until cancelled or stopped. Start informers first where nobody else has."""
        self._running = asyncio.current_task()
        timers = self._timers or asyncio.get_running_loop()
        configured = self._configuration
        back_off = BackOff(configured.first_back_off_seconds, configured.max_back_off_seconds)
        self._queue = SchedulingQueue(_sort_key, self._profile_of, self._ready.set, timers, back_off)
        self._group_cycle = GroupCycle(
            self, self._groups, self._queue, self._snapshot, self._nominations, self._writer
        )
        listening = Listening(self._profiles, self._snapshot, self._queue, self._nominations, self._groups)
        listening.listen(self._informers)
        self._informers.start()
        try:
            await self._informers.wait_synced()
            while True:
                await self._ready.wait()
                self._ready.clear()
                await self._schedule_ready()
        finally:
            self._queue.close()
            await self._writer.stop()

    async def stop(self) -> None:
        """End `run` and every binding under way; a pod without its binding is scheduled after the next start."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    # Deciding

    async def _schedule_ready(self) -> None:
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + TURN_SECONDS
        while (queued := self._queue.pop()) is not None:
            self._schedule(queued)
            if loop.time() >= turn_ends:
                await asyncio.sleep(0)
                turn_ends = loop.time() + TURN_SECONDS

    def _schedule(self, queued: QueuedPod) -> None:
        """Decide for one pod: assume it on the best node and begin to bind it, or say why there is none."""
        if queued.info.group is not None and self._profile_of(queued.info).plugin(COSCHEDULING):
            self._group_cycle.schedule(queued, queued.info.group)
            return
        decision = self.decider_of(queued.info).decide(queued.info)
        if isinstance(decision, Placement):
            self._place(queued, decision)
        else:
            self.refuse(queued, decision)

    def _place(self, queued: QueuedPod, placement: Placement) -> None:
        refused = self.decider_of(queued.info).assume(queued.info, placement)
        if refused is None:
            self.bind(queued, placement)
        else:
            self._queue.retry(queued)
            self._writer.tell_failure(queued.info, "SchedulerError", ", ".join(refused.diagnosis.reasons))

    def bind(self, queued: QueuedPod, placement: Placement) -> None:
        """Begin to bind a pod that is assumed on its node."""
        self._nominations.forget(queued.info.uid)
        self._writer.spawn(self._bind(queued, placement))

    def refuse(self, queued: QueuedPod, refusal: Refusal) -> None:
        """See whether evicting pods would help; put the pod where it waits, and say why."""
        pod, after, nominated = queued.info, "", None
        preemption = self.preemption_of(pod)
        if refusal.diagnosis.nodes:
            after = self._try_to_help(pod, refusal)
        if refusal.diagnosis.nodes and preemption is not None:
            found = preemption.find(pod, refusal)
            if isinstance(found, Candidate):
                self.preempt(queued, found)
                after, nominated = "", found.node_name
            else:
                after = f"{after}, preemption: {found.message}" if after else f"preemption: {found.message}"
                if not found.keeps_nomination:
                    self._nominations.forget(pod.uid)
                    nominated = ""
        self.reject(queued, refusal, after, nominated)

    def _try_to_help(self, pod: PodInfo, refusal: Refusal) -> str:
        """Have plugins begin what may help a pod that no node will have; return what they say."""
        said = []
        for plugin in self._profile_of(pod).post_filters:
            words, work = plugin.post_filter(pod, refusal.diagnosis.reasons)
            said.append(words)
            if work is not None:
                self._writer.spawn(work)
        return ", ".join(said)

    def reject(self, queued: QueuedPod, refusal: Refusal, after: str, nominated: str | None = None) -> None:
        """Put a pod where it waits and say why, `after` which is what was tried; `nominated` as in `Writer`."""
        # Without nodes no plugin was asked: any that waits for a node will do.
        pod = queued.info
        asked = refusal.diagnosis.plugins or frozenset(p.NAME for p in self._profile_of(pod).plugins)
        self._queue.reject(queued, asked)
        self._writer.tell_failure(pod, "Unschedulable", fit_error(refusal, after), nominated)

    # Acting

    def preempt(self, queued: QueuedPod, candidate: Candidate) -> None:
        """Keep the node for the pod and begin to evict those in its way."""
        pod, node_name = queued.info, candidate.node_name
        losers = self._nominations.below(pod, node_name)
        for loser in losers:
            self._nominations.forget(loser.uid)
        self._nominations.nominate(pod, node_name)
        current = [self._current(victim) for victim in candidate.victims]
        victims = [victim for victim in current if not meta.is_deleting(victim)]
        self._preempting.add(pod.uid)
        self._writer.spawn(self._evict(pod, node_name, victims, losers))

    async def _evict(
        self, pod: PodInfo, node_name: str, victims: list[Object], losers: list[PodInfo]
    ) -> None:
        try:
            all_went = await self._writer.evict(pod, node_name, victims, losers)
        finally:
            self._preempting.discard(pod.uid)
        for uid in (*(loser.uid for loser in losers), *(() if all_went else (pod.uid,))):
            self._queue.activate(uid)

    async def _bind(self, queued: QueuedPod, placement: Placement) -> None:
        profile = self._profile_of(queued.info)
        try:
            await self._writer.bind(profile, queued.info, placement.node.name, placement.facts)
        except ApiError as error:
            profile.run_unreserves(queued.info, placement.facts)
            self._binding_failed(queued, placement.node.name, error)

    def _binding_failed(self, queued: QueuedPod, node_name: str, error: ApiError) -> None:
        """Take the decision back; unless the pod is gone or has a node, it is tried again."""
        pod = queued.info
        current = self._pods.get(pod.name, pod.namespace)
        was_assumed = self._snapshot.forget(pod.uid)
        if was_assumed:
            self._queue.move(Event.POD_REMOVED, pod.pod, None)
        if isinstance(error, NotFound) and current is None:
            return
        if not was_assumed or current is None or meta.uid(current) != pod.uid or pods.node_name(current):
            return
        logger.warning(
            "binding failed namespace=%s name=%s node=%s error=%s", pod.namespace, pod.name, node_name, error
        )
        queued.info = make_pod_info(current)
        self._queue.retry(queued)
        self._writer.tell_failure(queued.info, "SchedulerError", error.message[:MESSAGE_LIMIT])

    # Finding

    def _profile_of(self, pod: PodInfo) -> Profile:
        return self._profiles[pod.scheduler_name]

    def decider_of(self, pod: PodInfo) -> Decider:
        """Return what decides for a pod."""
        return self._deciders[pod.scheduler_name]

    def preemption_of(self, pod: PodInfo) -> Preemption | None:
        """Return what finds victims for a pod, None while those found for it are being evicted."""
        return None if pod.uid in self._preempting else self._preemptions.get(pod.scheduler_name)

    def _current(self, pod: PodInfo) -> Object:
        """Return a pod as the API has it now, or as we know it."""
        current = self._pods.get(pod.name, pod.namespace)
        return current if current is not None and meta.uid(current) == pod.uid else pod.pod


def _sort_key(pod: PodInfo) -> int:
    """Higher priority first; the queue puts the older first among equals (plugins/queuesort)."""
    return -pod.priority
