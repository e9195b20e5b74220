"""Make writes durable in the order in which they were accepted, as many at a time as have come in.

One thread takes everything that is queued, writes it as one frame, syncs once, and then tells the event loop
once. While it syncs, the next batch gathers: the busier the store, the fewer syncs a write costs. The next
file is filled with zeros in the background once the current one is half full.

After any failure nothing is written again and no sync is retried: what the disk holds is then unknown, and a
second sync may report success for pages that the kernel has already dropped. Whatever was or gets queued fails.

One failure passes: a next file that cannot be made for want of room. Nothing of the batch has been written then, and
the file is gone again. The batch fails, and all that is queued behind it, which was numbered after it; the event
loop then says (`Resume`) that what follows is numbered anew, and each later batch tries again, once a second at most.
"""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from proa.store.disk import Disk
from proa.store.protocol import Entry
from proa.store.segment import FRAME, HEADER_BYTES, RECORD, Place, Segment, create_segment

MAX_FRAME_BYTES = 1 << 20
_GROWTH = 4
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors of making a file that say nothing against the disk."""
_FULL_SECONDS = 1.0
_SMALL_SEGMENT_BYTES = 1 << 20


class Write:
    """One accepted write on its way to the disk.

    `entry` is what its writer gets back, `recorded` the value as it goes to disk, sealed: none for a delete whose
    last value is there already.
    """

    __slots__ = ("entry", "future", "key_bytes", "kind", "place", "recorded")

    def __init__(
        self, entry: Entry, key_bytes: bytes, kind: int, recorded: bytes, future: asyncio.Future[Entry]
    ) -> None:
        self.entry = entry
        self.key_bytes = key_bytes
        self.kind = kind
        self.recorded = recorded
        self.future = future
        self.place: Place | None = None


class Seal:
    """A request to go on in a new file.

    Answered with the number of the last full one, and all bytes ever written to full ones (`sealed_bytes`).
    """

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[tuple[int, int]]) -> None:
        self.future = future


class Resume:
    """Says that whatever is queued from here on was numbered after the failure for want of room."""

    __slots__ = ()


class _NoRoom(Exception):
    """No next file can be made for now."""


_Request = TypeVar("_Request", Write, Seal)


class Committer:
    """The thread. The three callbacks are called on the event loop of the writes they get.

    `on_full` has a third argument: whether this is news, and a `Resume` is waited for.
    """

    def __init__(
        self,
        disk: Disk,
        directory: Path,
        active: Segment,
        prepared: Segment | None,
        segment_bytes: int,
        sealed_bytes: int,
        on_durable: Callable[[Sequence[Write]], None],
        on_failed: Callable[[Sequence[Write | Seal], BaseException], None],
        on_full: Callable[[Sequence[Write | Seal], BaseException, bool], None],
    ) -> None:
        self.queue: SimpleQueue[Write | Seal | Resume | None] = SimpleQueue()
        self.sealed_bytes = sealed_bytes
        self._disk = disk
        self._directory = directory
        self._active = active
        self._segment_bytes = segment_bytes
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._on_full = on_full
        self._filler = ThreadPoolExecutor(max_workers=1, thread_name_prefix="proa-store-filler")
        self._failure: Exception | None = None
        self._no_room: OSError | None = None
        self._awaits_resume = False
        self._tried_at = float("-inf")
        self._prepared: Future[Segment] | None = None
        if prepared is not None:
            self._prepared = Future()
            self._prepared.set_result(prepared)
        self._thread = threading.Thread(target=self._run, name="proa-store-committer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what is queued, and end the threads. Blocks; call it off the event loop."""
        self.queue.put(None)
        self._thread.join()
        self._filler.shutdown()

    def _run(self) -> None:
        while True:
            batch, request = self._take()
            if batch:
                self._attempt(self._commit, batch)
            if isinstance(request, Seal):
                self._attempt(self._seal, [request])
            if isinstance(request, Resume):
                self._awaits_resume = False
            if request is None:
                return

    def _attempt(self, act: Callable[[list[_Request]], None], requests: list[_Request]) -> None:
        """Do it, unless something has failed before; see the module's docstring."""
        if self._failure is None and not self._awaits_resume:
            try:
                act(requests)
                return
            except _NoRoom:
                self._awaits_resume = True
                _call(requests[0].future, self._on_full, requests, self._no_room, True)
                return
            except Exception as error:
                self._failure = error
        if self._failure is not None:
            _call(requests[0].future, self._on_failed, requests, self._failure)
        else:
            _call(requests[0].future, self._on_full, requests, self._no_room, False)

    def _take(self) -> tuple[list[Write], Seal | Resume | Write | None]:
        """Wait for work; return the writes of one frame, and what to do after them (a Write: nothing)."""
        item = self.queue.get()
        batch: list[Write] = []
        size_bytes = 0
        while isinstance(item, Write):
            batch.append(item)
            size_bytes += len(item.recorded)
            if size_bytes >= MAX_FRAME_BYTES:
                return batch, item
            try:
                item = self.queue.get_nowait()
            except Empty:
                return batch, item
        return batch, item

    def _commit(self, batch: Sequence[Write]) -> None:
        is_half_full = self._active.tail > self._active.size_bytes // 2
        if is_half_full and self._prepared is None and self._no_room is None:
            self._prepare()
        pieces: list[bytes] = []
        pack = RECORD.pack
        for write in batch:
            key, value = write.key_bytes, write.recorded
            pieces += (pack(write.entry.revision, len(value), len(key), write.kind), key, value)
        payload = b"".join(pieces)
        if self._active.tail + FRAME.size + len(payload) > self._active.size_bytes:
            self._advance(FRAME.size + len(payload))
        offset = self._active.append(self._disk, payload)
        for write in batch:
            offset += RECORD.size + len(write.key_bytes)
            length = len(write.recorded)
            write.place = (self._active, offset, length, write.entry.revision)
            offset += length
        _call(batch[0].future, self._on_durable, batch)

    def _seal(self, requests: Sequence[Seal]) -> None:
        sealed = self._active.number
        self._advance(0)
        for request in requests:
            _call(request.future, _answer, request.future, (sealed, self.sealed_bytes))

    def _advance(self, frame_bytes: int) -> None:
        """Go on in the next file, made large enough for a frame of `frame_bytes`; raise _NoRoom."""
        following = self._make_room(HEADER_BYTES + frame_bytes)
        self.sealed_bytes += self._active.tail
        self._active, self._prepared = following, None
        self._no_room = None

    def _make_room(self, size_bytes: int) -> Segment:
        """Return the next file, of at least that size; raise _NoRoom where nothing but room is missing."""
        prepared = self._prepared
        if prepared is not None and prepared.done() and prepared.exception() is not None:
            prepared = self._prepared = None  # it was tried in the background: now is another time
        if self._no_room is not None and time.monotonic() - self._tried_at < _FULL_SECONDS:
            raise _NoRoom
        try:
            following = (prepared or self._prepare()).result()
            if size_bytes > following.size_bytes:
                following.grow(self._disk, size_bytes)
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            self._discard()
            if self._no_room is None and size_bytes <= _SMALL_SEGMENT_BYTES < self._segment_bytes:
                self._no_room, self._tried_at = error, float("-inf")
                return self._make_room(size_bytes)  # perhaps there is room for a small one
            self._no_room, self._tried_at = error, time.monotonic()
            raise _NoRoom from error
        return following

    def _discard(self) -> None:
        """Remove a next file that could not be made large enough."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared.exception() is None:
            self._disk.remove(prepared.result().path)

    def _prepare(self) -> Future[Segment]:
        size_bytes = min(self._segment_bytes, self._active.size_bytes * _GROWTH)
        if self._no_room is not None:
            size_bytes = min(size_bytes, _SMALL_SEGMENT_BYTES)
        self._prepared = self._filler.submit(
            create_segment,
            self._disk,
            self._directory,
            self._active.number + 1,
            self._active.store_id,
            size_bytes,
        )
        return self._prepared


def _call(
    future: asyncio.Future[Entry] | asyncio.Future[tuple[int, int]],
    function: Callable[..., None],
    *args: object,
) -> None:
    """Run a function on a future's event loop. A loop that is closed has nobody left to tell."""
    loop = future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *args)


def _answer(future: asyncio.Future[tuple[int, int]], answer: tuple[int, int]) -> None:
    if not future.done():
        future.set_result(answer)
