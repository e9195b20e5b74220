"""Carry out for a PodGroup what gangs.py finds: bind all of its pods, evict others for them, or have all wait.

The words are those of the coscheduling plugin (scheduler-plugins, pkg/coscheduling).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from proa.client.protocol import Object
from proa.objects.pod_groups import GroupKey, min_member
from proa.scheduler.binding import Writer
from proa.scheduler.decision import Decider, Placement, Refusal
from proa.scheduler.framework import Code, Event, Status
from proa.scheduler.gangs import NOT_FOUND, Groups, Outcome, try_group
from proa.scheduler.nominations import Nominations
from proa.scheduler.plugins.coscheduling import NAME
from proa.scheduler.pod_info import PodInfo
from proa.scheduler.preemption import WAITS, Candidate, Preemption
from proa.scheduler.queue import QueuedPod, SchedulingQueue
from proa.scheduler.ranking import Diagnosis
from proa.scheduler.snapshot import Snapshot


class PodCycle(Protocol):
    """What is done for a single pod (cycle.py)."""

    def bind(self, queued: QueuedPod, placement: Placement) -> None:
        """Begin to bind a pod that is assumed on its node."""

    def refuse(self, queued: QueuedPod, refusal: Refusal) -> None:
        """See whether preemption helps a pod, and have it wait."""

    def reject(self, queued: QueuedPod, refusal: Refusal, after: str, nominated: str | None = None) -> None:
        """Have a pod wait, and say why."""

    def preempt(self, queued: QueuedPod, candidate: Candidate) -> None:
        """Begin to evict victims."""

    def decider_of(self, pod: PodInfo) -> Decider:
        """Return what decides for a pod."""

    def preemption_of(self, pod: PodInfo) -> Preemption | None:
        """Return what finds victims for a pod, None where that is not to be tried now."""


class GroupCycle:
    """See the module's docstring."""

    def __init__(
        self,
        cycle: PodCycle,
        groups: Groups,
        queue: SchedulingQueue,
        snapshot: Snapshot,
        nominations: Nominations,
        writer: Writer,
    ) -> None:
        self._cycle = cycle
        self._groups = groups
        self._queue = queue
        self._snapshot = snapshot
        self._nominations = nominations
        self._writer = writer

    def schedule(self, queued: QueuedPod, key: GroupKey) -> None:
        """Decide for all pods of a group that wait, together."""
        members = {each.info.uid: each for each in (queued, *self._queue.take_group(key))}
        if not self._groups.is_watched:
            self._writer.spawn(self._watch())
            for each in members.values():
                self._queue.reject(each, frozenset({NAME}))
            return
        group = self._groups.find(key)
        if group is None:
            self._have_wait(members.values(), NOT_FOUND.reasons[0])
            return
        there = self._snapshot.group_sizes.get(key, 0) + self._groups.finished(key)
        needed = min_member(group) - there
        if len(members) < needed:
            for each in members.values():
                self._have_wait([each], too_few(each.info, len(members) + there, min_member(group)))
            return
        self._decide(members, key, needed)

    def _decide(self, members: Mapping[str, QueuedPod], key: GroupKey, needed: int) -> None:
        cycle, pods = self._cycle, [each.info for each in members.values()]
        outcome = try_group(pods, needed, cycle.decider_of, lambda pod: None, self._snapshot)
        if outcome.count < needed:
            outcome = try_group(pods, needed, cycle.decider_of, cycle.preemption_of, self._snapshot)
        if outcome.count < needed:
            self._failed(members, key, outcome)
        elif outcome.evicting:
            self._preempt(members, key, outcome)
        else:
            for uid, placement in outcome.placed.items():
                cycle.bind(members[uid], placement)
            for uid, refusal in outcome.refused.items():
                cycle.refuse(members[uid], refusal)

    def _failed(self, members: Mapping[str, QueuedPod], key: GroupKey, outcome: Outcome) -> None:
        """Have a group wait, each pod with why it has no node, or which other has none."""
        if not any(failure.message == WAITS for failure in outcome.failures.values()):
            for uid in members:
                self._nominations.forget(uid)
        first = members[next(iter(outcome.refused))].info.name
        why = f"PodGroup {'/'.join(key)} gets rejected due to Pod {first} is unschedulable even after PostFilter"
        for uid, refusal in outcome.refused.items():
            failure = outcome.failures.get(uid)
            after = f"preemption: {failure.message}, {why}" if failure else why
            self._cycle.reject(members[uid], refusal, after, self._nominations.node_of(uid))
        self._have_wait([members[uid] for uid in (*outcome.placed, *outcome.evicting)], why)

    def _preempt(self, members: Mapping[str, QueuedPod], key: GroupKey, outcome: Outcome) -> None:
        """Keep nodes for all pods of a group and evict what is in their way."""
        why = f"PodGroup {'/'.join(key)} waits for pods that it preempts"
        for uid, placement in outcome.placed.items():
            self._nominations.nominate(members[uid].info, placement.node.name)
        for uid, candidate in outcome.evicting.items():
            self._cycle.preempt(members[uid], candidate)
        kept = [members[uid] for uid in (*outcome.placed, *outcome.evicting)]
        self._have_wait(kept, why, frozenset())
        for uid, refusal in outcome.refused.items():
            self._cycle.reject(members[uid], refusal, why, self._nominations.node_of(uid))

    def _have_wait(
        self, members: Iterable[QueuedPod], why: str, plugins: frozenset[str] = frozenset({NAME})
    ) -> None:
        """Have pods wait for their group; no `plugins`: whatever changes may help them."""
        status = Status(Code.UNRESOLVABLE, NAME, (why,))
        for queued in members:
            diagnosis = Diagnosis(len(self._snapshot.nodes), Counter(), plugins)
            nominated = self._nominations.node_of(queued.info.uid)
            self._cycle.reject(queued, Refusal(diagnosis, None, status), "", nominated)

    async def _watch(self) -> None:
        """Begin to watch PodGroups, now that a pod names one, and then try those pods again."""
        await self._groups.watch(self._changed)
        self._queue.move(Event.POD_GROUP_CHANGED)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._queue.move(Event.POD_GROUP_CHANGED, old, new)


def too_few(pod: PodInfo, there: int, wanted: int) -> str:
    """Return that a group has not all of its pods yet."""
    return (
        f"pre-filter pod {pod.name} cannot find enough sibling pods, current pods number: {there}, "
        f"minMember of group: {wanted}"
    )
