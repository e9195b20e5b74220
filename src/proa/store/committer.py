"""Make writes durable in the order in which they were accepted, as many at a time as have come in.

One thread takes everything that is queued, writes it as one frame, syncs once, and then tells the event loop
once. While it syncs, the next batch gathers: the busier the store, the fewer syncs a write costs. The next
file is filled with zeros in the background once the current one is half full.

After any failure nothing is written again and no sync is retried: what the disk holds is then unknown, and a
second sync may report success for pages that the kernel has already dropped. Whatever was or gets queued fails.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from proa.store.disk import Disk
from proa.store.protocol import Entry
from proa.store.segment import DELETE, FRAME, HEADER_BYTES, RECORD, Place, Segment, create_segment

MAX_FRAME_BYTES = 1 << 20
_GROWTH = 4


class Write:
    """One accepted write on its way to the disk.

    `entry` is what its writer gets back, `recorded` the value that goes to disk: none for a delete whose last
    value is there already.
    """

    __slots__ = ("entry", "future", "key_bytes", "kind", "place", "recorded")

    def __init__(self, entry: Entry, key_bytes: bytes, kind: int, future: asyncio.Future[Entry]) -> None:
        self.entry = entry
        self.key_bytes = key_bytes
        self.kind = kind
        self.recorded = b"" if kind == DELETE else entry.value
        self.future = future
        self.place: Place | None = None


class Seal:
    """A request to go on in a new file.

    Answered with the number of the last full one, and all bytes ever written to full ones (`sealed_bytes`).
    """

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[tuple[int, int]]) -> None:
        self.future = future


_Request = TypeVar("_Request", Write, Seal)


class Committer:
    """The thread. `on_durable` and `on_failed` are called on the event loop of the writes they get."""

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
    ) -> None:
        self.queue: SimpleQueue[Write | Seal | None] = SimpleQueue()
        self.sealed_bytes = sealed_bytes
        self._disk = disk
        self._directory = directory
        self._active = active
        self._segment_bytes = segment_bytes
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._filler = ThreadPoolExecutor(max_workers=1, thread_name_prefix="proa-store-filler")
        self._failure: Exception | None = None
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
            if request is None:
                return

    def _attempt(self, act: Callable[[list[_Request]], None], requests: list[_Request]) -> None:
        """Do it, unless something has failed before; see the module's docstring."""
        if self._failure is None:
            try:
                act(requests)
            except Exception as error:
                self._failure = error
        if self._failure is not None:
            _call(requests[0].future, self._on_failed, requests, self._failure)

    def _take(self) -> tuple[list[Write], Seal | Write | None]:
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
        if self._prepared is None and self._active.tail > self._active.size_bytes // 2:
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
        """Go on in the next file, made large enough for a frame of `frame_bytes`."""
        prepared = self._prepared or self._prepare()
        following = prepared.result()
        if HEADER_BYTES + frame_bytes > following.size_bytes:
            following.grow(self._disk, HEADER_BYTES + frame_bytes)
        self.sealed_bytes += self._active.tail
        self._active, self._prepared = following, None

    def _prepare(self) -> Future[Segment]:
        size_bytes = min(self._segment_bytes, self._active.size_bytes * _GROWTH)
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
