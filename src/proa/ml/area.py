"""Run an area's reconcilers from the first object of their kinds on; until then nothing of them is imported.

A kind that nobody uses costs a watch of metadata. After a restart its objects are there, and work goes on at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from proa.client.protocol import Client
from proa.objects.errors import ApiError, NotFound
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import Resource

if TYPE_CHECKING:
    from proa.reconcile.events import EventSink
    from proa.reconcile.informer import InformerFactory
    from proa.reconcile.manager import Manager
    from proa.reconcile.protocol import Controller

logger = logging.getLogger(__name__)

REST_SECONDS = 0.1
"""Between two watches for a first object."""
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 1.0, 30.0


class Opened(NamedTuple):
    """What runs, and what its controllers find as `context.settings`."""

    controllers: Sequence[Controller]
    settings: Any = None


@dataclass(frozen=True, slots=True)
class Part:
    """What is begun together: the files of its kinds, what it begins with, and what then runs.

    `open` imports the controllers and opens what they need; what it puts on the stack is closed after them.
    """

    name: str
    definitions: tuple[Path, ...]
    begins_with: tuple[Resource, ...]
    open: Callable[[AsyncExitStack], Awaitable[Opened]]


class Area:
    """All parts of one area. `client` acts as its account; `install` makes what a cluster has for it from the start."""

    def __init__(
        self, client: Client, parts: Sequence[Part], install: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._client = client
        self._parts = parts
        self._install = install
        self._informers: InformerFactory | None = None
        self._events: EventSink | None = None
        self._managers: dict[str, Manager] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def definitions(self) -> list[Path]:
        """Return the files of its kinds."""
        return [file for part in self._parts for file in part.definitions]

    async def ensure_definitions(self) -> None:
        """See that the API server knows all kinds, but for those that are somebody else's; raise ApiError."""
        await ensure_definitions(self._client, self.definitions)

    async def run(self) -> None:
        """Wait, and work, until cancelled; raise what any part fails with."""
        await _all_of([self._install_in_time(), *(self._run(part) for part in self._parts)])

    def start(self, informers: InformerFactory, events: EventSink) -> None:
        """Wait and work until `stop`, with another manager's informers; a part that fails begins again, ever later."""
        self._informers, self._events = informers, events
        self._task = asyncio.create_task(self._run_all_again())

    async def stop(self) -> None:
        """End all of it; what is under way goes on at the next start."""
        if self._task is not None:
            await _cancel([self._task])

    def queue_depths(self) -> dict[str, float]:
        """Return how many keys are ready to be worked on, for each controller's name."""
        return {name: depth for one in self._managers.values() for name, depth in one.queue_depths().items()}

    async def _run_all_again(self) -> None:
        await _all_of([self._install_in_time(), *(self._run_again(part) for part in self._parts)])

    async def _install_in_time(self) -> None:
        """Make what belongs to the area; where the API server does not let us, or not yet, again, ever later."""
        seconds, said = REST_SECONDS, ""
        while self._install is not None:
            try:
                await self._install()
                return
            except ApiError as error:
                if error.message != said and not isinstance(error, NotFound):
                    said = error.message
                    logger.warning("what an area has from the start cannot be made: %s", said)
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, LAST_WAIT_SECONDS)

    async def _run_again(self, part: Part) -> None:
        seconds = FIRST_WAIT_SECONDS
        while True:
            try:
                await self._run(part)
            except Exception:
                logger.exception("%s has failed; it begins again in %.0f s", part.name, seconds)
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, LAST_WAIT_SECONDS)

    async def _run(self, part: Part) -> None:
        await until_there(self._client, part.begins_with)
        from proa.reconcile.manager import Manager

        async with AsyncExitStack() as stack:
            opened = await part.open(stack)
            manager = self._managers[part.name] = Manager(
                self._client,
                opened.controllers,
                opened.settings,
                client_of=lambda _: self._client,
                informers=self._informers,
                events=self._events,
            )
            await manager.run()


async def ensure_definitions(client: Client, files: Sequence[Path]) -> None:
    """See that the API server knows these kinds, but for those that are somebody else's; raise ApiError."""
    from proa.ml import definitions

    for name in await definitions.ensure_definitions(client, files):
        logger.warning("the definition %s is not Proa's: it stays as it is", name)


async def until_there(client: Client, resources: Sequence[Resource]) -> None:
    """Return once there is an object of one of these kinds."""
    waiting = [asyncio.create_task(_until_there(client, resource)) for resource in resources]
    try:
        ended, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        await _cancel(waiting)


async def _until_there(client: Client, resource: Resource) -> None:
    seconds, said = FIRST_WAIT_SECONDS, ""
    while True:
        try:
            found = await client.list(resource, limit=1, metadata_only=True)
            if found.items:
                return
            seconds = FIRST_WAIT_SECONDS
            version = found.resource_version
            async for event in client.watch(resource, resource_version=version, metadata_only=True):
                if event.type == "ADDED":
                    return
            await asyncio.sleep(REST_SECONDS)
        except ApiError as error:
            if error.message != said:
                said = error.message
                logger.warning("%s cannot be watched: %s", resource.qualified_name, said)
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, LAST_WAIT_SECONDS)


async def _all_of(work: Sequence[Awaitable[None]]) -> None:
    """Await all; where one fails, end the others and raise it."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _cancel(tasks)


async def _cancel(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
