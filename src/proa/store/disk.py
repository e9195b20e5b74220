"""Keep every call that can fail for want of a disk in one place, so that tests can make each of them fail.

Directories are made 0700 and files 0600. Nothing here is retried: after a failed sync the kernel may have
dropped the pages, so only the caller can say what is still true (see docs/decisions/0001-append-log-store.md).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

ZERO_BLOCK = bytes(1 << 20)


class Disk:
    """The operating system's files. Every method raises OSError as the system does."""

    def create(self, path: Path) -> int:
        """Make an empty file, in place of any other, and return its descriptor."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)

    def write(self, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        """Write all the pieces, one after the other, from `offset`."""
        written = os.pwritev(descriptor, pieces, offset)
        total = sum(map(len, pieces))
        if written < total:
            rest = memoryview(b"".join(pieces))
            while written < total:
                written += os.pwrite(descriptor, rest[written:], offset + written)

    def write_zeros(self, descriptor: int, start: int, end: int) -> None:
        """Fill with zeros from `start` up to, without, `end`; later writes there change no metadata."""
        while start < end:
            size = min(len(ZERO_BLOCK), end - start)
            self.write(descriptor, [ZERO_BLOCK[:size] if size < len(ZERO_BLOCK) else ZERO_BLOCK], start)
            start += size

    def sync(self, descriptor: int) -> None:
        """Return when what was written can no longer be lost."""
        os.fdatasync(descriptor)

    def sync_directory(self, directory: Path) -> None:
        """Return when names made, changed and removed in a directory can no longer be lost."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file its final name, atomically."""
        os.rename(source, target)

    def remove(self, path: Path) -> None:
        """Remove a file; harmless when it is gone."""
        path.unlink(missing_ok=True)
