"""Bound the disk by what is live: write it to one base file, then drop the log files that it stands for.

Crash-safe at each step. The base is written and synced under a temporary name: a crash leaves a file that the
next start removes. The rename makes it count, atomically; only after the directory is synced are the old files
removed, and a crash in between leaves files that the next start removes. Values that readers or history
still point to stay readable: a removed file lives until nothing has it open.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from proa.store.committer import MAX_FRAME_BYTES
from proa.store.disk import Disk
from proa.store.segment import (
    FRAME,
    HEADER_BYTES,
    RECORD,
    Place,
    file_header,
    frame_header,
    open_segment,
    segment_path,
)


def write_base(
    disk: Disk,
    directory: Path,
    number: int,
    store_id: bytes,
    revision: int,
    values: Sequence[tuple[str, Place]],
) -> dict[str, Place]:
    """Write `values`, live at `revision`, as the base for all files up to `number`; remove those.

    Returns where each value is now. Blocks; touches nothing of the store's state, so any thread will do.
    """
    path = segment_path(directory, number, "base")
    temporary = path.with_suffix(".tmp")
    descriptor = disk.create(temporary)
    try:
        header, seed = file_header("base", number, revision, store_id)
        disk.write(descriptor, [header], 0)
        offsets = _write_values(disk, descriptor, seed, values)
        disk.sync(descriptor)
        disk.rename(temporary, path)
    except BaseException:
        disk.remove(temporary)
        raise
    finally:
        os.close(descriptor)
    disk.sync_directory(directory)
    _remove_superseded(disk, directory, number)
    base = open_segment(path, "base")
    return {
        key: (base, offset, place[2], place[3]) for (key, place), offset in zip(values, offsets, strict=True)
    }


def _write_values(disk: Disk, descriptor: int, seed: int, values: Sequence[tuple[str, Place]]) -> list[int]:
    """Write the records, copied as they are; return the offset of each value."""
    end = HEADER_BYTES
    offsets: list[int] = []
    pieces: list[bytes] = []
    size_bytes = 0
    for key, (segment, offset, length, _) in values:
        before = RECORD.size + len(key.encode())
        pieces.append(segment.read(offset - before, before + length))
        offsets.append(end + FRAME.size + size_bytes + before)
        size_bytes += before + length
        if size_bytes >= MAX_FRAME_BYTES:
            end = _write_frame(disk, descriptor, seed, pieces, end)
            pieces, size_bytes = [], 0
    if pieces:
        _write_frame(disk, descriptor, seed, pieces, end)
    return offsets


def _write_frame(disk: Disk, descriptor: int, seed: int, pieces: Sequence[bytes], offset: int) -> int:
    payload = b"".join(pieces)
    disk.write(descriptor, [frame_header(payload, seed), payload], offset)
    return offset + FRAME.size + len(payload)


def _remove_superseded(disk: Disk, directory: Path, number: int) -> None:
    for path in sorted(directory.iterdir()):
        older = path.stem.isdigit() and int(path.stem) <= number
        if older and (path.suffix == ".log" or (path.suffix == ".base" and int(path.stem) < number)):
            disk.remove(path)
