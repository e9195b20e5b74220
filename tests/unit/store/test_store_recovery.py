"""Opening brings back every acknowledged write, drops what a crash cut short, and refuses damage."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from proa.store.log import LogStore
from proa.store.protocol import CannotOpen, Entry
from proa.store.segment import HEADER_BYTES, open_segment, segment_path

SEGMENT_BYTES = 8192


def open_store(directory: Path) -> LogStore:
    return LogStore(directory, segment_bytes=SEGMENT_BYTES)


def fill(directory: Path, count: int, *, size: int = 20) -> None:
    """Write k1…kN, one commit each."""

    async def main() -> None:
        store = open_store(directory)
        for number in range(1, count + 1):
            await store.put(f"k{number}", lambda revision: str(revision).encode().ljust(size, b"."))
        await store.close()

    asyncio.run(main())


def revisions(directory: Path) -> list[int]:
    """Open, return the revision of each entry, and close."""

    async def main() -> list[int]:
        store = open_store(directory)
        try:
            return sorted(entry.revision for entry in store.range("").entries)
        finally:
            await store.close()

    return asyncio.run(main())


def log_file(directory: Path, number: int = 1) -> Path:
    return segment_path(directory, number, "log")


def frame_bounds(path: Path) -> list[tuple[int, int]]:
    """Return (start, end) of each frame, frame headers included."""
    ends = [offset + len(payload) for offset, payload in open_segment(path, "log").frames()]
    return list(zip([HEADER_BYTES, *ends[:-1]], ends, strict=True))


@pytest.mark.parametrize(
    "tear",
    [
        pytest.param(lambda tail: bytes(len(tail)), id="not written"),
        pytest.param(lambda tail: b"\xa5" * len(tail), id="garbage"),
        pytest.param(lambda tail: None, id="file cut off"),
    ],
)
def test_a_torn_last_write_is_dropped_at_every_byte(
    tmp_path: Path, tear: Callable[[bytes], bytes | None]
) -> None:
    fill(tmp_path / "whole", 4)
    start, end = frame_bounds(log_file(tmp_path / "whole"))[-1]
    for offset in range(start, end):
        torn = tmp_path / f"torn-{offset}"
        shutil.copytree(tmp_path / "whole", torn)
        content = log_file(torn).read_bytes()
        replaced = tear(content[offset:end])
        log_file(torn).write_bytes(content[:offset] + (b"" if replaced is None else replaced + content[end:]))
        assert revisions(torn) == [1, 2, 3], offset
        assert revisions(torn) == [1, 2, 3], f"{offset}, opened again"
        shutil.rmtree(torn)


def test_what_follows_a_torn_write_cannot_be_mistaken_for_newer_data(tmp_path: Path) -> None:
    directory = tmp_path / "s"

    async def crash_with_two_batches() -> None:
        store = open_store(directory)
        await store.put("a", lambda _: b"1" * 50)
        await store.put("a", lambda _: b"2" * 50)
        await store.close()

    asyncio.run(crash_with_two_batches())
    path = log_file(directory)
    (_, _), (start, _) = frame_bounds(path)
    content = bytearray(path.read_bytes())
    content[start + 30] ^= 0xFF
    path.write_bytes(content)

    async def write_again() -> None:
        store = open_store(directory)
        await store.put("a", lambda _: b"3" * 10)
        await store.close()

    asyncio.run(write_again())
    assert revisions(directory) == [2]
    assert log_file(directory).read_bytes().rstrip(b"\0").endswith(b"3" * 10)


def test_a_batch_is_kept_or_dropped_whole_whatever_order_its_pages_reached_the_disk(tmp_path: Path) -> None:
    directory = tmp_path / "s"

    async def write_batch() -> None:
        store = open_store(directory)
        await store.put("first", lambda _: b"x")
        await asyncio.gather(*(store.put(f"k{n}", lambda _: b"x" * 300) for n in range(20)))
        await store.close()

    asyncio.run(write_batch())
    bounds = frame_bounds(log_file(directory))
    start, end = max(bounds, key=lambda each: each[1] - each[0])
    assert end - start > 4096
    content = bytearray(log_file(directory).read_bytes())
    content[start:4096] = bytes(4096 - start)
    content[bounds[-1][0] if bounds[-1][0] > start else end :] = b""
    log_file(directory).write_bytes(content)
    assert max(revisions(directory)) == bounds.index((start, end))


def test_damage_before_a_later_write_is_refused_at_every_byte_and_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "whole", 3)
    start, end = frame_bounds(log_file(tmp_path / "whole"))[1]
    content = log_file(tmp_path / "whole").read_bytes()
    for offset in range(start, end):
        damaged = content[:offset] + bytes([content[offset] ^ 0x10]) + content[offset + 1 :]
        log_file(tmp_path / "whole").write_bytes(damaged)
        with pytest.raises(CannotOpen, match=f"damaged at byte {start}, after revision 1"):
            revisions(tmp_path / "whole")
        assert log_file(tmp_path / "whole").read_bytes() == damaged


def test_a_blank_page_before_a_later_write_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, 40, size=100)
    path = log_file(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:1024] + bytes(2048) + content[3072:])
    with pytest.raises(CannotOpen, match="damaged"):
        revisions(tmp_path)


def test_damage_at_the_end_of_an_earlier_file_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, 30, size=1000)
    assert log_file(tmp_path, 3).exists()
    start, _ = frame_bounds(log_file(tmp_path, 2))[-1]
    content = bytearray(log_file(tmp_path, 2).read_bytes())
    content[start + 20] ^= 1
    log_file(tmp_path, 2).write_bytes(content)
    with pytest.raises(CannotOpen, match="writes in between are lost"):
        revisions(tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, 30, size=1000)
    log_file(tmp_path, 2).unlink()
    with pytest.raises(CannotOpen, match=r"000000000002\.log: missing"):
        revisions(tmp_path)


def test_a_file_of_another_store_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "a", 30, size=1000)
    fill(tmp_path / "b", 30, size=1000)
    shutil.copy(log_file(tmp_path / "a", 2), log_file(tmp_path / "b", 2))
    with pytest.raises(CannotOpen, match="belongs to another store"):
        revisions(tmp_path / "b")


@pytest.mark.parametrize(
    ("offset", "new", "message"),
    [
        (0, b"X", "not a file of a Proa store"),
        (
            8,
            b"\2",
            "written in store format 2, by a newer proa; this one knows formats up to 1: install the newer",
        ),
        (
            8,
            b"\0",
            "written in store format 0, which this proa knows no more .*: start the version .* `proa backup`",
        ),
        (12, b"\7", "damaged: its header does not fit"),
        (30, b"\7", "damaged: its header does not fit"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path: Path, offset: int, new: bytes, message: str) -> None:
    fill(tmp_path, 1)
    content = log_file(tmp_path).read_bytes()
    log_file(tmp_path).write_bytes(content[:offset] + new + content[offset + len(new) :])
    with pytest.raises(CannotOpen, match=message):
        revisions(tmp_path)


def test_a_value_cannot_pose_as_a_later_write(tmp_path: Path) -> None:
    payload = struct.pack("<QIHB", 3, 1, 1, 0) + b"kv"
    fake = struct.pack("<4sII", b"\xf5PRA", len(payload), crc32(payload)) + payload

    async def main() -> None:
        store = open_store(tmp_path)
        await store.put("a", lambda _: b"1")
        await store.put("b", lambda _: fake * 5)
        await store.close()

    asyncio.run(main())
    start, _ = frame_bounds(log_file(tmp_path))[-1]
    content = bytearray(log_file(tmp_path).read_bytes())
    content[start + 4] ^= 1
    log_file(tmp_path).write_bytes(content)
    assert revisions(tmp_path) == [1]


def test_history_and_watches_go_on_after_reopening(tmp_path: Path) -> None:
    fill(tmp_path, 5)

    async def main() -> None:
        store = open_store(tmp_path)
        assert store.oldest_revision == 0
        assert store.range("", revision=2).remaining == 0
        assert len(store.range("", revision=2).entries) == 2
        watch = store.watch("", after_revision=3)
        burst = await anext(aiter(watch))
        assert [change.revision for change in burst] == [4, 5]
        watch.close()
        assert await store.delete("k1") == Entry("k1", b"1".ljust(20, b"."), 6)
        await store.close()

    asyncio.run(main())
    assert revisions(tmp_path) == [2, 3, 4, 5]


def test_a_store_is_opened_once_and_only_by_its_owner(tmp_path: Path) -> None:
    async def main() -> None:
        store = open_store(tmp_path / "s")
        with pytest.raises(CannotOpen, match="another process has this store open"):
            open_store(tmp_path / "s")
        await store.close()
        await open_store(tmp_path / "s").close()

    asyncio.run(main())
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "s").iterdir()} == {0o600}


def test_unfinished_files_are_removed(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    (tmp_path / "000000000002.tmp").write_bytes(b"half")
    assert revisions(tmp_path) == [1, 2]
    assert sorted(os.listdir(tmp_path)) == ["000000000001.log", "lock"]
