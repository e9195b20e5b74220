"""Build and wire the parts of pipelines: what `proa up` and `proa pipelines serve` both start.

Nothing is opened or running until the first request or the first Run, or from `start_in_background` on where a
database is from before: who does not use pipelines does not pay for them. Services and accounts are made once, after
the cluster is ready.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proa.client.protocol import Client, Request, Response
from proa.objects.quick_dataclass import dataclass

if TYPE_CHECKING:
    from proa.httpd.server import HttpServer
    from proa.ml.pipelines.api.app import Api
    from proa.ml.pipelines.api.services import Services
    from proa.ml.pipelines.operator.operator import Operator
    from proa.ml.pipelines.recurring.loop import RecurringRuns

logger = logging.getLogger(__name__)

ACCOUNT = "pipelines-operator"
MAX_CONNECTIONS = 512
MAX_HELD_BYTES = 256 * 1024 * 1024
"""Of uploads under way, all together: who is in a pod needs no token to begin one."""
RETRY_SECONDS = 0.1
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class PipelinesSettings:
    """`database` is a file's path or a `postgresql://` URL; `artifacts` is a folder that pods share, None for none.

    `install` makes the cluster's objects for pipelines, where that is ours to do.
    """

    database: str
    artifacts: Path | None = None
    image: str = ""
    """What has Proa and obstore, for containers that fetch and deliver; "" is this machine's own."""
    hosts: Mapping[str, str] | None = None
    """Object stores' hosts as pods call them, and as this process does where it calls them otherwise."""
    node_ports: str = ""
    """Where this process has the cluster's NodePorts; "" for one in the pods' network, which needs none."""
    install: Callable[[], Awaitable[None]] | None = None

    def has_database(self) -> bool:
        """Tell whether there may be something from before."""
        return "://" in self.database or os.path.exists(self.database)


class Pipelines:
    """Kubeflow Pipelines of one cluster. `client` acts as ACCOUNT."""

    NAME = "v2beta1"
    """What is below `/apis/` of the API server's own."""

    def __init__(self, client: Client, settings: PipelinesSettings) -> None:
        self._client = client
        self._settings = settings
        self._stack = AsyncExitStack()
        self._starting: asyncio.Task[Api] | None = None
        self._background: asyncio.Task[None] | None = None
        self._working: list[asyncio.Task[None]] = []
        self._servers: dict[bool, HttpServer] = {}
        self._listeners: set[PipelinesListener] = set()

    async def handle(self, request: Request) -> Response:
        """Answer a request that may come without a token."""
        return await self._answer(request, needs_token=False)

    async def handle_with_token(self, request: Request) -> Response:
        """Answer a request from where anybody may come from."""
        return await self._answer(request, needs_token=True)

    def listen(self, listener: socket.socket, *, needs_token: bool = False) -> PipelinesListener:
        """Serve a listening socket from its first connection on; until then it costs a descriptor."""
        listening = PipelinesListener(listener, lambda sock: self._serve(sock, needs_token=needs_token))
        self._listeners.add(listening)
        return listening

    def start_in_background(self) -> None:
        """Make what the cluster must have, and begin where there may be something to go on with."""
        self._background = asyncio.create_task(self._begin(), name="pipelines")

    async def start(self) -> None:
        """Open the database, and begin to answer and to work; raise what keeps it from that."""
        await self._ensure()

    async def run(self) -> None:
        """Start, once the database answers, and work until cancelled; raise what any part fails with."""
        await self._ensure_in_time()
        ended, _ = await asyncio.wait(self._working, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()

    async def stop(self) -> None:
        """End all of it; runs go on at the next start."""
        for listening in self._listeners:
            listening.close()
        for task in (self._background, self._starting):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for server in self._servers.values():
            await server.close()
        await self._stack.aclose()

    async def _begin(self) -> None:
        try:
            if self._settings.install is not None:
                await self._settings.install()
            if not self._settings.has_database():
                await self._until_a_run_is_made()
            await self._ensure_in_time()
        except Exception:
            logger.exception("pipelines do not start; they are tried again at the first request")

    async def _ensure_in_time(self) -> None:
        """Start; while the database does not answer, wait for it: runs that were under way wait too."""
        from proa.ml.database.errors import Unavailable

        seconds = FIRST_WAIT_SECONDS
        while True:
            try:
                await self._ensure()
                return
            except Unavailable as error:
                logger.warning("pipelines wait for their database: %s", error)
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, LAST_WAIT_SECONDS)

    async def _answer(self, request: Request, *, needs_token: bool) -> Response:
        try:
            api = await self._ensure()
        except Exception as error:
            from proa.ml.pipelines.api.refusals import Code, make_answer

            logger.exception("pipelines do not start")
            return make_answer(Code.UNAVAILABLE, f"pipelines cannot start: {error}")
        return await api.handle(request, needs_token=needs_token)

    async def _ensure(self) -> Api:
        """Return the API, started if it is not; one that failed to start is tried anew."""
        task = self._starting
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._starting = asyncio.create_task(self._start(), name="pipelines start")
        return await asyncio.shield(task)

    async def _serve(self, listener: socket.socket, *, needs_token: bool) -> asyncio.Server:
        server = self._servers.get(needs_token)
        if server is None:
            from proa.httpd.server import HttpServer
            from proa.ml.pipelines.api.uploads import MAX_UPLOAD_BYTES

            server = self._servers[needs_token] = HttpServer(
                self.handle_with_token if needs_token else self.handle,
                max_body_bytes=MAX_UPLOAD_BYTES,
                max_connections=MAX_CONNECTIONS,
                max_held_bytes=MAX_HELD_BYTES,
            )
        return await server.serve(listener)

    async def _start(self) -> Api:
        from proa.ml.pipelines.api.app import Api

        self._working = []
        async with AsyncExitStack() as stack:
            services, loop = await self._open(stack)
            await self._start_operator(stack, services)
            self._begin_work(stack, loop.run(), "recurring runs")
            self._stack = stack.pop_all()
        return Api(services)

    async def _open(self, stack: AsyncExitStack) -> tuple[Services, RecurringRuns]:
        from proa.ml.pipelines.api.access import Access
        from proa.ml.pipelines.api.creation import create_recurring
        from proa.ml.pipelines.api.services import Services
        from proa.ml.pipelines.artifacts.choice import HOST_IMAGE, ArtifactStores, StoreSettings
        from proa.ml.pipelines.artifacts.endpoints import Outside
        from proa.ml.pipelines.database.database import open_database
        from proa.ml.pipelines.recurring.loop import RecurringRuns, find_zone

        settings = self._settings
        database = await open_database(settings.database)
        stack.push_async_callback(database.close)
        outside = Outside(settings.hosts, settings.node_ports)
        image = settings.image or HOST_IMAGE
        stores = ArtifactStores(self._client, StoreSettings(settings.artifacts, image, outside))
        stack.push_async_callback(stores.close)
        loop: RecurringRuns

        def look_at(recurring_run_id: str) -> None:
            loop.look_at(recurring_run_id)

        services = Services(database, self._client, Access(self._client), stores, look_at)
        loop = RecurringRuns(
            database.recurring,
            lambda recurring, wanted: create_recurring(services, recurring, wanted),
            find_zone(),
        )
        return services, loop

    async def _start_operator(self, stack: AsyncExitStack, services: Services) -> None:
        """Begin to carry out runs; return once their objects can be made."""
        from proa.ml.pipelines.operator.operator import Operator
        from proa.ml.pipelines.operator.resources import ensure_definition
        from proa.ml.pipelines.operator.settings import OperatorSettings

        operator: Operator = Operator(
            self._client,
            services.database,
            services.stores,
            OperatorSettings(),
            time.time,
            recurring_ended=services.look_at,
        )
        await ensure_definition(self._client)
        self._begin_work(stack, operator.run(), "pipelines operator")
        await self._wait_until_served()

    def _begin_work(self, stack: AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        stack.push_async_callback(_cancel, task)
        task.add_done_callback(_say_why)
        self._working.append(task)

    async def _until_a_run_is_made(self) -> None:
        """Have the API server know what a Run is, and return when there is one: `kubectl apply` makes it."""
        from proa.ml.pipelines.operator.resources import ensure_definition
        from proa.ml.pipelines.run_objects import RUNS
        from proa.objects.errors import ApiError

        await ensure_definition(self._client)
        await self._wait_until_served()
        while self._starting is None:
            try:
                found = await self._client.list(RUNS, limit=1)
                if found.items:
                    return
                version = found.resource_version
                async for event in self._client.watch(RUNS, resource_version=version, metadata_only=True):
                    if event.type == "ADDED":
                        return
            except ApiError as error:
                logger.warning("runs cannot be watched error=%s", error.message)
                await asyncio.sleep(RETRY_SECONDS)

    async def _wait_until_served(self) -> None:
        """Wait until the API server knows the kind of runs' objects: a moment after it has their definition."""
        from proa.ml.pipelines.run_objects import RUNS
        from proa.objects.errors import NotFound

        while True:
            with suppress(NotFound):
                await self._client.list(RUNS, limit=1)
                return
            await asyncio.sleep(RETRY_SECONDS)


class PipelinesListener:
    """A listening socket; `serve` takes it over when somebody connects."""

    def __init__(
        self, listener: socket.socket, serve: Callable[[socket.socket], Awaitable[asyncio.Server]]
    ) -> None:
        self._listener = listener
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        listener.setblocking(False)
        asyncio.get_running_loop().add_reader(listener.fileno(), self._begin)

    def close(self) -> None:
        """Accept no more."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._server is not None:
            self._server.close()
        elif self._task is None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()

    def _begin(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._task = asyncio.create_task(self._take_over(), name="pipelines listener")

    async def _take_over(self) -> None:
        server = await self._serve(self._listener)
        if self._is_closed:
            server.close()
        self._server = server


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _say_why(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("%s has failed", task.get_name(), exc_info=error)
