"""Bring what a model is asked and answers to a sink, without ever delaying a request.

Events wait in a queue of bounded length and size; what finds no room is dropped and counted. Tasks take them from there
to the sink; a failure is counted, and told once for as long as it stays the same. `close` brings away what waits.
Source: KServe's pkg/logger/handler.go and dispatcher.go.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from proa.ml.serving.payloads.event import REQUEST, RESPONSE, Event
from proa.ml.serving.payloads.flags import LogSettings

MAX_EVENTS, MAX_BYTES = 1000, 64 * 1024 * 1024
MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
"""A longer body is not logged, but counted as dropped."""
ID_HEADER = b"ce-id"
MAX_ID = 256
_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where events go."""

    workers: int
    """How many tasks bring events at once."""
    batch_size: int
    batch_seconds: float
    """A batch that is not full waits no longer; 0: until it is full."""

    async def write(self, events: Sequence[Event]) -> None:
        """Bring a batch there; raise OSError or SinkError."""

    async def close(self) -> None:
        """Let go of connections."""


class SinkError(Exception):
    """A sink does not take an event: why."""


class Logged(NamedTuple):
    """What is known of a request from its head: its id, the type of its body, and the headers to pass on."""

    id: str
    content_type: str
    metadata: dict[str, list[str]]


class Counts(NamedTuple):
    """So many events, from the start on."""

    sent: int
    dropped: int
    failed: int


class PayloadLogger:
    """Logs for one server; all of its methods belong to one event loop."""

    def __init__(self, settings: LogSettings, sink: Sink) -> None:
        self._settings = settings
        self._sink = sink
        self._metadata_names = {name.lower().encode() for name in settings.metadata_headers}
        self.logs_requests = settings.mode in {"all", "request"}
        self.logs_responses = settings.mode in {"all", "response"}
        self._waiting: deque[Event] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._sent = self._dropped = self._failed = 0
        self._said = ""

    @property
    def counts(self) -> Counts:
        """What became of events."""
        return Counts(self._sent, self._dropped, self._failed)

    def start(self) -> None:
        """Begin to bring events away."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._work(), name="payloads") for _ in range(self._sink.workers)]

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> Logged:
        """Return what the events of a request with these headers have in common."""
        identity, kind, metadata = "", "", dict[str, list[str]]()
        for name, value in headers:
            lower = name.lower()
            if lower == ID_HEADER:
                identity = value.decode("latin-1")[:MAX_ID]
            elif lower == b"content-type":
                kind = value.decode("latin-1")
            if lower in self._metadata_names:
                metadata.setdefault(_canonical(lower), []).append(value.decode("latin-1"))
        return Logged(identity or str(uuid.uuid4()), kind, metadata)

    def request(self, logged: Logged, body: bytes) -> None:
        """Log a request's body, where requests are logged."""
        if self.logs_requests:
            self._put(Event(REQUEST, logged.id, logged.content_type, body, logged.metadata, time.time()))

    def response(self, logged: Logged, body: bytes, content_type: str = "") -> None:
        """Log the body of an answer that is a success, where answers are logged."""
        if self.logs_responses:
            kind = content_type or logged.content_type
            self._put(Event(RESPONSE, logged.id, kind, body, logged.metadata, time.time()))

    def dropped(self) -> None:
        """Count an event that was too large to be kept."""
        self._dropped += 1

    def _put(self, event: Event) -> None:
        size = len(event.body)
        too_many = len(self._waiting) >= MAX_EVENTS or self._waiting_bytes + size > MAX_BYTES
        if self._closing or too_many or size > MAX_PAYLOAD_BYTES:
            self._dropped += 1
            return
        self._waiting.append(event)
        self._waiting_bytes += size
        self._wake.set()

    async def close(self, grace_seconds: float = 10.0) -> None:
        """Take no more, bring away what waits, and end."""
        self._closing = True
        self._wake.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._dropped += len(self._waiting)
        self._waiting.clear()
        await self._sink.close()

    async def _work(self) -> None:
        while True:
            batch = await self._next_batch()
            if not batch:
                return
            try:
                await self._sink.write(batch)
                self._sent += len(batch)
                self._said = ""
            except (OSError, SinkError) as error:
                self._failed += len(batch)
                self._tell(str(error))

    async def _next_batch(self) -> list[Event]:
        """Return what goes to the sink next; nothing at the end."""
        while not self._waiting:
            if self._closing:
                return []
            self._wake.clear()
            await self._wake.wait()
        if self._sink.batch_size > 1:
            await self._fill()
        batch = [self._waiting.popleft() for _ in range(min(self._sink.batch_size, len(self._waiting)))]
        self._waiting_bytes -= sum(len(event.body) for event in batch)
        return batch

    async def _fill(self) -> None:
        """Wait until there is a batch, or time is up."""
        try:
            async with asyncio.timeout(self._sink.batch_seconds or None):
                while len(self._waiting) < self._sink.batch_size and not self._closing:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            return

    def _tell(self, message: str) -> None:
        if message != self._said:
            self._said = message
            _log.warning("payloads are lost: %s", message)


def _canonical(name: bytes) -> str:
    """Return a header's name as Go writes it."""
    return "-".join(part.capitalize() for part in name.decode("latin-1").split("-"))
