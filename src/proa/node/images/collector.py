"""Remove images that no container uses when the disk fills: the longest unused first, until there is room again.

Above 85% of the disk (that the images are on) it removes down to 80%, every five minutes, and no image that is younger
than two minutes. When the node is short of disk, all unused ones go. Follows pkg/kubelet/images/image_gc_manager.go.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from math import inf

from proa.images.errors import ImageError
from proa.images.garbage import Freed, collect, disk_usage, remove_leftovers
from proa.images.store import ImageStore, StoredImage
from proa.node.images.pull_records import PullRecords
from proa.node.images.puller import run_in_thread
from proa.objects.quick_dataclass import dataclass

logger = logging.getLogger(__name__)

PERIOD_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Percent of the disk: above `high` images are removed down to `low`; each stays for `min_age_seconds`."""

    high: int = 85
    low: int = 80
    min_age_seconds: float = 120.0


DEFAULT_THRESHOLDS = Thresholds()


@dataclass(slots=True)
class _Seen:
    first: float
    last_used: float


def plan(seen: dict[str, _Seen], used: frozenset[str], now: float, min_age_seconds: float) -> list[str]:
    """Return the ids of images that may go, in the order in which they should."""
    idle = [
        i for i, s in seen.items() if i not in used and s.last_used < now and now - s.first >= min_age_seconds
    ]
    return sorted(idle, key=lambda i: (seen[i].last_used, seen[i].first))


def excess_bytes(capacity: int, available: int, thresholds: Thresholds) -> int:
    """Return how much is to be freed on a disk of this size; 0 below the threshold."""
    if capacity <= 0 or 100 - available * 100 // capacity < thresholds.high:
        return 0
    return max(0, capacity * (100 - thresholds.low) // 100 - available)


class ImageCollector:
    """One node's. `used` returns the ids of images that containers use; `warn` tells an Event of the node."""

    def __init__(
        self,
        store: ImageStore,
        used: Callable[[], frozenset[str]],
        now: Callable[[], float],
        *,
        warn: Callable[[str, str], None],
        changed: Callable[[], None],
        thresholds: Thresholds = DEFAULT_THRESHOLDS,
        usage: Callable[[ImageStore], tuple[int, int]] = disk_usage,
    ) -> None:
        self._store = store
        self._used = used
        self._now = now
        self._warn = warn
        self._changed = changed
        self._thresholds = thresholds
        self._usage = usage
        self._records = PullRecords(store.directory)
        self._seen: dict[str, _Seen] = {}
        self._busy = asyncio.Lock()

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Look every five minutes, for ever; first of all remove what a server that was killed has left."""
        work: Callable[[], Awaitable[int]] = self._tidy
        while True:
            try:
                await work()
                work = self.look
            except (ImageError, OSError) as error:
                logger.warning("images not collected error=%s", error)
                self._warn("ImageGCFailed", str(error))
            await sleep(PERIOD_SECONDS)

    async def _tidy(self) -> int:
        await run_in_thread(functools.partial(remove_leftovers, self._store), "remove leftovers of images")
        return await self.look()

    async def look(self) -> int:
        """Free what is above the threshold; return how many bytes went."""
        async with self._busy:
            self._detect()
            amount = excess_bytes(*self._usage(self._store), self._thresholds)
            if not amount:
                return 0
            freed = await self._free(amount, self._thresholds.min_age_seconds)
        if freed < amount:
            message = "Failed to garbage collect required amount of images. "
            message += f"Attempted to free {amount} bytes, but only found {freed} bytes eligible to free."
            self._warn("FreeDiskSpaceFailed", message)
        return freed

    async def delete_unused(self) -> int:
        """Remove every image that no container uses; return how many bytes went."""
        async with self._busy:
            self._detect()
            freed = await self._free(inf, 0.0)
            return freed + (await self._collect(with_build_cache=True)).size

    async def _collect(self, *, with_build_cache: bool = False) -> Freed:
        work = functools.partial(collect, self._store, with_build_cache=with_build_cache)
        return await run_in_thread(work, "collect images")

    def _detect(self) -> list[StoredImage]:
        """Note which images are here, and which are used now."""
        images, used, now = self._store.images(), self._used(), self._now()
        for image in images:
            seen = self._seen.setdefault(image.id, _Seen(now, 0.0))
            if image.id in used:
                seen.last_used = now
        here = {image.id for image in images}
        self._seen = {i: seen for i, seen in self._seen.items() if i in here}
        return images

    async def _free(self, amount: float, min_age_seconds: float) -> int:
        freed = 0
        for image_id in plan(self._seen, self._store.pinned() | self._used(), self._now(), min_age_seconds):
            if freed >= amount:
                break
            logger.info("removing an unused image image=%s", image_id)
            self._store.untag(image_id)
            freed += (await self._collect()).size
        if freed:
            self._records.prune({image.id for image in self._store.images()})
            self._changed()
        return freed
