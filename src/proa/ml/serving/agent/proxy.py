"""Carry out clients' requests: probes here, predictions that are batched together, all else in the container.

All of one process and event loop. Source: the chain of handlers in KServe's cmd/agent/main.go: logger, batcher, proxy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from proa.ml.serving.agent.batcher import PREDICT, Batcher, Refused, Reply
from proa.ml.serving.agent.client_connection import ClientConnection
from proa.ml.serving.agent.copying import Copy
from proa.ml.serving.agent.exchange import Exchange, make_deadline
from proa.ml.serving.agent.gate import Full, Gate
from proa.ml.serving.agent.readiness import Readiness
from proa.ml.serving.agent.settings import Settings
from proa.ml.serving.payloads.logger import PayloadLogger
from proa.ml.serving.wire.http1_asking import AskError, ask
from proa.ml.serving.wire.http1_pool import Pool
from proa.ml.serving.wire.load_counter import LoadCounter

MAX_CONNECTIONS = 4096
SWEEP_SECONDS = 0.5
BATCH_SECONDS = 600.0
"""So long the container may work on a batch, unless there is a timeout."""
_PROBERS = (b"kube-probe/", b"Knative-Activator-Probe")
_PROBE_HEADER, _PROBE_VALUE = b"k-network-probe", b"queue"
_JSON = ((b"Content-Type", b"application/json"),)
_TEXT = ((b"Content-Type", b"text/plain; charset=utf-8"),)


class Proxy:
    """Stands before one container. `statuses` counts answers by their hundreds."""

    def __init__(self, settings: Settings, readiness: Readiness, logger: PayloadLogger | None) -> None:
        self.max_body_bytes = settings.max_body_bytes
        self.gate = Gate(settings.concurrency, settings.queue_depth)
        self.pool = Pool("127.0.0.1", settings.component_port)
        self.load = LoadCounter()
        self.statuses = [0] * 6
        self.is_draining = False
        self.last_request = time.monotonic()
        self.connections: set[ClientConnection] = set()
        self._timeout = settings.timeout_seconds
        self._readiness = readiness
        self._logger = logger
        self._batcher: Batcher | None = None
        if settings.is_batching:
            self._batcher = Batcher(self._ask, settings.max_batch_size, settings.max_latency_seconds)
        self._exchanges: set[Exchange] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # What connections call.

    def opened(self, connection: ClientConnection) -> bool:
        """Take in a connection, unless there are too many."""
        if len(self.connections) >= MAX_CONNECTIONS:
            return False
        self.connections.add(connection)
        return True

    def closed(self, connection: ClientConnection) -> None:
        self.connections.discard(connection)

    def carry_out(self, exchange: Exchange) -> None:
        """Begin with a request of which the head is here, and perhaps some of its body."""
        if _is_probe(exchange):
            exchange.hold()
            self._start(self._answer_probe(exchange))
            return
        exchange.is_counted = True
        self.load.arrived()
        exchange.deadline = make_deadline(self._timeout)
        self._exchanges.add(exchange)
        if self._logger is not None:
            exchange.copied_by(Copy(self._logger, self._logger.begin(exchange.headers)))
        if self._is_batched(exchange):
            exchange.hold()
            if exchange.body_is_whole:
                self.body_ended(exchange)
        else:
            exchange.begin()

    def body_ended(self, exchange: Exchange) -> None:
        """Go on with a request that is wanted whole."""
        if exchange.is_held and exchange.is_counted and not exchange.is_over:
            self._start(self._predict(exchange))

    def left(self, exchange: Exchange) -> None:
        """Hear that a request is over."""
        if exchange.is_counted:
            self.load.left()
            self.last_request = time.monotonic()
            self.statuses[exchange.status // 100 if exchange.status < 600 else 0] += 1
            self._exchanges.discard(exchange)

    # Probes and batches.

    async def _answer_probe(self, exchange: Exchange) -> None:
        is_ready = not self.is_draining and await self._readiness.is_ready()
        if exchange.is_over:
            return
        if is_ready:
            exchange.answer_whole(200, _TEXT, _PROBE_VALUE)
        else:
            exchange.refuse(503, "shutting down" if self.is_draining else "container not ready")

    def _is_batched(self, exchange: Exchange) -> bool:
        return self._batcher is not None and exchange.target.partition(b"?")[0].endswith(PREDICT)

    async def _predict(self, exchange: Exchange) -> None:
        assert self._batcher is not None
        path = exchange.target.partition(b"?")[0].decode("latin-1")
        try:
            answer = await self._batcher.predict(path, b"".join(exchange.pieces))
        except Refused as error:
            if not exchange.is_over:
                exchange.refuse(error.status, str(error))
            return
        if not exchange.is_over:
            exchange.answer_whole(200, _JSON, answer)

    async def _ask(self, path: str, body: bytes) -> Reply:
        """Send a batch to the container, when it is let in."""
        entrant = _Batch()
        try:
            self.gate.ask(entrant)
        except Full:
            return Reply(503, b"pending request queue full")
        await entrant.entered.wait()
        seconds = self._timeout or BATCH_SECONDS
        try:
            answer = await ask(
                self.pool, "POST", path, {"Content-Type": "application/json"}, body, seconds=seconds
            )
            return Reply(answer.status, answer.body)
        except AskError as error:
            return Reply(504 if error.is_late else 502, f"the container gave no answer: {error}".encode())
        finally:
            self.gate.leave()

    # Time.

    async def sweep(self) -> None:
        """End what has taken too long: one timer for all."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            self.pool.close_old()
            if self._timeout:
                for exchange in tuple(self._exchanges):
                    if 0 < exchange.deadline < now:
                        exchange.time_is_up()
            for connection in tuple(self.connections):
                if 0 < connection.deadline < now:
                    connection.abort()

    async def drain(self, quiet_seconds: float, most_seconds: float) -> None:
        """Tell that we are not ready, and return once nothing is in hand and nobody has asked for a while."""
        self.is_draining = True
        self.last_request = time.monotonic()
        last = time.monotonic() + most_seconds
        while time.monotonic() < last:
            if self._batcher is not None:
                self._batcher.flush()
            rest = self.last_request + quiet_seconds - time.monotonic()
            if rest <= 0 and not self.load.in_hand:
                return
            await asyncio.sleep(min(max(rest, 0.05), last - time.monotonic() + 0.001))

    async def close(self) -> None:
        """Close all connections, those without a request under way first."""
        for connection in tuple(self.connections):
            connection.finish_up()
        await asyncio.sleep(0)
        for connection in tuple(self.connections):
            connection.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.pool.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Batch:
    """A batch that waits at the gate."""

    is_over = False

    def __init__(self) -> None:
        self.entered = asyncio.Event()

    def enter(self) -> None:
        self.entered.set()


def _is_probe(exchange: Exchange) -> bool:
    """Tell whether a kubelet or a part of serving asks whether we are ready."""
    for name, value in exchange.headers:
        if name == b"user-agent":
            if value.startswith(_PROBERS):
                return True
        elif name == _PROBE_HEADER:
            return value == _PROBE_VALUE
    return False
