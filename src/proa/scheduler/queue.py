"""Hold the pods that wait for a node: those to try now, those in back-off, those nothing can help yet.

A pod that was rejected waits until something happens that could help it (`move`, by the plugins that rejected it),
and then its back-off, 1 s doubling to 10 s with each attempt, unless there is nothing else to try: then up to
EARLY_A_SECOND pods a second need not wait. As a safety net every pod is tried again after five minutes.
Follows kube-scheduler's pkg/scheduler/backend/queue/scheduling_queue.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects.pod_groups import GroupKey
from proa.objects.quick_dataclass import dataclass
from proa.reconcile.workqueue import Timers, TokenBucket
from proa.scheduler.framework import Event, Profile
from proa.scheduler.pod_info import PodInfo

FIRST_BACK_OFF_SECONDS = 1.0
MAX_BACK_OFF_SECONDS = 10.0
MAX_UNSCHEDULABLE_SECONDS = 300.0
EARLY_A_SECOND = 100

Rejection = tuple[Profile, frozenset[str]]
"""Whose plugins rejected a pod, and which of them."""


class BackOff(NamedTuple):
    """How long a pod waits after it was tried."""

    first_seconds: float = FIRST_BACK_OFF_SECONDS
    max_seconds: float = MAX_BACK_OFF_SECONDS

    def after(self, attempts: int) -> float:
        """Return the seconds after so many attempts."""
        return min(self.first_seconds * 2.0 ** min(attempts - 1, 16), self.max_seconds) if attempts else 0.0


BACK_OFF = BackOff()


@dataclass(slots=True)
class QueuedPod:
    """A pod that waits. Times are the timers' seconds."""

    info: PodInfo
    added_at: float
    attempts: int = 0
    tried_at: float = 0.0
    rejected_by: Rejection | None = None
    """None: it failed for a reason other than being rejected."""


class SchedulingQueue:
    """See the module's docstring. `sort_key(pod)` orders the pods to try, smallest first.

    `on_ready` is called when there are pods to try; `profile_of` says whose plugins judge a pod.
    """

    def __init__(
        self,
        sort_key: Callable[[PodInfo], int],
        profile_of: Callable[[PodInfo], Profile],
        on_ready: Callable[[], None],
        timers: Timers,
        back_off: BackOff = BACK_OFF,
    ) -> None:
        self._sort_key = sort_key
        self._profile_of = profile_of
        self._on_ready = on_ready
        self._timers = timers
        self._back_off = back_off
        self._early = TokenBucket(EARLY_A_SECOND, EARLY_A_SECOND, timers.time)
        self._pods: dict[str, QueuedPod] = {}
        self._active: list[tuple[int, float, int, str]] = []
        self._is_active: set[str] = set()
        self._backing_off: dict[str, asyncio.TimerHandle] = {}
        self._unschedulable: dict[Rejection, dict[str, asyncio.TimerHandle]] = {}
        self._groups: dict[GroupKey, dict[str, None]] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def add(self, info: PodInfo) -> None:
        """Take in a new pod, or one that changed in a way that may help it: it is tried at once."""
        queued = self._pods.get(info.uid)
        if queued is None:
            queued = QueuedPod(info, self._timers.time())
        self._leave(info.uid)
        queued.info = info
        self._store(queued)
        self._activate(queued)

    def refresh(self, info: PodInfo) -> None:
        """Take in a new version of a waiting pod that changes nothing for scheduling."""
        queued = self._pods.get(info.uid)
        if queued is not None:
            queued.info = info

    def find(self, uid: str) -> PodInfo | None:
        """Return a waiting pod."""
        queued = self._pods.get(uid)
        return queued.info if queued else None

    def remove(self, uid: str) -> None:
        """Forget a pod: it is gone, or has a node."""
        self._leave(uid)
        self._drop(uid)

    def pop(self) -> QueuedPod | None:
        """Return the next pod to try, out of the queue; give it back with `reject` or `retry`."""
        while self._active:
            uid = heappop(self._active)[3]
            if uid in self._is_active:
                return self.take(uid)
        for uid in self._backing_off:
            # What failed for another reason than being rejected, an API error, say, waits to the end.
            if self._pods[uid].rejected_by is not None:
                return self.take(uid) if self._early.try_take() else None
        return None

    def take(self, uid: str) -> QueuedPod:
        """Return a waiting pod, whatever it waits for, out of the queue, to be tried; raise KeyError."""
        queued = self._pods[uid]
        self._leave(uid)
        self._drop(uid)
        queued.attempts += 1
        queued.tried_at = self._timers.time()
        return queued

    def take_group(self, group: GroupKey) -> list[QueuedPod]:
        """Return all pods of a PodGroup that wait, out of the queue, those to try first first."""
        found = [self.take(uid) for uid in [*self._groups.get(group, ())]]
        return sorted(found, key=lambda queued: (self._sort_key(queued.info), queued.added_at))

    def activate(self, uid: str) -> None:
        """Have a pod tried at once, if it waits here."""
        queued = self._pods.get(uid)
        if queued is not None:
            self._leave(uid)
            self._activate(queued)

    def reject(self, queued: QueuedPod, plugins: frozenset[str]) -> None:
        """Take back a pod that no node would have, until something helps one of these plugins."""
        uid = queued.info.uid
        queued.rejected_by = (self._profile_of(queued.info), plugins)
        self._store(queued)
        timer = self._timers.call_later(MAX_UNSCHEDULABLE_SECONDS, self._waited_too_long, uid)
        self._unschedulable.setdefault(queued.rejected_by, {})[uid] = timer

    def retry(self, queued: QueuedPod) -> None:
        """Take back a pod that failed for another reason: it is tried after its back-off."""
        queued.rejected_by = None
        self._store(queued)
        self._after_back_off(queued)

    def move(self, event: Event, old: Object | None = None, new: Object | None = None) -> None:
        """Try the pods again that the event, a change from `old` to `new`, may help."""
        for rejection in [*self._unschedulable]:
            profile, plugins = rejection
            if not profile.is_helped_by(event, plugins):
                continue
            answers: dict[Hashable, bool] = {}  # pods of one owner get one answer
            for uid in [*self._unschedulable[rejection]]:
                info = self._pods[uid].info
                key = (info.shape, id(info.terms), info.kind)
                if key not in answers:
                    answers[key] = profile.can_help(event, plugins, info, old, new)
                if answers[key]:
                    self._leave(uid)
                    self._after_back_off(self._pods[uid])

    def close(self) -> None:
        """Forget all pods and end all timers."""
        for uid in [*self._pods]:
            self.remove(uid)
        self._active.clear()

    def _store(self, queued: QueuedPod) -> None:
        self._pods[queued.info.uid] = queued
        if queued.info.group is not None:
            self._groups.setdefault(queued.info.group, {})[queued.info.uid] = None

    def _drop(self, uid: str) -> None:
        queued = self._pods.pop(uid, None)
        if queued is not None and (group := queued.info.group) is not None:
            del self._groups[group][uid]
            if not self._groups[group]:
                del self._groups[group]

    def _activate(self, queued: QueuedPod) -> None:
        self._sequence += 1
        info = queued.info
        heappush(self._active, (self._sort_key(info), queued.added_at, self._sequence, info.uid))
        self._is_active.add(info.uid)
        self._on_ready()

    def _after_back_off(self, queued: QueuedPod) -> None:
        delay = queued.tried_at + self._back_off.after(queued.attempts) - self._timers.time()
        if delay <= 0:
            self._activate(queued)
            return
        uid = queued.info.uid
        self._backing_off[uid] = self._timers.call_later(delay, self._back_off_over, uid)
        if queued.rejected_by is not None:
            self._on_ready()

    def _back_off_over(self, uid: str) -> None:
        del self._backing_off[uid]
        self._activate(self._pods[uid])

    def _waited_too_long(self, uid: str) -> None:
        self._leave(uid)
        self._activate(self._pods[uid])

    def _leave(self, uid: str) -> None:
        """Take a pod out of wherever it waits."""
        self._is_active.discard(uid)
        if timer := self._backing_off.pop(uid, None):
            timer.cancel()
        queued = self._pods.get(uid)
        if queued is None or queued.rejected_by is None:
            return
        group = self._unschedulable.get(queued.rejected_by)
        if group is not None and (timer := group.pop(uid, None)):
            timer.cancel()
            if not group:
                del self._unschedulable[queued.rejected_by]
