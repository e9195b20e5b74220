"""Write Events about objects, counting repeats instead of repeating them, and never hold up who reports.

Reports go into a bounded queue; one task, alive only while there is something to write, drains it. What is the
same is one Event whose count rises; more than ten alike within ten minutes become one "(combined from similar
events)"; an object that keeps reporting is held to 25 and then one in five minutes. Follows client-go's
tools/record (event.go, events_cache.go).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import field, replace
from typing import Any, Generic, TypeVar

from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.errors import ApiError, NotFound
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import EVENTS
from proa.reconcile.workqueue import TokenBucket

logger = logging.getLogger(__name__)

QUEUE_LIMIT = 1000
WRITES_AT_ONCE = 32
REMEMBERED = 4096
SPAM_BURST = 25
SPAM_PER_SECOND = 1 / 300
SIMILAR_LIMIT = 10
SIMILAR_SECONDS = 600.0
RETRIES = 12
RETRY_SECONDS = 1.0
COMBINED_PREFIX = "(combined from similar events): "

Reference = tuple[str, str, str, str, str, str]
"""apiVersion, kind, namespace, name, uid, fieldPath of what an Event is about."""


@dataclass(frozen=True, slots=True)
class _Report:
    """One call of `event`, or several equal ones (`times`)."""

    source: tuple[str, str]
    about: Reference
    resource_version: str
    type: str
    reason: str
    message: str
    at: float
    times: int = 1
    is_combined: bool = False

    @property
    def identity(self) -> tuple[object, ...]:
        """What must be equal for two reports to be one Event."""
        message = None if self.is_combined else self.message
        return (self.source, self.about, self.type, self.reason, message)


@dataclass(slots=True)
class _Written:
    """An Event in the API that a repeat is counted on."""

    name: str
    count: int


@dataclass(slots=True)
class _Similar:
    """Different messages of one kind about one object, lately."""

    messages: set[str] = field(default_factory=set)
    last: float = 0.0


class EventSink:
    """Where recorders of one process write. `now` returns seconds since the epoch."""

    def __init__(
        self,
        client: Client,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._now = now
        self._sleep = sleep
        self._queue: deque[_Report] = deque()
        self._task: asyncio.Task[None] | None = None
        self._written: _Recent[_Written] = _Recent()
        self._similar: _Recent[_Similar] = _Recent()
        self._buckets: _Recent[TokenBucket] = _Recent()
        self._sequence = 0
        self.dropped = 0
        """How many reports were lost to a full queue or to rate limits."""

    def recorder(self, component: str, host: str = "") -> Recorder:
        """Return the recorder of a component ("kubelet", "deployment-controller") on a host."""
        return Recorder(self, (component, host))

    def report(
        self, source: tuple[str, str], obj: Object, type: str, reason: str, message: str, field_path: str
    ) -> None:
        """Take a report in; drop it when the object reports too much or the queue is full."""
        about = _reference(obj, field_path)
        now = self._now()
        bucket = self._buckets.get_or_make(
            (source, about[:5]), lambda: TokenBucket(SPAM_PER_SECOND, SPAM_BURST, self._now)
        )
        if not bucket.try_take() or len(self._queue) >= QUEUE_LIMIT:
            self.dropped += 1
            logger.debug("event dropped object=%s reason=%s message=%s", meta.key_of(obj), reason, message)
            return
        self._queue.append(_Report(source, about, meta.resource_version(obj), type, reason, message, now))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain(), name="events")

    async def flush(self) -> None:
        """Return when all that was reported is written or given up."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def stop(self, seconds: float = 1.0) -> None:
        """Write what is left, for at most so long, and end the task."""
        task = self._task
        if task is None:
            return
        await asyncio.wait([task], timeout=seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _drain(self) -> None:
        try:
            while self._queue:
                batch: dict[tuple[object, ...], _Report] = {}
                while self._queue and len(batch) < WRITES_AT_ONCE:
                    report = self._combined(self._queue.popleft())
                    earlier = batch.get(report.identity)
                    times = earlier.times + 1 if earlier else 1
                    batch[report.identity] = replace(report, times=times)
                await asyncio.gather(*(self._write(report) for report in batch.values()))
        finally:
            self._task = None

    def _combined(self, report: _Report) -> _Report:
        """Return the report, marked as one of many where too many similar ones came before."""
        key = (report.source, report.about, report.type, report.reason)
        similar = self._similar.get_or_make(key, _Similar)
        if report.at - similar.last > SIMILAR_SECONDS:
            similar.messages.clear()
        similar.last = report.at
        if len(similar.messages) < SIMILAR_LIMIT:
            similar.messages.add(report.message)
        if report.message in similar.messages:
            return report
        return replace(report, message=COMBINED_PREFIX + report.message, is_combined=True)

    async def _write(self, report: _Report) -> None:
        for attempt in range(1, RETRIES + 1):
            try:
                await self._create_or_count(report)
                return
            except ApiError as error:
                if error.code < 500 and error.code != 429:
                    logger.info(
                        "event refused object=%s reason=%s error=%s", report.about[3], report.reason, error
                    )
                    return
                if attempt == RETRIES:
                    logger.warning(
                        "event given up object=%s reason=%s error=%s", report.about[3], report.reason, error
                    )
            await self._sleep(RETRY_SECONDS * attempt)

    async def _create_or_count(self, report: _Report) -> None:
        namespace = report.about[2] or "default"
        written = self._written.get(report.identity)
        if written is not None:
            count = written.count + report.times
            patch = {"count": count, "lastTimestamp": meta.format_time(report.at), "message": report.message}
            try:
                await self._client.patch(EVENTS, written.name, patch, namespace)
            except NotFound:  # events expire: begin a new one
                self._written.forget(report.identity)
            else:
                written.count = count
                return
        event = self._make_event(report, namespace)
        await self._client.create(EVENTS, event, namespace)
        self._written.put(report.identity, _Written(event["metadata"]["name"], report.times))

    def _make_event(self, report: _Report, namespace: str) -> Object:
        api_version, kind, _, name, uid, field_path = report.about
        component, host = report.source
        self._sequence += 1
        nanoseconds = int(report.at * 1e6) * 1000 + self._sequence % 1000
        at = meta.format_time(report.at)
        involved = {
            "kind": kind,
            "namespace": report.about[2],
            "name": name,
            "uid": uid,
            "apiVersion": api_version,
            "resourceVersion": report.resource_version,
            "fieldPath": field_path,
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{nanoseconds:x}", "namespace": namespace},
            "involvedObject": {key: value for key, value in involved.items() if value},
            "reason": report.reason,
            "message": report.message,
            "source": {"component": component, "host": host} if host else {"component": component},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": report.times,
            "type": report.type,
            "reportingComponent": component,
            "reportingInstance": host,
        }


@dataclass(frozen=True, slots=True)
class Recorder:
    """`reconcile.protocol.EventRecorder` of one component."""

    sink: EventSink
    source: tuple[str, str]

    def event(self, obj: Object, type: str, reason: str, message: str, field_path: str = "") -> None:
        """Report; `field_path` names a part of the object (`spec.containers{web}`)."""
        self.sink.report(self.source, obj, type, reason, message, field_path)


V = TypeVar("V")


class _Recent(Generic[V]):
    """A map that forgets what was longest unused."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Any, V] = OrderedDict()

    def get(self, key: object) -> V | None:
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def get_or_make(self, key: object, make: Callable[[], V]) -> V:
        value = self.get(key)
        if value is None:
            value = make()
            self.put(key, value)
        return value

    def put(self, key: object, value: V) -> None:
        self._entries[key] = value
        if len(self._entries) > REMEMBERED:
            self._entries.popitem(last=False)

    def forget(self, key: object) -> None:
        self._entries.pop(key, None)


def _reference(obj: Object, field_path: str) -> Reference:
    return (
        obj.get("apiVersion", ""),
        obj.get("kind", ""),
        meta.namespace(obj),
        meta.name(obj),
        meta.uid(obj),
        field_path,
    )
