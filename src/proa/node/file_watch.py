"""Wait until something in a folder changes, without polling: Linux inotify through libc."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

_IN_MODIFY, _IN_CLOSE_WRITE, _IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = (
    0x2,
    0x8,
    0x40,
    0x80,
    0x100,
    0x200,
)
_MASK = _IN_MODIFY | _IN_CLOSE_WRITE | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE


class FileWatch:
    """One folder's changes, for one waiter; `close` it. Raises OSError when the folder is not there."""

    def __init__(self, folder: Path) -> None:
        import ctypes  # dear, and not for the start

        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        if libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _MASK) < 0:
            error = ctypes.get_errno()
            os.close(self._descriptor)
            raise OSError(error, os.strerror(error), str(folder))
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    async def wait(self) -> None:
        """Return once something has changed since the last call."""
        await self._changed.wait()
        self._changed.clear()

    def close(self) -> None:
        """Stop watching."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> None:
        os.read(self._descriptor, 65536)
        self._changed.set()
