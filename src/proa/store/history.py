"""Keep the newest durable values in key order, and enough of the past to read it and to watch from it.

Generic over how a value is held (`V`): the memory store holds entries, the log holds places in mapped
segments. History is a ring of changes: the past is the present with the newer changes undone. What is
kept: at least `HISTORY_SECONDS` or `HISTORY_CHANGES`, whichever is more, and never above `HISTORY_MAX_CHANGES`
or values of `HISTORY_MAX_BYTES`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice, starmap
from typing import Generic, NamedTuple, TypeVar, cast, overload

from proa.store.index import KeyIndex, prefix_bounds
from proa.store.protocol import Change, Compacted, Entry, FutureRevision, Page

HISTORY_SECONDS = 300.0
HISTORY_CHANGES = 10_000
HISTORY_MAX_CHANGES = 50_000
HISTORY_MAX_BYTES = 256 << 20
READ_AT_ONCE = 1_000
"""Values of a range that are read before it is returned; of a larger one each is when it is looked at."""
_MARK_SECONDS = 5.0

V = TypeVar("V")


class Past(NamedTuple, Generic[V]):
    """One applied write. `value` is None for a delete, and then `last` is what a watcher gets, if not `previous`.

    `size_bytes` is what `value` or `last` holds in memory or on disk.
    """

    key: str
    revision: int
    value: V | None
    last: V | None
    previous: V | None
    size_bytes: int


class LazyEntries(Sequence[Entry], Generic[V]):
    """Entries that are each read when they are looked at, and not kept: what was asked for all at once is large."""

    __slots__ = ("_load", "_pairs")

    def __init__(self, pairs: Sequence[tuple[str, V]], load: Callable[[str, V], Entry]) -> None:
        self._pairs = pairs
        self._load = load

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...

    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        found = self._pairs[index]
        if isinstance(index, slice):
            return [self._load(key, held) for key, held in cast("Sequence[tuple[str, V]]", found)]
        return self._load(*cast("tuple[str, V]", found))

    def __iter__(self) -> Iterator[Entry]:
        return starmap(self._load, self._pairs)


class History(Generic[V]):
    """The durable state and its recent past. `load` turns what is held for a key into its entry."""

    def __init__(
        self, load: Callable[[str, V], Entry], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.revision = 0
        self.oldest = 0
        self.values: dict[str, V] = {}
        self._load = load
        self._clock = clock
        self._keys = KeyIndex()
        self._past: deque[Past[V]] = deque()
        self._past_bytes = 0
        self._marks: deque[tuple[float, int]] = deque()

    def restore(self, values: Iterable[tuple[str, V]], revision: int) -> None:
        """Start from a snapshot as of `revision`; there is no past before it."""
        self.values = dict(values)
        self._keys = KeyIndex(self.values)
        self.revision = self.oldest = revision

    def replay(self, changes: Iterable[tuple[str, int, V | None, V | None, int]]) -> None:
        """Apply writes of the past, each as (key, revision, value, last, size in bytes); `index` must follow."""
        values, past = self.values, self._past
        for key, revision, value, last, size_bytes in changes:
            previous = values.get(key)
            if value is None:
                del values[key]
            else:
                values[key] = value
            past.append(Past(key, revision, value, last, previous, size_bytes))
            self._past_bytes += size_bytes
            self.revision = revision
        self.trim()

    def index(self) -> None:
        """Put the keys of what was replayed in order, all at once."""
        self._keys = KeyIndex(self.values)

    def apply(
        self, key: str, revision: int, value: V | None, last: V | None = None, *, size_bytes: int = 0
    ) -> Past[V]:
        """Make one write visible. A delete (`value` None) needs a key that exists."""
        previous = self.values.get(key)
        if value is None:
            del self.values[key]
            self._keys.remove(key)
        else:
            if previous is None:
                self._keys.add(key)
            self.values[key] = value
        past = Past(key, revision, value, last, previous, size_bytes)
        self._past.append(past)
        self._past_bytes += size_bytes
        self.revision = revision
        return past

    def change(self, past: Past[V]) -> Change:
        """Return what watchers get to see of a write."""
        key, revision, value, last, previous, _ = past
        before = previous if last is None else last
        return Change(
            key,
            None if value is None else self._load(key, value).value,
            None if before is None else self._load(key, before).value,
            revision,
        )

    def get(self, key: str) -> Entry | None:
        """Return the newest durable entry."""
        held = self.values.get(key)
        return None if held is None else self._load(key, held)

    def count(self, prefix: str) -> int:
        """Return the number of keys under `prefix`."""
        return self._keys.count(*prefix_bounds(prefix))

    def range(self, prefix: str, start_after: str, limit: int, revision: int, ending: str = "") -> Page:
        """See `Store.range`."""
        is_past = revision and revision != self.revision
        if not is_past and not self._keys.has_prefix(prefix):  # admission asks on every write, mostly in vain
            return Page((), self.revision, 0)
        low, high = prefix_bounds(prefix, start_after)
        total = self._keys.count(low, high)
        if is_past:
            self._check(revision)
            undone = self._undone(low, high, revision)
            total += sum((held is not None) - (key in self.values) for key, held in undone.items())
            pairs = self._past_pairs(low, high, undone)
        elif not ending:
            values = self.values
            keys = self._keys.first(low, high, limit)
            entries = self._read([*zip(keys, map(values.__getitem__, keys), strict=True)])
            return Page(entries, self.revision, total - len(entries))
        else:
            pairs = ((key, self.values[key]) for key in self._keys.between(low, high))
        if ending:
            found = [pair for pair in pairs if pair[0].endswith(ending)]
            pairs, total = iter(found), len(found)
        entries = self._read([*islice(pairs, limit or None)])
        return Page(entries, revision or self.revision, total - len(entries))

    def _read(self, pairs: Sequence[tuple[str, V]]) -> Sequence[Entry]:
        if len(pairs) > READ_AT_ONCE:
            return LazyEntries(pairs, self._load)
        load = self._load
        return [load(key, held) for key, held in pairs]

    def changes(self, prefix: str, after_revision: int) -> list[Change]:
        """Return the changes under `prefix` since `after_revision`, oldest first; raise Compacted."""
        if after_revision < self.oldest:
            raise Compacted(self.oldest)
        found = [past for past in self._newer_than(after_revision) if past.key.startswith(prefix)]
        return [self.change(past) for past in reversed(found)]

    def compact(self, revision: int) -> None:
        """Forget history before `revision`; raise FutureRevision when that has not happened yet."""
        if revision > self.revision:
            raise FutureRevision(revision, self.revision)
        while self._past and self._past[0].revision <= revision:
            self._past_bytes -= self._past.popleft().size_bytes
        self.oldest = max(self.oldest, revision)

    def trim(self) -> None:
        """Forget what is beyond the bounds of the module's docstring. Call it after each burst."""
        now = self._clock()
        if not self._marks or now - self._marks[-1][0] >= _MARK_SECONDS:
            self._marks.append((now, self.revision))
        while self._past_bytes > HISTORY_MAX_BYTES:
            self.compact(self._past[0].revision)
        if len(self._past) <= HISTORY_CHANGES:
            return
        aged = self.oldest
        while self._marks[0][0] < now - HISTORY_SECONDS:
            aged = max(aged, self._marks.popleft()[1])
        kept_by_age = min(aged, self.revision - HISTORY_CHANGES)
        self.compact(max(self.revision - HISTORY_MAX_CHANGES, kept_by_age, self.oldest))

    def _check(self, revision: int) -> None:
        if revision > self.revision:
            raise FutureRevision(revision, self.revision)
        if revision < self.oldest:
            raise Compacted(self.oldest)

    def _newer_than(self, revision: int) -> Iterator[Past[V]]:
        """Yield changes above `revision`, newest first."""
        for past in reversed(self._past):
            if past.revision <= revision:
                return
            yield past

    def _undone(self, low: str, high: str | None, revision: int) -> dict[str, V | None]:
        """Return what the keys that changed since `revision` held then (None: they did not exist)."""
        undone: dict[str, V | None] = {}
        for past in self._newer_than(revision):
            if past.key >= low and (high is None or past.key < high):
                undone[past.key] = past.previous
        return undone

    def _past_pairs(self, low: str, high: str | None, undone: dict[str, V | None]) -> Iterator[tuple[str, V]]:
        gone = sorted(key for key in undone if key not in self.values)
        for key in merge(self._keys.between(low, high), gone):
            held = undone[key] if key in undone else self.values[key]
            if held is not None:
                yield key, held
