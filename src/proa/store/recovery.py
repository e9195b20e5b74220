"""Bring back every acknowledged write, and nothing that only half reached the disk.

Reads the newest base file, if any, then every log file after it. The records of each commit are taken all
together or not at all. Reading stops at the first frame that is not whole. When that is where writing stopped
(the crash tore the last commit, which was not acknowledged), it is cleared away. When any later commit is
there, or a revision is missing, an acknowledged write is damaged: opening fails and says where, rather than
losing it silently, and no file is changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from proa.objects.quick_dataclass import dataclass
from proa.store.disk import Disk
from proa.store.history import History
from proa.store.protocol import CannotOpen
from proa.store.segment import (
    DELETE_WITH_LAST,
    HEADER_BYTES,
    PUT,
    Place,
    Segment,
    create_segment,
    open_segment,
    records,
    segment_path,
)

FIRST_SEGMENT_BYTES = 1 << 20
"""The first file is small: filling it is part of the first start."""

PlacedChange = tuple[str, int, Place | None, Place | None, int]
"""What `History.replay` takes."""

_FILE_NAME = re.compile(r"(\d{12})\.(log|base)")


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found. `active` takes the next write; `prepared`, if any, is the empty file after it."""

    store_id: bytes
    active: Segment
    prepared: Segment | None
    sealed_bytes: int


def recover(disk: Disk, directory: Path, history: History[Place], segment_bytes: int) -> Recovered:
    """Fill `history` from the files in `directory`, or begin a new store; raise CannotOpen."""
    for temporary in directory.glob("*.tmp"):
        disk.remove(temporary)
    bases, logs = _numbers(directory, "base"), _numbers(directory, "log")
    base_number = bases[-1] if bases else 0
    store_id = b""
    if bases:
        base = open_segment(segment_path(directory, base_number, "base"), "base")
        store_id = base.store_id
        _read_base(base, history)
    superseded = [segment_path(directory, number, "base") for number in bases[:-1]]
    superseded += [segment_path(directory, number, "log") for number in logs if number <= base_number]
    logs = [number for number in logs if number > base_number]
    segments = _open_logs(directory, logs, base_number, store_id)
    return _resume(disk, directory, history, segments, base_number, store_id, segment_bytes, superseded)


def _resume(
    disk: Disk,
    directory: Path,
    history: History[Place],
    segments: list[Segment],
    base_number: int,
    store_id: bytes,
    segment_bytes: int,
    superseded: list[Path],
) -> Recovered:
    """Replay the log files, tidy up, and say where writing continues."""
    used = 0
    base_revision = history.revision
    for position, segment in enumerate(segments):
        if _replay(segment, history, base_revision):
            used = position
    history.index()
    for path in superseded:
        disk.remove(path)
    if not segments:
        store_id = store_id or os.urandom(16)
        first_bytes = min(FIRST_SEGMENT_BYTES, segment_bytes)
        segments.append(create_segment(disk, directory, base_number + 1, store_id, first_bytes))
    active, *after = segments[used:]
    for extra in after[1:]:
        disk.remove(extra.path)
    active.clear_tail(disk)
    sealed_bytes = sum(segment.tail for segment in segments[:used])
    return Recovered(active.store_id, active, after[0] if after else None, sealed_bytes)


def _numbers(directory: Path, kind: str) -> list[int]:
    matches = (_FILE_NAME.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(match[1]) for match in matches if match and match[2] == kind)


def _open_logs(directory: Path, numbers: list[int], base_number: int, store_id: bytes) -> list[Segment]:
    expected = list(range(base_number + 1, base_number + 1 + len(numbers)))
    missing = sorted(set(expected) - set(numbers))
    if missing:
        raise CannotOpen(f"{segment_path(directory, missing[0], 'log')}: missing, and later files are there")
    segments = [open_segment(segment_path(directory, number, "log"), "log") for number in numbers]
    for segment in segments:
        if segment.store_id != (store_id or segments[0].store_id):
            raise CannotOpen(f"{segment.path}: belongs to another store")
    return segments


def _read_base(base: Segment, history: History[Place]) -> None:
    values: dict[str, Place] = {}
    for offset, payload in base.frames():
        values.update((key, place) for _, key, place in records(base, offset, payload))
    if base.tail != base.size_bytes:
        raise CannotOpen(f"{base.path}: damaged at byte {base.tail}")
    history.restore(values.items(), base.revision)


def _replay(segment: Segment, history: History[Place], base_revision: int) -> bool:
    """Apply a file's records above `base_revision` to `history`; return whether it has any at all."""
    history.replay(_changes(segment, history, base_revision))
    if segment.has_frame_after(segment.tail):
        raise CannotOpen(
            f"{segment.path}: damaged at byte {segment.tail}, after revision {history.revision}; "
            "later writes follow it, so this is not a write that a crash cut short"
        )
    return segment.tail > HEADER_BYTES


def _changes(segment: Segment, history: History[Place], base_revision: int) -> Iterator[PlacedChange]:
    """Yield a file's records above `base_revision`; raise CannotOpen where one does not follow the last."""
    newest = history.revision
    for offset, payload in segment.frames():
        for kind, key, place in records(segment, offset, payload):
            _, _, length, revision = place
            if revision <= base_revision:
                continue
            if revision != newest + 1:
                raise CannotOpen(
                    f"{segment.path}: revision {revision} follows {newest}: writes in between are lost"
                )
            newest = revision
            if kind == PUT:
                yield key, revision, place, None, length
            else:
                yield key, revision, None, place if kind == DELETE_WITH_LAST else None, length
