"""Keep every acknowledged write through a crash at any point, in an append-only log in one directory.

The event loop judges writes and gives them revisions, the committer thread makes them durable in batches, and
only then does the event loop let readers and watchers see them. Memory holds every key, its place on disk, and
up to `HOT_BYTES` of values; other values are read from the files when they are asked for. Formats are in
segment.py, start-up in recovery.py, disk bounds in compaction.py; docs/decisions/0001-append-log-store.md says why.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from proa.store.committer import Committer, Resume, Seal, Write
from proa.store.compaction import write_base
from proa.store.disk import Disk
from proa.store.history import History, Past
from proa.store.protocol import (
    CannotOpen,
    Change,
    DiskFull,
    Entry,
    Page,
    ReadOnly,
    RevisionMismatch,
    StoreError,
    Watch,
)
from proa.store.recovery import recover
from proa.store.segment import DELETE, DELETE_WITH_LAST, MAX_KEY_BYTES, PUT, Place
from proa.store.transformer import Plain, Transformer
from proa.store.watch import Watchers

SEGMENT_BYTES = 16 << 20
HOT_BYTES = 8 << 20
"""How much of the values is kept in memory: all of a small cluster, the last written of a large one."""

_MOVED_AT_ONCE = 2_000

logger = logging.getLogger(__name__)


class LogStore:
    """A `protocol.Store` on disk. Reads of values that are not in memory block for one read of a file.

    Values are in memory as they are, and on disk as `transformer` seals them.
    """

    def __init__(
        self,
        directory: Path,
        *,
        transformer: Transformer | None = None,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        """Open, or begin, the store in `directory`; raise CannotOpen."""
        self._directory = directory
        self._disk = disk or Disk()
        self._transformer = transformer or Plain()
        self._stale: set[str] = set()
        self._segment_bytes = segment_bytes
        self._history: History[Place] = History(self._load, clock=clock)
        self._watchers = Watchers()
        self._pending: dict[str, Write] = {}
        self._outbox: list[Write] = []
        self._hot: dict[str, Entry] = {}
        self._hot_bytes = 0
        self._refusal = ""
        self._full = ""
        self._rewriting: asyncio.Task[None] | None = None
        self._dropped_bytes = 0
        self._rewrite_from = 0
        """How much must have been written to full files before rewriting is tried again."""
        _make_directory(self._disk, directory)
        self._lock = _lock(directory)
        try:
            found = recover(self._disk, directory, self._history, segment_bytes)
        except BaseException:
            os.close(self._lock)
            raise
        self._store_id = found.store_id
        self._accepted = self._history.revision
        self._live_bytes = sum(len(key) + place[2] for key, place in self._history.values.items())
        self._committer = Committer(
            self._disk,
            directory,
            found.active,
            found.prepared,
            segment_bytes,
            found.sealed_bytes,
            self._publish,
            self._fail,
            self._refuse_for_now,
        )

    @property
    def revision(self) -> int:
        """The newest durable revision; 0 while nothing was written."""
        return self._history.revision

    @property
    def oldest_revision(self) -> int:
        """The oldest revision that can be read and watched from."""
        return self._history.oldest

    is_shared = False
    """See `Store.is_shared`."""

    @property
    def refusal(self) -> str:
        """See `Store.refusal`; while the disk is full, that."""
        return self._refusal or self._full

    def get(self, key: str) -> Entry | None:
        """See `Store.get`."""
        return self._history.get(key)

    def latest(self, key: str) -> Entry | None:
        """See `Store.latest`."""
        write = self._pending.get(key)
        if write is None:
            return self._history.get(key)
        return write.entry if write.kind == PUT else None

    def is_stale(self, key: str) -> bool:
        """See `Store.is_stale`."""
        return key in self._stale

    def seal(self, entry: Entry) -> bytes:
        """See `Store.seal`."""
        return self._transformer.seal(entry.key, entry.value)

    def range(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0, ending: str = ""
    ) -> Page:
        """See `Store.range`."""
        return self._history.range(prefix, start_after, limit, revision, ending)

    def count(self, prefix: str) -> int:
        """See `Store.count`."""
        return self._history.count(prefix)

    async def put(
        self, key: str, encode: Callable[[int], bytes], *, expected_revision: int | None = None
    ) -> Entry:
        """See `Store.put`."""
        while expected_revision is not None and expected_revision != self._latest_revision(key):
            await self._refuse(key)
        revision = self._accepted + 1
        return await self._accept(key, PUT, encode(revision), revision)

    async def delete(
        self, key: str, encode: Callable[[int], bytes] | None = None, *, expected_revision: int | None = None
    ) -> Entry:
        """See `Store.delete`."""
        while (current := self.latest(key)) is None or expected_revision not in (None, current.revision):
            await self._refuse(key)
        revision = self._accepted + 1
        if encode is None:
            return await self._accept(key, DELETE, current.value, revision)
        return await self._accept(key, DELETE_WITH_LAST, encode(revision), revision)

    def watch(
        self, prefix: str, *, after_revision: int, wants: Callable[[Change], bool] | None = None
    ) -> Watch:
        """See `Store.watch`."""
        backlog = self._history.changes(prefix, after_revision)
        return self._watchers.subscribe(prefix, after_revision, backlog, wants)

    async def barrier(self) -> None:
        """See `Store.barrier`: there is no other writer."""

    async def compact(self, revision: int) -> None:
        """See `Store.compact`; also rewrites the log. Raises FutureRevision, ReadOnly, OSError (nothing is lost)."""
        self._history.compact(revision)
        while self._rewriting is not None:
            await asyncio.wait([self._rewriting])
        await asyncio.shield(self._start_rewriting())

    async def close(self) -> None:
        """See `Store.close`; watches end, and later writes raise ReadOnly."""
        if self._lock < 0:
            return
        self._refusal = self._refusal or "the store is closed"
        if self._rewriting is not None:
            await asyncio.wait([self._rewriting])
        self._hand_over()
        await asyncio.to_thread(self._committer.stop)
        self._watchers.end()
        os.close(self._lock)
        self._lock = -1

    def _latest_revision(self, key: str) -> int:
        write = self._pending.get(key)
        if write is not None:
            return write.entry.revision if write.kind == PUT else 0
        place = self._history.values.get(key)
        return place[3] if place is not None else 0

    async def _refuse(self, key: str) -> None:
        """Raise RevisionMismatch once readers see what a write is refused for; return where that came to nothing."""
        refusal, write = RevisionMismatch(key, self.latest(key)), self._pending.get(key)
        if write is None or write.future.done():
            raise refusal
        await asyncio.wait((write.future,))
        if write.future.cancelled() or write.future.exception() is None:
            raise refusal

    def _accept(self, key: str, kind: int, value: bytes, revision: int) -> asyncio.Future[Entry]:
        """Settle a write as the newest; the result is there once it is durable."""
        if self._refusal:
            raise ReadOnly(self._refusal)
        key_bytes = key.encode()
        if len(key_bytes) > MAX_KEY_BYTES:
            raise ValueError(
                f"a key of {len(key_bytes)} bytes is longer than {MAX_KEY_BYTES}: {key[:100]!r}…"
            )
        future: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        kept = bytes(memoryview(value))  # encoders leave slack behind their result; a copy has none
        recorded = b"" if kind == DELETE else self._transformer.seal(key, kept)
        write = Write(Entry(key, kept, revision), key_bytes, kind, recorded, future)
        self._accepted = revision
        self._pending[key] = write
        if not self._outbox:
            future.get_loop().call_soon(self._hand_over)
        self._outbox.append(write)
        return future

    def _hand_over(self) -> None:
        """Give the committer all writes of one turn of the event loop at once: fewer syncs, fewer wake-ups."""
        for write in self._outbox:
            self._committer.queue.put(write)
        self._outbox.clear()

    def _publish(self, writes: Sequence[Write]) -> None:
        """Let readers, watchers and then the writers see what is now durable."""
        self._full = ""
        for write in writes:
            self._apply(write)
        self._history.trim()
        self._watchers.deliver()
        for write in writes:
            if not write.future.done():
                write.future.set_result(write.entry)
        excess = self._committer.sealed_bytes - self._dropped_bytes - 2 * self._segment_bytes
        if (
            excess > 0
            and excess > self._live_bytes
            and self._rewriting is None
            and self._committer.sealed_bytes >= self._rewrite_from
        ):
            self._start_rewriting().add_done_callback(self._report)

    def _apply(self, write: Write) -> None:
        key, place = write.entry.key, write.place
        if self._pending.get(key) is write:
            del self._pending[key]
        is_put = write.kind == PUT
        past = self._history.apply(
            key,
            write.entry.revision,
            place if is_put else None,
            place if write.kind == DELETE_WITH_LAST else None,
            size_bytes=len(write.recorded),
        )
        size_bytes = len(key) + len(write.recorded) if is_put else 0
        self._stale.discard(key)
        self._live_bytes += size_bytes - (len(key) + past.previous[2] if past.previous else 0)
        prefixes = self._watchers.prefixes_of(key)
        if prefixes:
            self._gather(prefixes, write, past)
        self._cool(key)
        if is_put:
            self._heat(write.entry)

    def _gather(self, prefixes: Sequence[str], write: Write, past: Past[Place]) -> None:
        """Add a write to its watchers' bursts."""
        key, value = write.entry.key, write.entry.value
        if write.kind != PUT:
            self._watchers.gather(prefixes, Change(key, None, value, past.revision))
            return
        try:
            previous = self._load(key, past.previous).value if past.previous else None
        except (OSError, StoreError) as error:
            logger.error("%s: the value before revision %d cannot be read: %s", key, past.revision, error)
            self._watchers.drop(prefixes)
        else:
            self._watchers.gather(prefixes, Change(key, value, previous, past.revision))

    def _load(self, key: str, place: Place) -> Entry:
        """Return a value from memory or disk; what is read stays in memory while there is room."""
        entry = self._hot.get(key)
        if entry is not None and entry.revision == place[3]:
            return entry
        segment, offset, length, revision = place
        value, is_stale = self._transformer.open(key, segment.read(offset, length))
        read = Entry(key, value, revision)
        is_newest = self._history.values.get(key) is place
        if is_stale and is_newest:
            self._stale.add(key)
        if entry is None and self._hot_bytes + length <= HOT_BYTES and is_newest:
            self._heat(read)
        return read

    def _heat(self, entry: Entry) -> None:
        """Keep a value in memory, in place of the least recently written ones."""
        self._hot[entry.key] = entry
        self._hot_bytes += len(entry.value)
        while self._hot_bytes > HOT_BYTES:
            self._cool(next(iter(self._hot)))

    def _cool(self, key: str) -> None:
        entry = self._hot.pop(key, None)
        if entry is not None:
            self._hot_bytes -= len(entry.value)

    def _fail(self, requests: Sequence[Write | Seal], error: BaseException) -> None:
        """Stop writing until restart, and tell those who waited."""
        if not self._refusal:
            self._refusal = (
                f"writing to {self._directory} failed ({error}): the store is read-only until restart; see that the "
                "disk is well, then restart proa"
            )
            logger.error("%s", self._refusal)
        for request in requests:
            if isinstance(request, Write) and self._pending.get(request.entry.key) is request:
                del self._pending[request.entry.key]
            if not request.future.done():
                request.future.set_exception(ReadOnly(self._refusal))

    def _refuse_for_now(self, requests: Sequence[Write | Seal], error: BaseException, is_news: bool) -> None:
        """Fail what there is no room for, and number anew what comes next."""
        if not self._full:
            self._full = (
                f"there is no room in {self._directory} ({error}): free some, and writes go on by themselves"
            )
            logger.error("%s", self._full)
        refused = [*requests]
        if is_news:
            refused += [*self._pending.values(), *self._outbox]
            self._pending.clear()
            self._outbox.clear()
            self._accepted = self._history.revision
            self._committer.queue.put(Resume())
        for request in refused:
            if not request.future.done():
                request.future.set_exception(DiskFull(self._full))

    def _start_rewriting(self) -> asyncio.Task[None]:
        self._rewriting = asyncio.get_running_loop().create_task(self._rewrite())
        self._rewriting.add_done_callback(self._rewritten)
        return self._rewriting

    def _rewritten(self, task: asyncio.Task[None]) -> None:
        self._rewriting = None

    def _report(self, task: asyncio.Task[None]) -> None:
        """Log why the log could not be rewritten. Nothing is lost: it stays long; another full file, another try."""
        if not task.cancelled() and isinstance(error := task.exception(), OSError | StoreError):
            logger.warning("the log could not be rewritten: %s", error)
            self._rewrite_from = self._committer.sealed_bytes + self._segment_bytes

    async def _rewrite(self) -> None:
        """Replace all full files by one base of what is live; writes go on meanwhile."""
        future: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        self._hand_over()
        self._committer.queue.put(Seal(future))
        number, sealed_bytes = await future
        revision, values = self._history.revision, list(self._history.values.items())
        moved = await asyncio.to_thread(
            write_base, self._disk, self._directory, number, self._store_id, revision, values
        )
        self._dropped_bytes = sealed_bytes
        for index, (key, place) in enumerate(moved.items()):
            current = self._history.values.get(key)
            if current is not None and current[3] == place[3]:
                self._history.values[key] = place
            if index % _MOVED_AT_ONCE == 0:
                await asyncio.sleep(0)


def _make_directory(disk: Disk, directory: Path) -> None:
    """Make the directory, and what is missing above it, so that a power failure cannot take it away again."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in missing:
        disk.sync_directory(path.parent)


def _lock(directory: Path) -> int:
    """Hold the directory for this process until the descriptor is closed."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CannotOpen(f"{directory}: another process has this store open") from None
    return descriptor
