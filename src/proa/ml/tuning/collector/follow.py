"""Follow a file as it grows: what is new since the last look, and whether it is another file now.

There is no inotify in the standard library, and none that sees every file system: the file is looked at, seldom when
nothing happens. A file that was replaced or cut short is read from its beginning.
"""

from __future__ import annotations

import os
import stat

BLOCK_BYTES = 256 * 1024


class File:
    """One file, which may not be there yet. `fault` says why it cannot be read, "" when it can."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fault = ""
        self.offset = 0
        self._fd = -1

    def read(self) -> bytes:
        """Return what comes next, at most a block; b"" when there is nothing (yet)."""
        if self._fd < 0 and not self._open():
            return b""
        try:
            data = os.read(self._fd, BLOCK_BYTES)
        except OSError as error:
            self.fault = error.strerror or str(error)
            return b""
        self.offset += len(data)
        return data

    def has_begun_anew(self) -> bool:
        """Tell whether the file was replaced or cut short; if so, the next `read` is from its beginning."""
        if self._fd < 0:
            return False
        try:
            ours, now = os.fstat(self._fd), os.stat(self.path)
        except OSError:
            return False  # it is gone; another may come
        if (ours.st_dev, ours.st_ino) == (now.st_dev, now.st_ino) and now.st_size >= self.offset:
            return False
        self.close()
        return True

    def size_left(self) -> int:
        """Return how many bytes have not been read."""
        return max(0, os.fstat(self._fd).st_size - self.offset) if self._fd >= 0 else 0

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self.offset = -1, 0

    def _open(self) -> bool:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self.fault = error.strerror or str(error)
            return False
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            self.fault = "Not a regular file"
            return False
        self._fd, self.fault = fd, ""
        return True
