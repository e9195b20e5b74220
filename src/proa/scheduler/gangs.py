"""Place the pods of a group together: at least minMember of them, or none.

The whole group is tried on the snapshot: each of its pods is placed there, seeing those before it. If enough of them
find a node, they all are bound; if not, everything is taken back, at once, and nothing is held while the group
waits: groups can never keep one another from running. Where evicting less important pods makes the group fit, that
is tried in the same way, and nobody is evicted unless it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.pod_groups import POD_GROUPS, GroupKey, group_of
from proa.objects.quick_dataclass import dataclass
from proa.reconcile.informer import Informer, InformerFactory
from proa.scheduler.decision import Decider, Placement, Refusal
from proa.scheduler.framework import Code, Status
from proa.scheduler.plugins.coscheduling import NAME
from proa.scheduler.pod_info import PodInfo
from proa.scheduler.preemption import Candidate, Failure, Preemption
from proa.scheduler.snapshot import Placed, Snapshot

WATCH_SECONDS = 5.0
NOT_FOUND = Status(Code.UNRESOLVABLE, NAME, ("PodGroup not found",))


@dataclass(slots=True, eq=False)
class Outcome:
    """What became of a group's pods in a trial: placed, placed if `victims` go, or refused and why."""

    placed: dict[str, Placement]
    evicting: dict[str, Candidate]
    refused: dict[str, Refusal]
    failures: dict[str, Failure]

    @property
    def count(self) -> int:
        """Return how many have a node."""
        return len(self.placed) + len(self.evicting)


class Groups:
    """The PodGroups, and how many of their pods have a node or are finished.

    They are watched from the first pod on that names one: where nobody uses them, their kind need not be there.
    """

    def __init__(self, informers: InformerFactory) -> None:
        self._informers = informers
        self._groups: Informer | None = None
        self._finished: dict[GroupKey, set[str]] = {}

    @property
    def is_watched(self) -> bool:
        """Tell whether anyone has asked for them to be watched."""
        return self._groups is not None

    async def watch(self, listener: Callable[[Object | None, Object | None], None]) -> None:
        """Begin to watch; return when all are known, or do not come within WATCH_SECONDS."""
        self._groups = self._informers.informer(POD_GROUPS)
        self._groups.listen(listener)
        with suppress(TimeoutError):
            async with asyncio.timeout(WATCH_SECONDS):
                await self._groups.wait_synced()

    def find(self, key: GroupKey) -> Object | None:
        """Return a PodGroup."""
        return self._groups.get(key[1], key[0]) if self._groups is not None else None

    def finished(self, key: GroupKey) -> int:
        """Return how many pods of a group have ended and are there still."""
        return len(self._finished.get(key, ()))

    def pod_changed(self, pod: Object, *, is_finished: bool) -> None:
        """Take in whether a pod has ended; one that is gone has not."""
        key = group_of(pod)
        if key is None:
            return
        if is_finished:
            self._finished.setdefault(key, set()).add(meta.uid(pod))
        elif key in self._finished:
            self._finished[key].discard(meta.uid(pod))
            if not self._finished[key]:
                del self._finished[key]


def try_group(
    members: Sequence[PodInfo],
    needed: int,
    decider_of: Callable[[PodInfo], Decider],
    preemption_of: Callable[[PodInfo], Preemption | None],
    snapshot: Snapshot,
) -> Outcome:
    """Place pods on the snapshot, where need be in the place of others, which `preemption_of` finds (None: not).

    When fewer than `needed` have a node, or some only if others go, everything is taken back.
    """
    outcome = Outcome({}, {}, {}, {})
    evicted: list[Placed] = []
    for pod in members:
        decision = decider_of(pod).decide(pod)
        if isinstance(decision, Placement):
            refused = decider_of(pod).assume(pod, decision)
            if refused is None:
                outcome.placed[pod.uid] = decision
            else:
                outcome.refused[pod.uid] = refused
            continue
        outcome.refused[pod.uid] = decision
        preemption = preemption_of(pod) if outcome.count < needed else None
        if preemption is None:
            continue
        found = preemption.find(pod, decision)
        if isinstance(found, Failure):
            outcome.failures[pod.uid] = found
            continue
        del outcome.refused[pod.uid]
        outcome.evicting[pod.uid] = found
        for victim in found.victims:
            placed = snapshot.remove_pod(victim.uid)
            assert placed is not None
            evicted.append(placed)
        snapshot.add_pod(pod, found.node_name, assumed=True)
    if outcome.count < needed or outcome.evicting:
        for pod in members:
            if pod.uid in outcome.placed:
                decider_of(pod).give_back(pod, outcome.placed[pod.uid])
        for uid in outcome.evicting:
            snapshot.remove_pod(uid)
        for placed in evicted:
            snapshot.add_pod(placed.info, placed.node_name, assumed=placed.assumed)
    return outcome
