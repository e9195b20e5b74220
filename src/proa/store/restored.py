"""Make a store's folder from a backup's entries: one base file, as compaction would have written it.

Every entry keeps the revision that its bytes tell, and the store goes on after the backup's own revision: clients
see nothing but time gone back.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from proa.store.committer import MAX_FRAME_BYTES
from proa.store.disk import Disk
from proa.store.protocol import Entry
from proa.store.segment import FRAME, HEADER_BYTES, PUT, RECORD, file_header, frame_header, segment_path

_NUMBER = 1


def write_store(directory: Path, revision: int, entries: Iterable[Entry]) -> int:
    """Write a store that has `entries`, as they are to be stored, at `revision`; return how many. Durable at return."""
    disk = Disk()
    directory.mkdir(mode=0o700)
    descriptor = disk.create(segment_path(directory, _NUMBER, "base"))
    try:
        header, seed = file_header("base", _NUMBER, revision, os.urandom(16))
        disk.write(descriptor, [header], 0)
        end, count = HEADER_BYTES, 0
        pieces: list[bytes] = []
        size_bytes = 0

        def flush() -> None:
            nonlocal end, size_bytes
            payload = b"".join(pieces)
            disk.write(descriptor, [frame_header(payload, seed), payload], end)
            end += FRAME.size + len(payload)
            pieces.clear()
            size_bytes = 0

        for entry in entries:
            key = entry.key.encode()
            pieces += (RECORD.pack(entry.revision, len(entry.value), len(key), PUT), key, entry.value)
            size_bytes += RECORD.size + len(key) + len(entry.value)
            count += 1
            if size_bytes >= MAX_FRAME_BYTES:
                flush()
        if pieces:
            flush()
        disk.sync(descriptor)
    finally:
        os.close(descriptor)
    disk.sync_directory(directory)
    return count
