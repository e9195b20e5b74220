"""Keep the store's promises without a disk: what is written is durable at once, and gone with the process.

For tests and throw-away clusters. It passes the same contract suite as the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from proa.store.history import History
from proa.store.protocol import Change, Entry, Page, ReadOnly, RevisionMismatch, Watch
from proa.store.watch import Watchers


class MemoryStore:
    """A `protocol.Store` in memory."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._history: History[Entry] = History(lambda key, entry: entry, clock=clock)
        self._watchers = Watchers()
        self._closed = False

    @property
    def revision(self) -> int:
        """The newest revision; 0 while nothing was written."""
        return self._history.revision

    @property
    def oldest_revision(self) -> int:
        """The oldest revision that can be read and watched from."""
        return self._history.oldest

    is_shared = False
    """See `Store.is_shared`."""

    @property
    def refusal(self) -> str:
        """See `Store.refusal`."""
        return "the store is closed" if self._closed else ""

    def get(self, key: str) -> Entry | None:
        """See `Store.get`."""
        return self._history.values.get(key)

    latest = get

    def is_stale(self, key: str) -> bool:
        """See `Store.is_stale`: nothing is stored."""
        return False

    def seal(self, entry: Entry) -> bytes:
        """See `Store.seal`."""
        return entry.value

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
        current = self._writable(key)
        if expected_revision is not None and expected_revision != (current.revision if current else 0):
            raise RevisionMismatch(key, current)
        revision = self._history.revision + 1
        entry = Entry(key, encode(revision), revision)
        self._apply(key, revision, entry, None)
        return entry

    async def delete(
        self, key: str, encode: Callable[[int], bytes] | None = None, *, expected_revision: int | None = None
    ) -> Entry:
        """See `Store.delete`."""
        current = self._writable(key)
        if current is None or expected_revision not in (None, current.revision):
            raise RevisionMismatch(key, current)
        revision = self._history.revision + 1
        last = Entry(key, encode(revision) if encode else current.value, revision)
        self._apply(key, revision, None, last)
        return last

    def watch(
        self, prefix: str, *, after_revision: int, wants: Callable[[Change], bool] | None = None
    ) -> Watch:
        """See `Store.watch`."""
        backlog = self._history.changes(prefix, after_revision)
        return self._watchers.subscribe(prefix, after_revision, backlog, wants)

    async def barrier(self) -> None:
        """See `Store.barrier`: there is no other writer."""

    async def compact(self, revision: int) -> None:
        """See `Store.compact`; raises FutureRevision."""
        self._history.compact(revision)

    async def close(self) -> None:
        """See `Store.close`; watches end, and later writes raise ReadOnly."""
        self._closed = True
        self._watchers.end()

    def _writable(self, key: str) -> Entry | None:
        if self.refusal:
            raise ReadOnly(self.refusal)
        return self._history.values.get(key)

    def _apply(self, key: str, revision: int, value: Entry | None, last: Entry | None) -> None:
        size_bytes = len(value.value if value else last.value if last else b"")
        past = self._history.apply(key, revision, value, last, size_bytes=size_bytes)
        prefixes = self._watchers.prefixes_of(key)
        if prefixes:
            self._watchers.gather(prefixes, self._history.change(past))
            self._watchers.deliver()
        self._history.trim()
