"""Read every node's counters every few seconds, and keep what its pods use.

Reads GET nodes/{name}/proxy/stats/summary of each node in the cache, all at once; a node that does not answer has no
usage until it does. Follows metrics-server's pkg/scraper/scraper.go, whose resolution is 15 seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

from proa.client.protocol import Client
from proa.metrics.usage import NodeUsage, PodKey, Usage
from proa.objects.errors import ApiError
from proa.objects.meta import name
from proa.reconcile.protocol import Cache

logger = logging.getLogger(__name__)
RESOLUTION_SECONDS = 15.0
TIMEOUT_SECONDS = 10.0


class Scraper:
    """The usage of all nodes of `nodes`, a cache. `now` returns epoch seconds."""

    def __init__(
        self,
        client: Client,
        nodes: Cache,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        resolution_seconds: float = RESOLUTION_SECONDS,
    ) -> None:
        self._client = client
        self._nodes = nodes
        self._now = now
        self._sleep = sleep
        self._resolution = resolution_seconds
        self._usage: dict[str, NodeUsage] = {}

    async def run(self) -> None:
        """Scrape until cancelled."""
        while True:
            await self.scrape()
            await self._sleep(self._resolution)

    async def scrape(self) -> None:
        """Read all nodes once."""
        names = [name(node) for node in self._nodes.list()]
        for gone in self._usage.keys() - set(names):
            del self._usage[gone]
        await asyncio.gather(*map(self._scrape_node, names))

    async def _scrape_node(self, node: str) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                summary = await self._client.request("GET", f"/api/v1/nodes/{node}/proxy/stats/summary")
        except (ApiError, TimeoutError) as error:
            logger.info("a node's usage cannot be read node=%s error=%s", node, error)
            self._usage.pop(node, None)
            return
        self._usage.setdefault(node, NodeUsage(self._resolution)).take(summary, self._now())

    def node(self, name: str) -> Usage | None:
        """Return what a node uses, None where that is not known."""
        found = self._usage.get(name)
        return found.node() if found else None

    def pods(self) -> Iterator[tuple[PodKey, dict[str, Usage]]]:
        """Yield (namespace, name) of each pod whose usage is known, with that of its containers."""
        for usage in self._usage.values():
            yield from usage.pods().items()
