"""Observe the load of each revision that can be scaled, and decide: once a second, every two where nothing comes.

What has no pods and no requests costs nothing: nobody asks, and no timer runs while there is no other. Which revisions
there are, and what becomes of the decisions, is the controller's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Protocol

from proa.ml.serving.records import Backends, Load
from proa.ml.serving.scaling.annotations import ScalingSpec
from proa.ml.serving.scaling.decider import Decider, Decision
from proa.ml.serving.scaling.lifecycle import Lifecycle
from proa.ml.serving.scaling.load_client import LoadClient, NoLoad
from proa.ml.serving.scaling.observation import Observation
from proa.objects.quick_dataclass import dataclass
from proa.reconcile.protocol import Key

TICK_SECONDS = 1.0
IDLE_SECONDS = 2.0
_EARLY_SECONDS = 0.1
"""A revision whose turn is so near has it with this tick."""

logger = logging.getLogger(__name__)


class Gate(Protocol):
    """What holds requests: the activator."""

    def update(self, key: Key, backends: Backends) -> None:
        """Take in where requests for a revision may go."""

    def forget(self, key: Key) -> None:
        """Let go of a revision that is no more."""

    def load(self, key: Key) -> Load | None:
        """Return what of a revision waits for a pod; None where nothing ever did."""


@dataclass(slots=True, eq=False)
class Watched:
    """One revision, and what is remembered of it."""

    spec: ScalingSpec
    lifecycle: Lifecycle
    observation: Observation
    decider: Decider
    ready: Mapping[str, str] = field(default_factory=dict)
    """Addresses of ready pods, by name."""
    starting: Mapping[str, str] = field(default_factory=dict)
    """Of those that run and are not ready: they are asked, too, but nobody minds where they do not answer."""
    decision: Decision | None = None
    is_in_path: bool = False
    due: float = 0.0
    observing: asyncio.Task[None] | None = None
    probing: asyncio.Task[None] | None = None


class Autoscaler:
    """The revisions that are known. `clock` counts seconds, and never goes back."""

    def __init__(self, loads: LoadClient, gate: Gate, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._loads = loads
        self._gate = gate
        self._watched: dict[Key, Watched] = {}
        self._active: dict[Key, Watched] = {}
        self._wake = asyncio.Event()

    def find(self, key: Key) -> Watched | None:
        """Return what is known of a revision."""
        return self._watched.get(key)

    def watch(self, key: Key, spec: ScalingSpec, lifecycle: Lifecycle, ready: int) -> Watched:
        """Begin to know a revision."""
        watched = Watched(spec, lifecycle, Observation(spec), Decider(ready, self.clock()))
        self._watched[key] = watched
        return watched

    def update(
        self,
        key: Key,
        watched: Watched,
        spec: ScalingSpec,
        ready: Mapping[str, str],
        starting: Mapping[str, str],
    ) -> None:
        """Take in how it is scaled and what pods it has; ask them from now on, or no more."""
        if spec[:_SAME] != watched.spec[:_SAME]:
            watched.observation = Observation(spec)
        gone = {*watched.ready.values(), *watched.starting.values()} - {*ready.values(), *starting.values()}
        for address in gone:
            self._loads.forget(address)
        watched.spec, watched.ready, watched.starting = spec, ready, starting
        held = self._gate.load(key)
        if spec.can_change and (ready or starting or (held is not None and held.in_hand)):
            if key not in self._active:
                self._active[key] = watched
                watched.due = self.clock()
            self._wake.set()
        elif self._active.pop(key, None) is not None:
            watched.observation.pause()

    def forget(self, key: Key) -> None:
        """Let go of a revision that is no more."""
        watched = self._watched.pop(key, None)
        self._active.pop(key, None)
        if watched is not None:
            for task in (watched.observing, watched.probing):
                if task is not None:
                    task.cancel()
            for address in (*watched.ready.values(), *watched.starting.values()):
                self._loads.forget(address)

    async def run(self, changed: Callable[[Key], None]) -> None:
        """Observe until cancelled; `changed` is told of each revision whose decision is another."""
        try:
            while True:
                await self._wake.wait()
                self.tick(changed)
                if not self._active:
                    self._wake.clear()
                await asyncio.sleep(TICK_SECONDS)
        finally:
            tasks = [t for w in self._watched.values() for t in (w.observing, w.probing) if t is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._loads.close()

    def tick(self, changed: Callable[[Key], None]) -> None:
        """Begin to observe the revisions whose turn it is."""
        now = self.clock()
        for key, watched in self._active.items():
            if watched.due <= now + _EARLY_SECONDS and (
                watched.observing is None or watched.observing.done()
            ):
                watched.observing = asyncio.create_task(self._observe(key, watched, changed))

    async def _observe(self, key: Key, watched: Watched, changed: Callable[[Key], None]) -> None:
        pods = {**watched.starting, **watched.ready}
        answers = await asyncio.gather(*(self._ask(address) for address in pods.values()))
        loads = {
            pod: load
            for pod, load in zip(pods, answers, strict=True)
            if load is not None or pod in watched.ready
        }
        for address in {*pods.values()} - {*watched.ready.values(), *watched.starting.values()}:
            self._loads.forget(address)  # it went while it was asked
        held, now = self._gate.load(key), self.clock()
        watched.observation.add(loads, held, now)
        watched.due = now + (IDLE_SECONDS if _is_idle(answers, held) else TICK_SECONDS)
        before = watched.decision
        self.decide(watched, now)
        if watched.decision != before:
            changed(key)

    def decide(self, watched: Watched, now: float) -> None:
        """Decide anew on what is observed."""
        means = watched.observation.means(now)
        if means is None:
            watched.decision = None
            return
        watched.decision = watched.decider.decide(
            watched.spec, means.stable, means.panic, len(watched.ready), now
        )

    async def _ask(self, address: str) -> Load | None:
        try:
            return await self._loads.ask(address)
        except NoLoad as error:
            logger.debug("a pod does not tell its load: %s", error)
            return None


_SAME = ScalingSpec._fields.index("panic_threshold")
"""Fields before it make another observation."""


def _is_idle(answers: Sequence[Load | None], held: Load | None) -> bool:
    return not (held and held.in_hand) and all(
        answer is not None and not answer.in_hand for answer in answers
    )
