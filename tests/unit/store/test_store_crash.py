"""Kill the writer at any moment, on disks that fail: every write that it acknowledged is there afterwards.

A sync that fails drops what was written since the last one, as the kernel may; a full disk has room again later.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import select
import signal
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from proa.store import committer
from proa.store.disk import Disk
from proa.store.log import LogStore
from proa.store.protocol import DiskFull, ReadOnly, RevisionMismatch

ROUNDS = 100
SEEDS = [20261122, 1, 2, 3, 4]
SEGMENT_BYTES = 64 * 1024
KEYS = 60
WRITES = 120
"""A writer is killed after fewer."""
PATIENCE_SECONDS = 60.0
ACK = struct.Struct("<IQ?")
"""Key number, revision, whether it is a delete."""


def make_value(number: int, revision: int) -> bytes:
    """Make a value that says what it must be."""
    return f"{number}@{revision}:".encode() + b"v" * (revision * 7919 % 3000)


class FaultyDisk(Disk):
    """Fails at random: a sync in a few hundred, and one new file in ten for want of room."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._unsynced: dict[int, list[tuple[int, bytes]]] = {}

    def create(self, path: Path) -> int:
        if self._chance.random() < 0.1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().create(path)

    def write(self, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        size = sum(map(len, pieces))
        self._unsynced.setdefault(descriptor, []).append((offset, os.pread(descriptor, size, offset)))
        super().write(descriptor, pieces, offset)

    def sync(self, descriptor: int) -> None:
        written = self._unsynced.pop(descriptor, [])
        if self._chance.random() >= 1 / 300:
            super().sync(descriptor)
            return
        for offset, before in reversed(written):  # in pages, each of which may have reached the disk
            for start in range(0, len(before), 4096):
                if self._chance.random() < 0.5:
                    os.pwrite(descriptor, before[start : start + 4096], offset + start)
        raise OSError(errno.EIO, os.strerror(errno.EIO))


async def write_until_killed(directory: Path, pipe: int, seed: int) -> None:
    """Write and say so, until killed; where the store takes no more writes, say no more and wait for that."""
    chance = random.Random(seed)
    with contextlib.suppress(OSError):
        await write_until_refused(directory, pipe, chance)
    os.close(pipe)
    await asyncio.Event().wait()


async def write_until_refused(directory: Path, pipe: int, chance: random.Random) -> None:
    """Return when the disk has failed for good; raise OSError where the store cannot be opened."""
    store = LogStore(directory, segment_bytes=SEGMENT_BYTES, disk=FaultyDisk(chance))

    async def write(number: int) -> None:
        if chance.random() < 0.2:
            entry = await store.delete(f"k{number}")
            os.write(pipe, ACK.pack(number, entry.revision, True))
        else:
            entry = await store.put(f"k{number}", lambda revision: make_value(number, revision))
            os.write(pipe, ACK.pack(number, entry.revision, False))

    async def writer(own: int) -> None:
        while True:
            try:
                await write(chance.randrange(KEYS // 16) * 16 + own)
            except RevisionMismatch:
                continue
            except DiskFull:
                await asyncio.sleep(0.001)
            except ReadOnly:
                return

    await asyncio.gather(*(writer(own) for own in range(16)))


def run_and_kill(directory: Path, seed: int, writes: int) -> bytes:
    """Fork a writer, kill it once it has acknowledged so many writes, and return all that it acknowledged.

    One that takes no more writes, for its disk has failed, is killed when it says so.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            asyncio.run(write_until_killed(directory, writing, seed))
        finally:
            os._exit(1)
    os.close(writing)
    acknowledged = b""
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while len(acknowledged) < writes * ACK.size and (left := deadline - time.monotonic()) > 0:
            if select.select([reading], [], [], left)[0]:
                chunk = os.read(reading, 65536)
                if not chunk:
                    break
                acknowledged += chunk
    finally:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the writer ended by itself"
    while chunk := os.read(reading, 65536):
        acknowledged += chunk
    os.close(reading)
    return acknowledged


async def check(directory: Path, newest: dict[int, tuple[int, bool]]) -> int:
    """Open the store and compare it with what was acknowledged; return its revision."""
    store = LogStore(directory, segment_bytes=SEGMENT_BYTES)
    try:
        for number, (revision, is_deleted) in newest.items():
            entry = store.get(f"k{number}")
            if entry is None:
                # Deleted: by the acknowledged write itself, or by a later one whose answer the kill cut off.
                assert is_deleted or store.revision > revision, (number, revision)
            else:
                assert entry.revision >= revision, (number, revision, entry.revision)
                assert not (is_deleted and entry.revision == revision)
                assert entry.value == make_value(number, entry.revision)
        assert store.revision >= max((revision for revision, _ in newest.values()), default=0)
        for entry in store.range("").entries:
            assert entry.value == make_value(int(entry.key[1:]), entry.revision)
        return store.revision
    finally:
        await store.close()


@pytest.mark.crash
@pytest.mark.parametrize("seed", SEEDS)
def test_no_acknowledged_write_is_lost_when_the_writer_is_killed_100_times_on_a_failing_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(committer, "_FULL_SECONDS", 0.005)
    chance = random.Random(seed)
    newest: dict[int, tuple[int, bool]] = {}
    previous_revision = total = 0
    for _ in range(ROUNDS):
        acknowledged = run_and_kill(tmp_path, chance.randrange(1 << 30), chance.randrange(WRITES))
        for number, revision, is_deleted in ACK.iter_unpack(
            acknowledged[: len(acknowledged) // ACK.size * ACK.size]
        ):
            newest[number] = max(newest.get(number, (0, False)), (revision, is_deleted))
            total += 1
        revision = asyncio.run(check(tmp_path, newest))
        assert revision >= previous_revision
        previous_revision = revision
    assert total > ROUNDS * WRITES // 10, "the writers hardly wrote anything"
    assert int(max(tmp_path.glob("*.log")).stem) > 50, "files were hardly ever changed"
    assert list(tmp_path.glob("*.base")), "nothing was compacted"
    live = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert live < 30 * SEGMENT_BYTES
