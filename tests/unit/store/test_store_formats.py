"""What earlier versions of proa have written is read by this one: formats/<version>/ was made by each and is kept."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from proa.store.log import LogStore
from proa.store.protocol import Change, Entry
from proa.store.segment import FORMAT_VERSION, READABLE_VERSIONS

FORMATS = Path(__file__).parent / "formats"
ENTRIES = [
    Entry("/a/0", b"first@1", 1),
    Entry("/a/1", b"second@7", 7),
    Entry("/a/2", b"again@14", 14),
    Entry("/a/5", b"first@6", 6),
    Entry("/b/binary", bytes(range(256)), 15),
    Entry("/b/empty", b"", 12),
    Entry("/b/large", b"x" * 3000, 11),
    Entry("/b/é", b"after compaction@10", 10),
]
CHANGES = [
    Change("/b/é", b"after compaction@10", None, 10),
    Change("/b/large", b"x" * 3000, None, 11),
    Change("/b/empty", b"", None, 12),
    Change("/a/4", None, b"gone@13", 13),
    Change("/a/2", b"again@14", None, 14),
    Change("/b/binary", bytes(range(256)), None, 15),
]


def test_there_is_a_store_of_every_format_that_can_be_read() -> None:
    assert {path.name for path in FORMATS.iterdir()} == {str(version) for version in READABLE_VERSIONS}
    assert FORMAT_VERSION in READABLE_VERSIONS


@pytest.mark.parametrize("version", sorted(READABLE_VERSIONS))
def test_a_store_of_that_format_is_whole_and_goes_on(tmp_path: Path, version: int) -> None:
    directory = tmp_path / "store"
    shutil.copytree(FORMATS / str(version), directory)

    async def check(more: Sequence[Entry]) -> Entry:
        store = LogStore(directory)
        try:
            assert list(store.range("").entries) == [*ENTRIES, *more]
            watch = store.watch("", after_revision=9)
            assert list(await anext(aiter(watch)))[: len(CHANGES)] == CHANGES
            watch.close()
            return await store.put(f"/z/{len(more)}", lambda revision: b"new")
        finally:
            await store.close()

    first = asyncio.run(check([]))
    assert first.revision == 16
    asyncio.run(check([first]))
