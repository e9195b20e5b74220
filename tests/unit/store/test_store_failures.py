"""After a failed write or sync the store is read-only, says so, and has lost nothing that it acknowledged."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from proa.store import committer, log
from proa.store.disk import Disk
from proa.store.log import LogStore
from proa.store.protocol import DiskFull, Entry, ReadOnly, WatchOverflow
from proa.store.segment import Segment


class FailingDisk(Disk):
    """Fails one kind of call, or the renaming of bases alone, from the moment it is told to."""

    def __init__(self, broken: str, number: int = errno.ENOSPC) -> None:
        self.broken = broken
        self.number = number
        self.is_failing = False
        self.calls_while_failing = 0

    def _maybe_fail(self, call: str) -> None:
        if self.is_failing and call == self.broken:
            self.calls_while_failing += 1
            raise OSError(self.number, os.strerror(self.number))

    def create(self, path: Path) -> int:
        self._maybe_fail("create")
        return super().create(path)

    def write(self, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        self._maybe_fail("write")
        super().write(descriptor, pieces, offset)

    def write_zeros(self, descriptor: int, start: int, end: int) -> None:
        self._maybe_fail("zeros")
        super().write_zeros(descriptor, start, end)

    def sync(self, descriptor: int) -> None:
        self._maybe_fail("sync")
        super().sync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        self._maybe_fail("rename")
        self._maybe_fail("rename" + target.suffix)
        super().rename(source, target)


async def put(store: LogStore, key: str, size: int = 10) -> Entry:
    return await store.put(key, lambda _: b"x" * size)


@pytest.mark.parametrize("broken", ["write", "sync"])
def test_every_writer_in_flight_fails_and_nothing_is_tried_again(tmp_path: Path, broken: str) -> None:
    disk = FailingDisk(broken)

    async def main() -> None:
        store = LogStore(tmp_path, disk=disk)
        await put(store, "before")
        watch = store.watch("", after_revision=1)
        disk.is_failing = True
        results = await asyncio.gather(*(put(store, f"k{n}") for n in range(20)), return_exceptions=True)
        assert {type(result) for result in results} == {ReadOnly}
        assert "No space left on device" in str(results[0])
        disk.is_failing = False
        with pytest.raises(ReadOnly, match="read-only until restart"):
            await put(store, "later")
        assert "No space left on device" in store.refusal
        with pytest.raises(ReadOnly):
            await store.delete("before")
        with pytest.raises(ReadOnly):
            await store.compact(1)
        assert disk.calls_while_failing == 1
        assert store.get("before") == store.latest("before") is not None
        assert store.latest("k1") is None
        assert store.revision == 1
        await store.close()
        assert [burst async for burst in watch] == []

    asyncio.run(main())

    async def after_restart() -> None:
        store = LogStore(tmp_path)
        assert store.get("before") is not None
        await put(store, "works")
        await store.close()

    asyncio.run(after_restart())


@pytest.mark.parametrize("broken", ["create", "rename", "zeros"])
def test_a_full_disk_refuses_writes_until_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setattr(committer, "_FULL_SECONDS", 0.0)
    disk = FailingDisk(broken)

    async def main() -> list[Entry]:
        store = LogStore(tmp_path, disk=disk, segment_bytes=8192)
        watch = store.watch("", after_revision=0)
        disk.is_failing = True
        results = [await asyncio.gather(put(store, f"k{n}", 500), return_exceptions=True) for n in range(30)]
        kinds = [type(result) for (result,) in results]
        assert kinds == sorted(kinds, key=[Entry, DiskFull].index), "first there is room, then there is none"
        assert "No space left on device" in store.refusal
        assert "writes go on by themselves" in store.refusal
        written = [result for (result,) in results if isinstance(result, Entry)]
        assert 10 < len(written) < 20
        assert store.revision == len(written)
        assert store.latest("k29") is None
        disk.is_failing = False
        written += await asyncio.gather(*(put(store, f"again{n}", 500) for n in range(20)))
        assert store.refusal == ""
        assert [entry.revision for entry in written] == list(range(1, len(written) + 1))
        seen: list[int] = []
        while len(seen) < len(written):
            seen += [change.revision for change in await anext(aiter(watch))]
        assert seen == [entry.revision for entry in written]
        await store.close()
        return written

    written = asyncio.run(main())
    assert list(tmp_path.glob("*.tmp")) == []

    async def after_restart() -> None:
        store = LogStore(tmp_path)
        assert list(store.range("").entries) == sorted(written, key=lambda entry: entry.key)
        await store.close()

    asyncio.run(after_restart())


def test_everything_that_is_queued_behind_a_full_disk_fails_and_is_numbered_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "_FULL_SECONDS", 0.0)
    monkeypatch.setattr(committer, "MAX_FRAME_BYTES", 1000)
    disk = FailingDisk("create")

    async def main() -> None:
        store = LogStore(tmp_path, disk=disk, segment_bytes=8192)
        disk.is_failing = True
        writing = [asyncio.ensure_future(put(store, f"k{n % 7}", 600)) for n in range(60)]
        results = await asyncio.gather(*writing, return_exceptions=True)
        written = [result for result in results if isinstance(result, Entry)]
        assert {type(result) for result in results} == {Entry, DiskFull}
        assert results[: len(written)] == written
        disk.is_failing = False
        again = await put(store, "k0", 600)
        assert again.revision == store.revision == len(written) + 1
        await store.close()

    asyncio.run(main())

    async def after_restart() -> None:
        store = LogStore(tmp_path)
        assert store.count("") == 7
        await store.close()

    asyncio.run(after_restart())


def test_a_full_disk_is_asked_again_once_a_second_at_most(tmp_path: Path) -> None:
    disk = FailingDisk("create")

    async def main() -> None:
        store = LogStore(tmp_path, disk=disk, segment_bytes=8192)
        disk.is_failing = True
        for number in range(60):
            await asyncio.gather(put(store, f"k{number}", 500), return_exceptions=True)
        assert disk.calls_while_failing < 6
        await store.close()

    asyncio.run(main())


def test_a_disk_that_is_ill_while_a_file_is_made_stops_writing_until_restart(tmp_path: Path) -> None:
    disk = FailingDisk("create", errno.EIO)

    async def main() -> None:
        store = LogStore(tmp_path, disk=disk, segment_bytes=8192)
        disk.is_failing = True
        for number in range(30):
            await asyncio.gather(put(store, f"k{number}", 500), return_exceptions=True)
        disk.is_failing = False
        with pytest.raises(ReadOnly, match="read-only until restart"):
            await put(store, "later")
        await store.close()

    asyncio.run(main())


def test_a_compaction_that_has_no_room_waits_for_another_full_file(tmp_path: Path) -> None:
    disk = FailingDisk("rename.base")

    async def main() -> None:
        store = LogStore(tmp_path, disk=disk, segment_bytes=8192)
        disk.is_failing = True
        for number in range(200):
            await put(store, f"k{number % 3}", 500)
        assert 2 < disk.calls_while_failing < 20
        disk.is_failing = False
        for number in range(60):
            await put(store, f"k{number % 3}", 500)
        await store.compact(store.revision)
        assert len(list(tmp_path.glob("*.log"))) < 5
        await store.close()

    asyncio.run(main())


def test_a_compaction_that_fails_loses_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    disk = FailingDisk("rename.base")

    async def main() -> None:
        store = LogStore(tmp_path, disk=disk)
        for number in range(5):
            await put(store, f"k{number}")
        await store.compact(2)
        await put(store, "k5")
        disk.is_failing = True
        with pytest.raises(OSError, match="No space"):
            await store.compact(3)
        disk.is_failing = False
        assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
        await put(store, "k6")
        await store.compact(4)
        assert store.count("") == 7
        await store.close()

    asyncio.run(main())

    async def after_restart() -> None:
        store = LogStore(tmp_path)
        assert store.count("") == 7
        await store.close()

    asyncio.run(after_restart())


def test_a_value_that_cannot_be_read_stops_its_watchers_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "HOT_BYTES", 0)

    async def main() -> None:
        store = LogStore(tmp_path)
        await put(store, "a/1")
        watch, other = (store.watch(prefix, after_revision=1) for prefix in ("a/", "b/"))
        monkeypatch.setattr(Segment, "read", broken_read)
        with pytest.raises(OSError, match="Input/output error"):
            store.get("a/1")
        await asyncio.wait_for(put(store, "a/1"), 60)
        await asyncio.wait_for(put(store, "b/1"), 60)
        with pytest.raises(WatchOverflow):
            await anext(aiter(watch))
        assert [change.key for change in await anext(aiter(other))] == ["b/1"]
        await store.close()

    def broken_read(segment: Segment, offset: int, length: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    asyncio.run(main())
