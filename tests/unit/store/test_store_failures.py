"""After a failed write or sync the store is read-only, says so, and has lost nothing that it acknowledged."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from proa.store import log
from proa.store.disk import Disk
from proa.store.log import LogStore
from proa.store.protocol import Entry, ReadOnly, WatchOverflow
from proa.store.segment import Segment


class FailingDisk(Disk):
    """Fails one kind of call, or the renaming of bases alone, from the moment it is told to."""

    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.is_failing = False
        self.calls_while_failing = 0

    def _maybe_fail(self, call: str) -> None:
        if self.is_failing and call == self.broken:
            self.calls_while_failing += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def create(self, path: Path) -> int:
        self._maybe_fail("create")
        return super().create(path)

    def write(self, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        self._maybe_fail("write")
        super().write(descriptor, pieces, offset)

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


@pytest.mark.parametrize("broken", ["create", "rename"])
def test_when_no_next_file_can_be_made_writing_stops_at_the_end_of_this_one(
    tmp_path: Path, broken: str
) -> None:
    disk = FailingDisk(broken)

    async def main() -> list[str]:
        store = LogStore(tmp_path, disk=disk, segment_bytes=8192)
        disk.is_failing = True
        results = [await asyncio.gather(put(store, f"k{n}", 500), return_exceptions=True) for n in range(30)]
        await store.close()
        assert [type(result) for (result,) in results] == sorted(
            (type(result) for (result,) in results), key=[Entry, ReadOnly].index
        )
        return [result.key for (result,) in results if isinstance(result, Entry)]

    written = asyncio.run(main())
    assert 10 < len(written) < 20
    assert list(tmp_path.glob("*.tmp")) == []

    async def after_restart() -> None:
        store = LogStore(tmp_path)
        assert sorted(entry.key for entry in store.range("").entries) == sorted(written)
        await store.close()

    asyncio.run(after_restart())


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
        await asyncio.wait_for(put(store, "a/1"), 10)
        await asyncio.wait_for(put(store, "b/1"), 10)
        with pytest.raises(WatchOverflow):
            await anext(aiter(watch))
        assert [change.key for change in await anext(aiter(other))] == ["b/1"]
        await store.close()

    def broken_read(segment: Segment, offset: int, length: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    asyncio.run(main())
