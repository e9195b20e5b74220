"""Have many connections watch, create one object after the other, and see when each watcher has its event."""

from __future__ import annotations

import asyncio
import time

from raw_client import Ask, Connection

LIMIT_SECONDS = 60


class FanOut:
    """Watchers that are told of the same things."""

    def __init__(self, watchers: list[Connection]) -> None:
        self._watchers = watchers
        self._marker = b""
        self._begun = 0.0
        self._latencies: list[float] = []
        self._waiting = 0
        self._all_seen = asyncio.Event()

    async def open(self, path: str) -> None:
        """Begin the watches; return when all have an answer."""
        await asyncio.gather(*[watcher.watch(path, self._on_chunk) for watcher in self._watchers])

    async def tell(self, writer: Connection, name: str, ask: Ask) -> list[float]:
        """Send a create of the object called `name`; return the ms until each watcher had its event."""
        self._marker, self._waiting = f'"name":"{name}"'.encode(), len(self._watchers)
        self._latencies = []
        self._all_seen.clear()
        self._begun = time.perf_counter()
        status, body = await writer.send(ask)
        if not 200 <= status < 300:
            raise RuntimeError(f"{ask.method} {ask.path}: {status} {body[:300]!r}")
        await asyncio.wait_for(self._all_seen.wait(), LIMIT_SECONDS)
        return self._latencies

    def close(self) -> None:
        """End the watches."""
        for watcher in self._watchers:
            watcher.close()

    def _on_chunk(self, chunk: bytes) -> None:
        if self._marker and self._marker in chunk:
            self._latencies.append((time.perf_counter() - self._begun) * 1000)
            self._waiting -= 1
            if not self._waiting:
                self._all_seen.set()
