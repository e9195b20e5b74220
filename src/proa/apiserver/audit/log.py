"""Write audit events to a file, a line each, in batches that no request waits for.

The file is the owner's alone (0600), and is put aside when it has grown to `MAX_FILE_BYTES`. Closing writes what waits
and returns when it is on disk. Follows apiserver/plugin/pkg/audit (log, buffered) and lumberjack's names.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from proa.apiserver.audit.events import Seen, encode

BATCH_SECONDS = 0.2
BATCH_EVENTS = 400
MAX_WAITING = 10_000
"""With so many events unwritten, requests wait for the disk: none is lost."""
MAX_FILE_BYTES = 100 * 1024 * 1024
MAX_FILES = 10
"""So many files that were put aside are kept."""
STANDARD_OUTPUT = "-"

_log = logging.getLogger(__name__)


class AuditLog:
    """The log at `path`, or on standard output for "-"; belongs to the loop in which events are added."""

    def __init__(self, path: str, max_file_bytes: int = MAX_FILE_BYTES, max_files: int = MAX_FILES) -> None:
        self._path = path
        self._max_file_bytes = max_file_bytes
        self._max_files = max_files
        self._file = _open(path)
        self._waiting: list[Seen] = []
        self._in_writing = 0
        self._timer: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "audit")

    @property
    def is_full(self) -> bool:
        """Tell whether requests are to wait (`room`)."""
        return len(self._waiting) + self._in_writing >= MAX_WAITING

    def add(self, seen: Seen) -> None:
        """Have an event written soon."""
        self._waiting.append(seen)
        if len(self._waiting) >= BATCH_EVENTS:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BATCH_SECONDS, self._flush)

    async def room(self) -> None:
        """Return when there is room for more events."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    async def settle(self) -> None:
        """Have all that waits written, and return when it is."""
        self._flush()
        await asyncio.get_running_loop().run_in_executor(self._thread, int)

    async def close(self) -> None:
        """Write what waits, and return when it is on disk."""
        await self.settle()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._end)
        self._thread.shutdown()

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        self._in_writing += len(batch)
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._thread, self._write, batch, loop)

    def _written(self, count: int) -> None:
        self._in_writing -= count
        self._room.set()

    # In the thread.

    def _write(self, batch: Sequence[Seen], loop: asyncio.AbstractEventLoop) -> None:
        try:
            view = memoryview(b"".join(map(encode, batch)))
            while view:
                view = view[os.write(self._file, view) :]
            self._rotate()
        except Exception:
            _log.exception("%d audit events could not be written to %s", len(batch), self._path)
        finally:
            loop.call_soon_threadsafe(self._written, len(batch))

    def _rotate(self) -> None:
        """Put the file aside when it is large, and remove the oldest of those."""
        if self._path == STANDARD_OUTPUT or os.fstat(self._file).st_size < self._max_file_bytes:
            return
        path = Path(self._path)
        moment = time.time()
        stamp = (
            time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(moment)) + f".{int(moment * 1e6) % 1_000_000:06d}"
        )
        os.fsync(self._file)
        os.close(self._file)
        path.rename(path.with_name(f"{path.stem}-{stamp}{path.suffix}"))
        self._file = _open(self._path)
        for old in sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"))[: -self._max_files]:
            old.unlink()

    def _end(self) -> None:
        if self._path != STANDARD_OUTPUT:
            os.fsync(self._file)
            os.close(self._file)


def _open(path: str) -> int:
    """Return the file's descriptor; raise OSError."""
    if path == STANDARD_OUTPUT:
        return sys.stdout.fileno()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor
