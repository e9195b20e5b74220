"""Disk is bounded by what is live, and a crash between any two steps loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from proa.store.disk import Disk
from proa.store.log import LogStore

SEGMENT_BYTES = 8192


class SnapshottingDisk(Disk):
    """Copies the directory before every call, as a crash at that moment would leave it."""

    def __init__(self, directory: Path, snapshots: Path) -> None:
        self.directory = directory
        self.snapshots = snapshots
        self.acknowledged: dict[str, bytes | None] = {}
        self.attempted: dict[str, bytes | None] = {}
        self.taken: list[tuple[Path, dict[str, set[bytes | None]], str]] = []
        self._lock = threading.Lock()

    def _snapshot(self, call: str) -> None:
        copy = self.snapshots / f"{len(self.taken):04}"
        possible = {key: {value} for key, value in dict(self.acknowledged).items()}
        shutil.copytree(self.directory, copy)
        for key, value in dict(self.attempted).items():
            possible.setdefault(key, {None}).add(value)
        self.taken.append((copy, possible, call))

    def write(self, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        with self._lock:
            self._snapshot("write")
            super().write(descriptor, pieces, offset)

    def sync(self, descriptor: int) -> None:
        with self._lock:
            self._snapshot("sync")
            super().sync(descriptor)

    def sync_directory(self, directory: Path) -> None:
        with self._lock:
            self._snapshot("sync directory")
            super().sync_directory(directory)

    def rename(self, source: Path, target: Path) -> None:
        with self._lock:
            self._snapshot("rename")
            super().rename(source, target)

    def remove(self, path: Path) -> None:
        with self._lock:
            self._snapshot("remove")
            super().remove(path)


def test_a_crash_before_any_step_leaves_every_acknowledged_write(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    disk = SnapshottingDisk(directory, tmp_path / "snapshots")

    async def write(store: LogStore, key: str, value: bytes) -> None:
        disk.attempted[key] = value
        await store.put(key, lambda _: value)
        disk.acknowledged[key] = value

    async def main() -> None:
        store = LogStore(directory, disk=disk, segment_bytes=SEGMENT_BYTES)
        for number in range(12):
            await write(store, f"k{number % 5}", f"{number}".encode() * 300)
        disk.attempted["k0"] = None
        await store.delete("k0")
        disk.acknowledged["k0"] = None
        compaction = asyncio.ensure_future(store.compact(5))
        for number in range(4):
            await write(store, f"n{number}", b"meanwhile")
        await compaction
        await write(store, "k1", b"after")
        await store.compact(store.revision)
        await write(store, "k2", b"end")
        await store.close()

    asyncio.run(main())
    assert {call for _, _, call in disk.taken} == {"write", "sync", "sync directory", "rename", "remove"}

    async def check(copy: Path, possible: dict[str, set[bytes | None]]) -> None:
        store = LogStore(copy, segment_bytes=SEGMENT_BYTES)
        for key, values in possible.items():
            entry = store.get(key)
            assert (entry.value if entry else None) in values, key
        await store.put("goes on", lambda _: b"x")
        await store.close()

    for copy, possible, _ in disk.taken:
        asyncio.run(check(copy, possible))


def disk_bytes(directory: Path) -> int:
    """Return the size of all files; some may go while we look."""
    total = 0
    for name in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):
            total += os.stat(directory / name).st_size
    return total


def test_overwriting_does_not_fill_the_disk(tmp_path: Path) -> None:
    async def main() -> None:
        store = LogStore(tmp_path, segment_bytes=SEGMENT_BYTES)
        for _ in range(100):
            await asyncio.gather(*(store.put(f"k{n}", lambda _: b"x" * 500) for n in range(10)))
            async with asyncio.timeout(
                30
            ):  # a rewrite runs beside the writers: the files shrink when it is done
                while disk_bytes(tmp_path) >= 12 * SEGMENT_BYTES:
                    await asyncio.sleep(0.001)
        assert store.count("") == 10
        await store.close()

    asyncio.run(main())


def test_readers_and_watchers_of_the_past_do_not_notice_a_compaction(tmp_path: Path) -> None:
    async def main() -> None:
        store = LogStore(tmp_path, segment_bytes=SEGMENT_BYTES)
        for number in range(20):
            await store.put(f"k{number % 3}", lambda revision: str(revision).encode() * 100)
        before = store.range("", revision=7)
        await store.compact(5)
        assert "000000000001.log" not in os.listdir(tmp_path)
        assert store.range("", revision=7) == before
        watch = store.watch("", after_revision=5)
        burst = await anext(aiter(watch))
        assert [change.revision for change in burst] == list(range(6, 21))
        assert burst[0].previous == b"3" * 100
        watch.close()
        now = store.range("")
        await store.close()
        again = LogStore(tmp_path, segment_bytes=SEGMENT_BYTES)
        assert again.range("") == now
        assert again.oldest_revision == 20
        await again.close()

    asyncio.run(main())


def test_a_store_whose_every_entry_is_gone_keeps_its_revision(tmp_path: Path) -> None:
    async def main() -> None:
        store = LogStore(tmp_path)
        await store.put("a", lambda _: b"x")
        await store.delete("a")
        await store.compact(2)
        await store.close()
        again = LogStore(tmp_path)
        assert (again.revision, again.count("")) == (2, 0)
        assert (await again.put("a", lambda _: b"x", expected_revision=0)).revision == 3
        await again.close()

    asyncio.run(main())


def test_compactions_asked_for_together_all_finish(tmp_path: Path) -> None:
    async def main() -> None:
        store = LogStore(tmp_path, segment_bytes=SEGMENT_BYTES)
        for number in range(6):
            await store.put(f"k{number}", lambda _: b"x" * 1000)
        await asyncio.gather(*(store.compact(n) for n in range(1, 6)), store.put("k9", lambda _: b"x"))
        assert store.count("") == 7
        assert sum(name.endswith(".base") for name in os.listdir(tmp_path)) == 1
        await store.close()

    asyncio.run(main())
