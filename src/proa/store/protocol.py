"""The whole vocabulary of the store: a revisioned map of bytes with compare-and-swap, history and watch.

Every write gets a higher revision; one revision is one write. A write is acknowledged, and becomes visible
to `get`, `range` and watchers, only when it is durable. Writers see what is pending: a compare-and-swap is
judged against the newest accepted value, so that read-modify-write loops do not fight their own queue.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from proa.objects.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One key's value as of `revision` (the write that made it)."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """One write. `value` is None for a delete; `previous` is the value before, None for a creation."""

    key: str
    value: bytes | None
    previous: bytes | None
    revision: int


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a range at `revision`, in key order. `remaining` counts the entries after it."""

    entries: Sequence[Entry]
    revision: int
    remaining: int


class StoreError(Exception):
    """Base of what a store refuses."""


class RevisionMismatch(StoreError):
    """Compare-and-swap failed; `current` is the newest accepted entry, None when there is none."""

    def __init__(self, key: str, current: Entry | None) -> None:
        super().__init__(f"{key}: is at revision {current.revision if current else 0}")
        self.key = key
        self.current = current


class Compacted(StoreError):
    """History before `oldest` is gone."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"revisions before {oldest} are compacted")
        self.oldest = oldest


class FutureRevision(StoreError):
    """The revision asked for has not happened; `current` is the newest durable one."""

    def __init__(self, asked: int, current: int) -> None:
        super().__init__(f"revision {asked} is in the future; the newest is {current}")
        self.asked = asked
        self.current = current


class ReadOnly(StoreError):
    """An I/O error stopped all writing until restart; reads go on."""


class DiskFull(ReadOnly):
    """There is no room for what was to be written. Nothing was; writes go on as soon as there is room."""


class Unavailable(StoreError):
    """The store cannot be reached now; whether a write happened may be unknown, and then the message says so."""


class WatchOverflow(StoreError):
    """A watcher did not keep up and its buffer was dropped: read again and watch from there."""

    def __init__(self, prefix: str) -> None:
        super().__init__(f"the watch of {prefix!r} fell too far behind")


class CannotOpen(StoreError):
    """The store is in use by another process, damaged, or of a format that this version does not know."""


class Watch(Protocol):
    """A subscription. Iterating yields bursts: every change that became durable together, in order."""

    def __aiter__(self) -> AsyncIterator[Sequence[Change]]:
        """Iterating raises WatchOverflow when the watcher did not keep up."""

    def take(self) -> Sequence[Change]:
        """Return, without waiting, the changes that have arrived since the last call: for who reads now and then.

        A write is among them by the time that its writer has its answer. Raises WatchOverflow.
        """

    def has_arrived(self) -> bool:
        """Tell whether changes have arrived that were not yet taken, nor come by iterating."""

    def close(self) -> None:
        """Stop; the iterator ends."""


class Store(Protocol):
    """See the module's docstring. Revisions start at 1; keys are ordered as strings by code point."""

    @property
    def revision(self) -> int:
        """The newest durable revision."""

    @property
    def oldest_revision(self) -> int:
        """The oldest revision from which history is whole."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes may write too. Where they may not, a write is judged before its first await."""

    @property
    def refusal(self) -> str:
        """Why no writes are taken any more, "" while they are."""

    def get(self, key: str) -> Entry | None:
        """Return the newest durable value."""

    def latest(self, key: str) -> Entry | None:
        """Return the newest accepted value, durable or pending: the base for a read-modify-write."""

    def is_stale(self, key: str) -> bool:
        """Tell whether a value that was just read is stored as it should be no more: with an old key, or unencrypted.

        A write that changes nothing is then to be done all the same.
        """

    def seal(self, entry: Entry) -> bytes:
        """Return an entry's value as it may leave the server for a disk: encrypted where it is to be."""

    def range(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0, ending: str = ""
    ) -> Page:
        """Return entries under `prefix`, after the key `start_after`, at most `limit` (0: all).

        With `ending` only keys that end so count; no value of another is read. `revision` > 0 reads the past: raises
        Compacted or FutureRevision.
        """

    def count(self, prefix: str) -> int:
        """Return the number of keys under `prefix`."""

    async def put(
        self, key: str, encode: Callable[[int], bytes], *, expected_revision: int | None = None
    ) -> Entry:
        """Write and return once durable. `encode` gets the write's revision and returns the value.

        `expected_revision`: 0 = must not exist, n = must be at revision n, None = whatever is there.
        Raises RevisionMismatch, ReadOnly, Unavailable. Writes of one key are judged in the order of the calls; where
        the store is this process's alone, before the first await.
        """

    async def delete(
        self, key: str, encode: Callable[[int], bytes] | None = None, *, expected_revision: int | None = None
    ) -> Entry:
        """Remove and return, once durable, the last value at the delete's revision.

        `encode`, where given, makes that last value (watchers get it as `previous`), so that a deleted object
        can carry the revision of its deletion. Raises RevisionMismatch (with None when the key does not exist).
        """

    def watch(
        self, prefix: str, *, after_revision: int, wants: Callable[[Change], bool] | None = None
    ) -> Watch:
        """Subscribe to changes under `prefix` with a revision above `after_revision`. Raises Compacted.

        Who is not interested in everything there need not be woken: a burst in which it `wants` no change is passed
        over, if it is short. `wants` is quick, raises nothing and looks at the change alone.
        """

    async def barrier(self) -> None:
        """Return when reads show every write that was acknowledged before, by whichever process; raise Unavailable.

        At once where no other process can write.
        """

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`; newest values stay."""

    async def close(self) -> None:
        """Flush, and let go of files."""
