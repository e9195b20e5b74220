"""Hold the pods that wait for a node: those to try now, those in back-off, those nothing can help yet.

A pod that was rejected waits until something happens that could help it (`move`, by the plugins that rejected it),
and then at least its back-off, 1 s doubling to 10 s with each attempt. As a safety net every pod is tried again
after five minutes. Follows kube-scheduler's pkg/scheduler/backend/queue/scheduling_queue.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from heapq import heappop, heappush

from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass
from proa.reconcile.workqueue import Timers
from proa.scheduler.framework import Event, Profile
from proa.scheduler.pod_info import PodInfo

FIRST_BACK_OFF_SECONDS = 1.0
MAX_BACK_OFF_SECONDS = 10.0
MAX_UNSCHEDULABLE_SECONDS = 300.0

Rejection = tuple[Profile, frozenset[str]]
"""Whose plugins rejected a pod, and which of them."""


@dataclass(slots=True)
class QueuedPod:
    """A pod that waits. Times are the timers' seconds."""

    info: PodInfo
    added_at: float
    attempts: int = 0
    tried_at: float = 0.0
    rejected_by: Rejection | None = None
    """None: it failed for a reason other than being rejected."""

    @property
    def back_off_until(self) -> float:
        """Return when it may be tried again."""
        if not self.attempts:
            return 0.0
        doubled = FIRST_BACK_OFF_SECONDS * 2.0 ** min(self.attempts - 1, 16)
        return self.tried_at + min(doubled, MAX_BACK_OFF_SECONDS)


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
    ) -> None:
        self._sort_key = sort_key
        self._profile_of = profile_of
        self._on_ready = on_ready
        self._timers = timers
        self._pods: dict[str, QueuedPod] = {}
        self._active: list[tuple[int, float, int, str]] = []
        self._is_active: set[str] = set()
        self._backing_off: dict[str, asyncio.TimerHandle] = {}
        self._unschedulable: dict[Rejection, dict[str, asyncio.TimerHandle]] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    @property
    def has_ready(self) -> bool:
        """Tell whether there is a pod to try."""
        return bool(self._is_active)

    def add(self, info: PodInfo) -> None:
        """Take in a new pod, or one that changed in a way that may help it: it is tried at once."""
        queued = self._pods.get(info.uid)
        if queued is None:
            queued = self._pods[info.uid] = QueuedPod(info, self._timers.time())
        queued.info = info
        self._leave(info.uid)
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
        self._pods.pop(uid, None)

    def pop(self) -> QueuedPod | None:
        """Return the next pod to try, out of the queue; give it back with `reject` or `retry`."""
        while self._active:
            uid = heappop(self._active)[3]
            if uid in self._is_active:
                self._is_active.discard(uid)
                queued = self._pods.pop(uid)
                queued.attempts += 1
                queued.tried_at = self._timers.time()
                return queued
        return None

    def reject(self, queued: QueuedPod, plugins: frozenset[str]) -> None:
        """Take back a pod that no node would have, until something helps one of these plugins."""
        uid = queued.info.uid
        queued.rejected_by = (self._profile_of(queued.info), plugins)
        self._pods[uid] = queued
        timer = self._timers.call_later(MAX_UNSCHEDULABLE_SECONDS, self._waited_too_long, uid)
        self._unschedulable.setdefault(queued.rejected_by, {})[uid] = timer

    def retry(self, queued: QueuedPod) -> None:
        """Take back a pod that failed for another reason: it is tried after its back-off."""
        queued.rejected_by = None
        self._pods[queued.info.uid] = queued
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

    def _activate(self, queued: QueuedPod) -> None:
        self._sequence += 1
        info = queued.info
        heappush(self._active, (self._sort_key(info), queued.added_at, self._sequence, info.uid))
        self._is_active.add(info.uid)
        self._on_ready()

    def _after_back_off(self, queued: QueuedPod) -> None:
        delay = queued.back_off_until - self._timers.time()
        if delay <= 0:
            self._activate(queued)
            return
        uid = queued.info.uid
        self._backing_off[uid] = self._timers.call_later(delay, self._back_off_over, uid)

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
