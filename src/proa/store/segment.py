"""Lay out the log's files: a header, then frames, each the records that became durable with one sync.

    file    = header (64 bytes) frame* zeros*
    header  = magic "PROALOG\\0", format version, kind (log or base), number, revision, store id, checksum
    frame   = magic, length, crc32(payload, seed), payload
    payload = record*
    record  = revision, value length, key length, kind, key, value

All numbers are little endian. A frame is the unit of durability: after a power failure the pages of the last
frame may have reached the disk in any order, so its records are taken all together or not at all. The seed is
the header's checksum: a stored value cannot pose as a frame, and stale blocks of another file cannot either.

A log file `<number>.log` is filled with zeros beforehand, so that a commit writes data only, never metadata. A
base file `<number>.base` holds every entry that was live at its revision, and stands for all files up to
its number (see compaction.py).

Each file says its own format. A new format raises FORMAT_VERSION, and `_opened` goes on reading the older ones in
READABLE_VERSIONS: what is written from then on is new, and compaction leaves no old file. tests/unit/store/formats/
keeps a store of each format that must stay readable.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from zlib import crc32

from proa.store.disk import ZERO_BLOCK, Disk
from proa.store.protocol import CannotOpen

FORMAT_VERSION = 1
READABLE_VERSIONS = frozenset({1})
PUT, DELETE, DELETE_WITH_LAST = 0, 1, 2
"""Kinds of record. The last kind's value is what watchers get to see of the deleted object."""

HEADER_BYTES = 64
FRAME = struct.Struct("<4sII")
RECORD = struct.Struct("<QIHB")
MAX_KEY_BYTES = 0xFFFF

_FILE_MAGIC = b"PROALOG\0"
_FRAME_MAGIC = b"\xf5PRA"
_HEADER = struct.Struct("<8sHHQQ16s")
_CHECKSUM = struct.Struct("<I")
_KINDS: dict[str, int] = {"log": 1, "base": 2}

FileKind = Literal["log", "base"]


class Segment:
    """One open file of the log. `tail` is where its next frame goes.

    Its descriptor is closed when nothing refers to it any more: a file that compaction has removed stays
    readable for as long as a reader, or history, has a place in it.
    """

    __slots__ = (
        "__weakref__",
        "descriptor",
        "kind",
        "number",
        "path",
        "revision",
        "seed",
        "size_bytes",
        "store_id",
        "tail",
    )

    def __init__(
        self,
        path: Path,
        descriptor: int,
        size_bytes: int,
        kind: FileKind,
        number: int,
        revision: int,
        store_id: bytes,
        seed: int,
    ) -> None:
        self.path = path
        self.descriptor = descriptor
        self.size_bytes = size_bytes
        self.kind = kind
        self.number = number
        self.revision = revision
        self.store_id = store_id
        self.seed = seed
        self.tail = HEADER_BYTES

    def __del__(self) -> None:
        os.close(self.descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes that are known to be there; raise OSError when the disk fails."""
        data = os.pread(self.descriptor, length, offset)
        if len(data) < length:
            raise OSError(errno.EIO, f"{length} bytes at {offset} end after {len(data)}", str(self.path))
        return data

    def append(self, disk: Disk, payload: bytes) -> int:
        """Write a frame and return, once it is durable, the offset of its payload."""
        start = self.tail + FRAME.size
        disk.write(self.descriptor, [frame_header(payload, self.seed), payload], self.tail)
        disk.sync(self.descriptor)
        self.tail = start + len(payload)
        return start

    def grow(self, disk: Disk, size_bytes: int) -> None:
        """Make room for a frame that is larger than the file."""
        disk.write_zeros(self.descriptor, self.size_bytes, size_bytes)
        disk.sync(self.descriptor)
        self.size_bytes = size_bytes

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, payload) of each frame; then set `tail` to where the valid frames end."""
        offset = HEADER_BYTES
        while (payload := self._payload(offset)) is not None:
            yield offset + FRAME.size, payload
            offset += FRAME.size + len(payload)
        self.tail = offset

    def has_frame_after(self, offset: int) -> bool:
        """Tell whether any valid frame lies beyond `offset`, at whatever place."""
        for start, block in self._written_blocks(offset):
            found = block.find(_FRAME_MAGIC)
            while found >= 0:
                if self._payload(start + found) is not None:
                    return True
                found = block.find(_FRAME_MAGIC, found + 1)
        return False

    def clear_tail(self, disk: Disk) -> None:
        """Zero what a torn commit left behind the last valid frame, so that it can never be read as newer data."""
        torn = [start for start, _ in self._written_blocks(self.tail)]
        for start in torn:
            disk.write_zeros(self.descriptor, start, min(start + len(ZERO_BLOCK), self.size_bytes))
        if torn:
            disk.sync(self.descriptor)

    def _written_blocks(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yield (start, content) of the blocks from `offset` on that are not all zeros.

        Each block's content goes on a little into the next, so that no frame's magic is cut in two.
        """
        zeros = ZERO_BLOCK + bytes(len(_FRAME_MAGIC) - 1)
        for start in range(offset, self.size_bytes, len(ZERO_BLOCK)):
            block = os.pread(self.descriptor, len(zeros), start)
            if block != zeros[: len(block)]:
                yield start, block

    def _payload(self, offset: int) -> bytes | None:
        """Return the payload of the frame at `offset`, None when there is no valid one."""
        header = os.pread(self.descriptor, FRAME.size, offset)
        if len(header) < FRAME.size:
            return None
        magic, length, checksum = FRAME.unpack(header)
        start = offset + FRAME.size
        if magic != _FRAME_MAGIC or not length or start + length > self.size_bytes:
            return None
        payload = os.pread(self.descriptor, length, start)
        return payload if len(payload) == length and crc32(payload, self.seed) == checksum else None


Place = tuple[Segment, int, int, int]
"""Where a value is: (file, offset, length in bytes, the revision that wrote it)."""


def frame_header(payload: bytes, seed: int) -> bytes:
    """Return what goes before a payload."""
    return FRAME.pack(_FRAME_MAGIC, len(payload), crc32(payload, seed))


def file_header(kind: FileKind, number: int, revision: int, store_id: bytes) -> tuple[bytes, int]:
    """Return a file's first bytes, and their checksum, which seeds those of its frames."""
    header = _HEADER.pack(_FILE_MAGIC, FORMAT_VERSION, _KINDS[kind], number, revision, store_id)
    seed = crc32(header)
    return (header + _CHECKSUM.pack(seed)).ljust(HEADER_BYTES, b"\0"), seed


def records(segment: Segment, offset: int, payload: bytes) -> Iterator[tuple[int, str, Place]]:
    """Yield (kind, key, place of the value) of each record in a payload that begins at `offset` of its file."""
    start = 0
    while start < len(payload):
        revision, length, key_length, kind = RECORD.unpack_from(payload, start)
        key_start = start + RECORD.size
        value_start = key_start + key_length
        yield kind, payload[key_start:value_start].decode(), (segment, offset + value_start, length, revision)
        start = value_start + length


def segment_path(directory: Path, number: int, kind: FileKind) -> Path:
    """Return the name of a file of the log; names sort by number."""
    return directory / f"{number:012d}.{kind}"


def create_segment(disk: Disk, directory: Path, number: int, store_id: bytes, size_bytes: int) -> Segment:
    """Make a zero-filled log file, durable together with its name; a crash leaves at most a .tmp file."""
    path = segment_path(directory, number, "log")
    temporary = path.with_suffix(".tmp")
    header, _ = file_header("log", number, 0, store_id)
    descriptor = disk.create(temporary)
    try:
        disk.write(descriptor, [header], 0)
        disk.write_zeros(descriptor, len(header), size_bytes)
        disk.sync(descriptor)
        disk.rename(temporary, path)
        disk.sync_directory(directory)
        return _opened(path, descriptor, "log")
    except BaseException:
        os.close(descriptor)
        disk.remove(temporary)
        raise


def open_segment(path: Path, kind: FileKind) -> Segment:
    """Open a file of the log; raise CannotOpen when its header is not one that this version can read."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        return _opened(path, descriptor, kind)
    except BaseException:
        os.close(descriptor)
        raise


def _opened(path: Path, descriptor: int, kind: FileKind) -> Segment:
    header = os.pread(descriptor, HEADER_BYTES, 0)
    if len(header) < HEADER_BYTES:
        raise CannotOpen(f"{path}: damaged: the file is shorter than its header")
    magic, version, kind_number, number, revision, store_id = _HEADER.unpack_from(header)
    (checksum,) = _CHECKSUM.unpack_from(header, _HEADER.size)
    if magic != _FILE_MAGIC:
        raise CannotOpen(f"{path}: not a file of a Proa store")
    if version not in READABLE_VERSIONS:
        raise CannotOpen(f"{path}: written in store format {version}, {_what_to_do(version)}")
    if checksum != crc32(header[: _HEADER.size]) or kind_number != _KINDS[kind] or number != int(path.stem):
        raise CannotOpen(f"{path}: damaged: its header does not fit")
    return Segment(path, descriptor, os.fstat(descriptor).st_size, kind, number, revision, store_id, checksum)


def _what_to_do(version: int) -> str:
    if version > FORMAT_VERSION:
        return f"by a newer proa; this one knows formats up to {FORMAT_VERSION}: install the newer one again"
    return (
        f"which this proa knows no more (format {FORMAT_VERSION}): start the version of proa that wrote it, `proa "
        "backup`, and `proa restore` with this one"
    )
