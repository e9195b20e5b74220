"""Look every ten seconds at what pods take of the node, and end those that take too much.

A pod that goes over a limit of its own (emptyDir sizeLimit, ephemeral-storage) is ended for that. When the node itself
is short of memory or disk it says so in its conditions, frees what nobody needs, and ends one pod a round, the one most
to blame first. Follows pkg/kubelet/eviction/eviction_manager.go.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from proa.client.protocol import Object
from proa.node.container_status import pod_description
from proa.node.eviction.local_storage import PodDisk, has_limits, why_too_much
from proa.node.eviction.ranking import rank
from proa.node.eviction.thresholds import (
    PRESSURES,
    RESOURCES,
    Observation,
    Signal,
    Threshold,
    explain,
    find_short,
)
from proa.node.runtime_cache import RuntimeCache
from proa.node.runtimes.protocol import DiskUsage, Runtime, RuntimeFailure
from proa.node.sandbox_config import log_directory
from proa.node.settings import KubeletSettings
from proa.objects.meta import uid
from proa.objects.pods import container_requests, containers, init_containers, is_terminated
from proa.objects.quantity import format_bytes

logger = logging.getLogger(__name__)

REASON = "Evicted"
PERIOD_SECONDS = 10.0
TRANSITION_SECONDS = 300.0
"""How long a pressure is told of after it was last seen (evictionPressureTransitionPeriod)."""

End = Callable[[str, str, str], None]
"""End the pod of this uid for good: (uid, reason, message)."""
Tell = Callable[[frozenset[str]], Awaitable[None]]
"""Say which pressures the node is under now."""
Attempt = Callable[[str], None]
"""Record that the node tries to free this resource."""


class EvictionManager:
    """One node's. `observe` reads what is free, `reclaim` frees disk that nobody needs and tells how many bytes."""

    def __init__(
        self,
        settings: KubeletSettings,
        runtime: Runtime,
        cache: RuntimeCache,
        pods: Callable[[], Sequence[Object]],
        thresholds: Sequence[Threshold],
        *,
        now: Callable[[], float],
        end: End,
        tell: Tell,
        attempts: Attempt,
        observe: Callable[[], Mapping[Signal, Observation]],
        reclaim: Callable[[], Awaitable[int]],
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._cache = cache
        self._pods = pods
        self._thresholds = thresholds
        self._now = now
        self._end = end
        self._tell = tell
        self._attempts = attempts
        self._observe = observe
        self._reclaim = reclaim
        self._seen_at: dict[str, float] = {}
        self.pressures: frozenset[str] = frozenset()

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Look for ever."""
        while True:
            await sleep(PERIOD_SECONDS)
            try:
                await self.look()
            except (RuntimeFailure, OSError) as error:
                logger.warning("the node's memory and disk not looked at error=%s", error)

    async def look(self) -> None:
        """Look once: at each pod's own limits, then at the node."""
        running = [pod for pod in self._pods() if not is_terminated(pod)]
        limited = [pod for pod in running if has_limits(pod)]
        over = False
        for pod, disk in zip(limited, await self._measure(limited), strict=True):
            if why := why_too_much(pod, disk):
                self._evict(pod, why)
                over = True
        short = find_short(self._thresholds, self._observe())
        await self._tell_pressures({PRESSURES[threshold.signal] for threshold, _ in short})
        if short and not over:
            await self._relieve(*short[0], running)

    async def _tell_pressures(self, seen: set[str]) -> None:
        now = self._now()
        self._seen_at |= dict.fromkeys(seen, now)
        held = frozenset(p for p, at in self._seen_at.items() if now - at < TRANSITION_SECONDS)
        if held != self.pressures:
            self.pressures = held
            await self._tell(held)

    async def _relieve(self, threshold: Threshold, seen: Observation, running: Sequence[Object]) -> None:
        """Free what nobody needs; where that is nothing, end the pod that is most to blame."""
        resource = RESOURCES[threshold.signal]
        self._attempts(resource)
        if threshold.signal != "memory.available" and await self._reclaim() > 0:
            return
        used, by_container = await self._usage(resource, running)
        ranked = rank(running, resource, used)
        if not ranked:
            logger.error("the node is short of %s, and no pod may be ended for it", resource)
            return
        pod = ranked[0]
        self._evict(pod, explain(threshold, seen) + _blame(pod, resource, by_container.get(uid(pod), {})))

    async def _usage(
        self, resource: str, pods: Sequence[Object]
    ) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
        """Return what each pod uses of a resource, and each container of it, by uid."""
        if resource == "memory":
            stats = await self._runtime.usage()
            by_container = {
                uid(pod): {
                    c.config.name: max(stats[c.id].memory_working_set_bytes, 0)
                    for c in self._cache.containers(uid(pod))
                    if c.id in stats
                }
                for pod in pods
            }
            return {pod_uid: sum(used.values()) for pod_uid, used in by_container.items()}, by_container
        measured = await self._measure(pods, inodes=resource == "inodes")
        disks = {uid(pod): disk for pod, disk in zip(pods, measured, strict=True)}
        return (
            {pod_uid: disk.total_bytes for pod_uid, disk in disks.items()},
            {pod_uid: dict(disk.containers) for pod_uid, disk in disks.items()},
        )

    def _evict(self, pod: Object, message: str) -> None:
        logger.warning("pod evicted pod=%s message=%s", pod_description(pod), message)
        self._end(uid(pod), REASON, message)

    # Measuring

    async def _measure(self, pods: Sequence[Object], *, inodes: bool = False) -> list[PodDisk]:
        """Return what each of the pods takes of the disk: bytes, or inodes."""
        if not pods:
            return []
        attempts = [(uid(pod), c) for pod in pods for c in self._cache.containers(uid(pod))]
        folders = [(uid(pod), place, path) for pod in pods for place, path in self._folders(pod)]
        written, held = await self._runtime.disk_usage(
            [container.id for _, container in attempts], [str(path) for *_, path in folders]
        )
        used: dict[tuple[str, str], int] = {}
        for key, usage in [
            *(
                ((pod_uid, f"c/{c.config.name}"), u)
                for (pod_uid, c), u in zip(attempts, written, strict=True)
            ),
            *(((pod_uid, place), u) for (pod_uid, place, _), u in zip(folders, held, strict=True)),
        ]:
            used[key] = used.get(key, 0) + _amount(usage, inodes)
        return [_pod_disk(pod, used) for pod in pods]

    def _folders(self, pod: Object) -> Iterable[tuple[str, Path]]:
        """Return where a pod's logs and emptyDirs are, each with what it counts for."""
        logs = log_directory(pod, self._settings.logs_directory)
        for container in (*init_containers(pod), *containers(pod)):
            yield f"c/{container['name']}", logs / container["name"]
        volumes = self._settings.pods_directory / uid(pod) / "volumes" / "kubernetes.io~empty-dir"
        for volume in pod["spec"].get("volumes") or []:
            if "emptyDir" in volume:
                yield f"v/{volume['name']}", volumes / volume["name"]


def _amount(usage: DiskUsage, inodes: bool) -> int:
    return usage.inodes if inodes else usage.used_bytes


def _pod_disk(pod: Object, used: Mapping[tuple[str, str], int]) -> PodDisk:
    volumes = [v for v in pod["spec"].get("volumes") or [] if "emptyDir" in v]
    return PodDisk(
        containers={
            c["name"]: used.get((uid(pod), f"c/{c['name']}"), 0)
            for c in (*init_containers(pod), *containers(pod))
        },
        volumes={v["name"]: used.get((uid(pod), f"v/{v['name']}"), 0) for v in volumes},
        memory=frozenset(v["name"] for v in volumes if v["emptyDir"].get("medium")),
    )


def _blame(pod: Object, resource: str, used: Mapping[str, int]) -> str:
    """Return upstream's words for each container that uses more than it asked for."""
    words = ""
    for container in containers(pod):
        request = container_requests(container).get(resource, 0)
        amount = used.get(container["name"], 0)
        if amount > request:
            shown = (
                (str(amount), str(request))
                if resource == "inodes"
                else (format_bytes(amount), format_bytes(request))
            )
            words += (
                f"Container {container['name']} was using {shown[0]}, request is {shown[1]}, "
                f"has larger consumption of {resource}. "
            )
    return words


def observe_machine(directory: Path, memory_available: int) -> dict[Signal, Observation]:
    """Return what is free on this machine now; `directory` is on the file system that pods write to."""
    disk = os.statvfs(directory)
    memory_capacity = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found: dict[Signal, Observation] = {
        "memory.available": Observation(memory_available, memory_capacity),
        "nodefs.available": Observation(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize),
    }
    if disk.f_files:  # some file systems (btrfs) have no fixed number of inodes
        found["nodefs.inodesFree"] = Observation(disk.f_favail, disk.f_files)
    return found
