"""Bring all of a resource to one place, and then every change of it: list once, watch, and list again when need be.

Errors back off; a watch that has expired begins with a list. What is kept of the objects is for the `Sink` to say: an
informer keeps them, others only take note. Follows client-go's tools/cache/reflector.go.
"""

from __future__ import annotations

import asyncio
import logging
import random as default_random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from proa.client.protocol import Client, Object, WatchEvent
from proa.objects.errors import ApiError, Expired
from proa.objects.resource import Resource

logger = logging.getLogger(__name__)

PAGE_SIZE = 500
FIRST_BACK_OFF_SECONDS = 0.1
MAX_BACK_OFF_SECONDS = 30.0
WATCH_SECONDS = 300
"""A watch is asked to last so long, and up to twice as long, so that one that has died unseen ends too."""


class Scope(NamedTuple):
    """Which part of a resource is followed."""

    resource: Resource
    namespace: str | None = None
    label_selector: str = ""
    field_selector: str = ""


class Sink(Protocol):
    """Takes what a reflector brings: a list in pages between `begin` and `finish`, then changes, in order."""

    def begin(self) -> None:
        """A list begins, the first one or another: what came of an unfinished one is void."""

    def page(self, items: Sequence[Object]) -> None:
        """Take a page of the list."""

    def finish(self, version: str) -> None:
        """The list was whole, as of `version`: what was in no page is gone."""

    def apply(self, event: WatchEvent) -> None:
        """Take a change."""


class Reflector:
    """One scope's list and watch; `run` goes on for ever."""

    def __init__(
        self,
        client: Client,
        scope: Scope,
        sink: Sink,
        *,
        random: Callable[[], float] = default_random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        metadata_only: bool = False,
    ) -> None:
        """With `metadata_only` the server sends no more of each object than its metadata."""
        self._client = client
        self._scope = scope
        self._sink = sink
        self._random = random
        self._sleep = sleep
        self._metadata_only = metadata_only

    async def run(self) -> None:
        """List, then watch, for ever; errors back off, Expired lists again."""
        failures = 0
        version = ""
        name = self._scope.resource.qualified_name
        while True:
            try:
                if not version:
                    version = await self._list()
                started_at = version
                async for event in self._watch(version):
                    self._sink.apply(event)
                    version = event.object["metadata"]["resourceVersion"]
                failures = 0
                if version != started_at:
                    continue
            except Expired:
                version = ""
                logger.info("watch expired, listing again resource=%s", name)
            except ApiError as error:
                logger.warning(
                    "list or watch failed resource=%s attempt=%d error=%s", name, failures + 1, error
                )
            await self._sleep(self._back_off(failures))
            failures += 1

    def _back_off(self, failures: int) -> float:
        seconds = min(FIRST_BACK_OFF_SECONDS * 2.0 ** min(failures, 32), MAX_BACK_OFF_SECONDS)
        return seconds * (1.0 + self._random())

    async def _list(self) -> str:
        """Bring one consistent list, page by page, and return its resourceVersion."""
        self._sink.begin()
        token = ""
        while True:
            page = await self._client.list(
                self._scope.resource,
                self._scope.namespace,
                label_selector=self._scope.label_selector,
                field_selector=self._scope.field_selector,
                limit=PAGE_SIZE,
                continue_token=token,
                metadata_only=self._metadata_only,
            )
            self._sink.page(page.items)
            token = page.continue_token
            if not token:
                break
        self._sink.finish(page.resource_version)
        return page.resource_version

    def _watch(self, version: str) -> AsyncIterator[WatchEvent]:
        return self._client.watch(
            self._scope.resource,
            self._scope.namespace,
            resource_version=version,
            label_selector=self._scope.label_selector,
            field_selector=self._scope.field_selector,
            timeout_seconds=int(WATCH_SECONDS * (1 + self._random())),
            metadata_only=self._metadata_only,
        )
