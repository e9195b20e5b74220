"""Probe every running container that has probes, one timer a probe, and keep what they say.

A container without probes costs nothing. Startup holds back the other two. Follows pkg/kubelet/prober.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import field

from proa.client.protocol import Object
from proa.node.pod_view import HEALTHY, Health
from proa.node.probes.health import PROBE_FIELDS, ProbeKind, Streak, kill_message, observe
from proa.node.probes.prober import ProbeResult, Target, run_probe
from proa.node.runtimes.protocol import Runtime
from proa.objects.meta import is_deleting
from proa.objects.quick_dataclass import dataclass
from proa.reconcile.protocol import EventRecorder

EARLY_SECONDS, LATE_SECONDS, LATENESS = 0.05, 1.0, 0.2
"""A container that is not ready is asked again after a fifth of the time that it has had, within these bounds."""
FIRST_SECONDS = 1.0
"""A port opens a moment after the start: the first probe that counts comes so long after the initial delay."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a container's status in the API says."""

    started: bool = False
    ready: bool = False


@dataclass(slots=True)
class _Probed:
    """One container and its probe tasks."""

    pod: Object
    target: Target
    field_path: str
    on_change: Callable[[], None]
    started_at: float
    streaks: dict[ProbeKind, Streak] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    restart_message: str = ""
    grace_seconds: float | None = None


class ProbeManager:
    """One node's probes. `sleep` and `now` (epoch seconds) are the clock."""

    def __init__(
        self,
        runtime: Runtime,
        events: EventRecorder,
        now: Callable[[], float],
        random: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._runtime = runtime
        self._events = events
        self._now = now
        self._random = random
        self._sleep = sleep
        self._probed: dict[str, _Probed] = {}

    def watch(
        self,
        pod: Object,
        target: Target,
        started_at: float,
        on_change: Callable[[], None],
        field_path: str,
        known_as: Known,
    ) -> None:
        """Begin to probe a running container; nothing happens for one that is known or has no probes.

        `known_as` is what the API already says of it: a restart of the server does not make it unready.
        """
        container = target.container
        kinds = [kind for kind, key in PROBE_FIELDS.items() if container.get(key)]
        if not kinds:
            return
        known = self._probed.get(target.container_id)
        if known is not None:
            known.pod = pod
            return
        probed = _Probed(pod, target, field_path, on_change, started_at)
        self._probed[target.container_id] = probed
        if "startup" not in kinds or known_as.started:
            probed.started.set()
        if known_as.ready:
            probed.streaks["readiness"] = Streak(verdict=True)
        probed.tasks = [
            asyncio.create_task(self._follow(probed, kind), name=f"{kind} probe of {container['name']}")
            for kind in kinds
            if not (kind == "startup" and probed.started.is_set())
        ]

    def health(self, container_id: str, container: Object) -> Health:
        """Return what the container's probes say; without probes it is healthy."""
        probed = self._probed.get(container_id)
        if probed is None:
            has_gates = container.get("startupProbe") or container.get("readinessProbe")
            return Health(not container.get("startupProbe"), not has_gates) if has_gates else HEALTHY
        ready = bool(self._verdict(probed, "readiness")) if container.get("readinessProbe") else True
        return Health(probed.started.is_set(), ready, probed.restart_message, probed.grace_seconds)

    def forget(self, container_id: str) -> None:
        """Stop probing a container."""
        probed = self._probed.pop(container_id, None)
        if probed is not None:
            for task in probed.tasks:
                task.cancel()

    def watched(self) -> list[str]:
        """Return the ids of the containers that are probed."""
        return list(self._probed)

    async def stop(self) -> None:
        """Stop every probe."""
        tasks = [task for probed in self._probed.values() for task in probed.tasks]
        for container_id in self.watched():
            self.forget(container_id)
        await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def _verdict(probed: _Probed, kind: ProbeKind) -> bool | None:
        return probed.streaks.get(kind, Streak()).verdict

    async def _follow(self, probed: _Probed, kind: ProbeKind) -> None:
        """Probe for ever, or until the startup probe has passed, or the container must be restarted."""
        probe = probed.target.container[PROBE_FIELDS[kind]]
        period = float(probe.get("periodSeconds") or 10)
        if kind != "startup":
            await probed.started.wait()
        await self._sleep(self._first_wait(probed, probe, period))
        if "exec" not in probe and await self._pause(probed, kind, probe, min(period, FIRST_SECONDS)):
            return
        while True:
            if kind == "readiness" or not is_deleting(probed.pod):
                result = await run_probe(self._runtime, probe, probed.target)
                if self._take(probed, kind, probe, result):
                    return
            if await self._pause(probed, kind, probe, period):
                return

    async def _pause(self, probed: _Probed, kind: ProbeKind, probe: Object, seconds: float) -> bool:
        """Wait for the next probe; tell whether there is none to come.

        A container that is not ready yet is asked sooner, over the network only, so that this is known soon: a fifth
        later than it is so, a second at most. Such early tries count only when they succeed. (Upstream too probes
        between periods, whenever a pod that is not ready changes, and first of all up to a second after the start.)
        """
        waited, step = 0.0, EARLY_SECONDS
        while kind != "liveness" and "exec" not in probe and not self._verdict(probed, kind):
            if waited + step >= seconds:
                break
            await self._sleep(step)
            waited += step
            step = min(max(EARLY_SECONDS, LATENESS * waited), LATE_SECONDS)
            result = await run_probe(self._runtime, probe, probed.target)
            if result.ok:
                if self._take(probed, kind, probe, result):
                    return True
                break
        await self._sleep(seconds - waited)
        return False

    def _first_wait(self, probed: _Probed, probe: Object, period: float) -> float:
        """Return the seconds until the first probe; after a restart of the server they are spread out."""
        elapsed = self._now() - probed.started_at
        delay = float(probe.get("initialDelaySeconds") or 0)
        return max(delay - elapsed, 0.0) if elapsed < period else self._random() * min(period, 1.0)

    def _tell(self, probed: _Probed, kind: ProbeKind, result: ProbeResult) -> None:
        """Record the Event of a probe that failed, or passed with a warning."""
        name = kind.capitalize()
        if result.errored:
            said = "Unhealthy", f"{name} probe errored and resulted in unknown state: {result.message}"
        elif not result.ok:
            said = "Unhealthy", f"{name} probe failed: {result.message}"
        elif result.is_warning:
            said = "ProbeWarning", f"{name} probe warning: {result.message}"
        else:
            return
        self._events.event(probed.pod, "Warning", *said, probed.field_path)

    def _take(self, probed: _Probed, kind: ProbeKind, probe: Object, result: ProbeResult) -> bool:
        """Take a result in; tell whether this probe has nothing more to find out."""
        self._tell(probed, kind, result)
        if result.errored:
            return False
        before = probed.streaks.get(kind, Streak())
        after = probed.streaks[kind] = observe(before, result.ok, probe)
        if after.verdict == before.verdict:
            return False
        if kind == "startup" and after.verdict:
            probed.started.set()
        elif kind != "readiness" and after.verdict is False:
            probed.restart_message = kill_message(kind, probed.target.container["name"])
            seconds = probe.get("terminationGracePeriodSeconds")
            probed.grace_seconds = None if seconds is None else float(seconds)
        probed.on_change()
        return kind == "startup" or bool(probed.restart_message)
